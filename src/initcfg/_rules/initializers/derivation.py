"""A derivation: what each tensor of a module is made of, by the names that keys have in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from initcfg.errors import CheckpointError
from initcfg.values import AdaptationStep, Value

Shape = tuple[int, ...]
Made = tuple[tuple[str, ...], tuple[AdaptationStep, ...]]
"""Names in the checkpoint, and the steps from them to a tensor."""


@dataclass(frozen=True)
class Derivation:
    """What a rule makes of a checkpoint; tensors that it does not name are loaded under their own names.

    Attributes:
        made: By tensor: the names there, and the steps.
        new: By tensor: a value that has nothing of the checkpoint.
        left: Tensors that are left to the next rule.
        unused: Names there that are not needed.
    """

    made: Mapping[str, Made] = field(default_factory=dict)
    new: Mapping[str, Value] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()


def cannot(
    problem: str, fix: str, parameter: str | None = None, shape: Shape | None = None
) -> CheckpointError:
    """The error where nothing can be derived."""
    return CheckpointError(problem, parameter=parameter, shape=shape, fix=fix)
