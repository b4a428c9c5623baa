"""Schemes: recipes of rules under a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from initcfg._rules.initializers import INITIALIZERS


@dataclass(frozen=True)
class Base:
    """The narrow model that a scheme was tuned on.

    Attributes:
        widths: By canonical name: the tensor's fan-in here, and in the base model.
        layers: Number of blocks of the base model.
    """

    widths: Mapping[str, tuple[float, float]]
    layers: int | None = None


class Scheme:
    """Base of the schemes: give one a :meth:`recipe`, and register it in ``INITIALIZERS``.

    In an ``init_cfg``, ``dict(type="GPT2", std=0.02)`` is one rule of its owner: what comes later beats it.

    Attributes:
        family: What kind of scheme it is, for a list.
        paper: Where it is from.
        needs: Roles without which it is not what its name says: an error in a model where nobody has them.
        forward: What the paper also changes in the forward pass or the optimizer, which no initial weight can
            do: a note of the plan, and an error under ``strict`` unless the rule says ``forward="done"``.
        example: An example of the model's input, for a scheme that looks at one: its own argument, else what
            the plan was given.
        declared: What the plan was given of roles, for a scheme that has to know them itself.
    """

    family: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    forward: str | None = None
    example: Any = None
    declared: Any = None

    def recipe(self) -> list[dict[str, Any]]:
        """Its rules, in the language of ``init_cfg``; the later ones win."""
        raise NotImplementedError

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """:meth:`recipe`, for a scheme that has to see the module that it is for."""
        return self.recipe()

    def forward_with(self, layers: int | None) -> str | None:
        """What ``forward`` says of a model of so many blocks."""
        return self.forward

    def base(self, owner: nn.Module) -> Base | None:
        """The narrow model that ``base_width`` and ``base_layers`` are of; names count from ``owner``."""
        return None


def schemes() -> dict[str, type[Scheme]]:
    """The registered schemes by name."""
    found = sorted(INITIALIZERS.module_dict.items())
    return {name: cls for name, cls in found if isinstance(cls, type) and issubclass(cls, Scheme)}
