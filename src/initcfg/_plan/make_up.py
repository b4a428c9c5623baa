"""Make-up: which tensors a model has under which names, and what code changes of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from initcfg._model import Names
from initcfg._plan.assignment import Before
from initcfg.values import dtype_name


class Kind(NamedTuple):
    """What stands under a name; two names of one tensor have the same canonical name."""

    shape: tuple[int, ...]
    dtype: str
    buffer: bool
    canonical: str
    # How many tensors it is stored as, through a parametrization; 0 without one.
    originals: int


MakeUp = dict[str, Kind]


def make_up_of(names: Names) -> MakeUp:
    """What stands under each name of a model."""
    return {
        name: Kind(
            entry.shape, dtype_name(entry.tensor.dtype), entry.buffer, entry.name, len(entry.originals)
        )
        for entry in names.entries.values()
        for name in entry.names
    }


def changed_make_up(before: Mapping[str, Kind], now: Mapping[str, Kind]) -> dict[str, Before | None]:
    """The names under which something else stands now: what stood there before, or None."""
    names = dict.fromkeys([*before, *now])
    return {
        name: Before(before[name].shape, before[name].dtype) if name in before else None
        for name in names
        if before.get(name) != now.get(name)
    }
