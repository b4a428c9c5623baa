"""First writes: what constructors wrote, or meant to, before any rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from initcfg._plan.assignment import Shadowed
from initcfg._plan.stacks import Piece

ORDER = -1
"""Place in the program: before every rule."""


@dataclass(frozen=True)
class Defaults:
    """The defaults of a model.

    Attributes:
        pieces: By ``id`` of the tensor's entry.
        unwritten: Names of the parameters that no constructor wrote.
    """

    pieces: dict[int, Piece] = field(default_factory=dict)
    unwritten: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetaDefaults:
    """What is known of the tensors without memory.

    Attributes:
        writes: By canonical name: what ``reset_parameters`` writes.
        unwritten: The names of the others, each with the code that may have been meant, if there is some.
    """

    writes: Mapping[str, Shadowed] = field(default_factory=dict)
    unwritten: Mapping[str, str | None] = field(default_factory=dict)
