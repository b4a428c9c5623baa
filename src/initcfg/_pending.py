"""Pending parameters: what a deferred constructor meant to write, kept on the parameter until it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initcfg._values import Computed, Value

if TYPE_CHECKING:
    from initcfg._deferral.formula import Draft

_ATTRIBUTE = "_initcfg_default"


@dataclass(eq=False)
class Recording:
    """The operations of a build in their order, for ``rng="torch"``: done once, all together."""

    replay: Callable[[], None]
    done: bool = False

    def carry_out(self) -> None:
        """Do them, unless they have been done."""
        if not self.done:
            self.done = True
            self.replay()


@dataclass(frozen=True, eq=False)
class Default:
    """What a parameter's constructor meant to write.

    Attributes:
        value: What; None if nobody wrote it.
        code: The constructor: ``"Conv2d.reset_parameters"``.
        call: Function and arguments: ``{"type": "kaiming_uniform_", "a": 2.236}``.
        sources: What the numbers come from; parameters with the very same sources are copies.
        draft: For a formula: what it is, before its random parts have names.
        recording: The build that it belongs to.
    """

    value: Value | None
    code: str
    call: Mapping[str, Any]
    sources: tuple[object, ...]
    recording: Recording
    draft: Draft | None = None


def set_default(parameter: torch.Tensor, default: Default) -> None:
    """Note on a parameter what it is to hold."""
    setattr(parameter, _ATTRIBUTE, default)


def default_of(tensor: torch.Tensor) -> Default | None:
    """What the constructor of a pending parameter meant; None if it is not pending."""
    return tensor.__dict__.get(_ATTRIBUTE)


def settle(tensor: torch.Tensor) -> None:
    """The parameter holds what it should."""
    if default_of(tensor) is not None:
        delattr(tensor, _ATTRIBUTE)


def is_pending(module: nn.Module) -> bool:
    """Whether some parameter of the module waits for its plan to be applied."""
    return any(waits(parameter) for parameter in module.parameters())


def waits(parameter: torch.Tensor) -> bool:
    """Whether a parameter does not hold yet what its constructor meant."""
    default = default_of(parameter)
    return default is not None and default.value is not None and not isinstance(default.value, Computed)
