"""Where in a checkpoint the weights are: what was put around them, and what is beside them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from initcfg._checkpoints.formats.opened_checkpoint import OpenedCheckpoint
from initcfg._checkpoints.formats.pickled import PickledName, PickledObject
from initcfg._checkpoints.formats.stored import Contents, InMemory, Stored
from initcfg.errors import CheckpointError, nearest, plural

# Under these keys training code keeps the weights, the more telling ones first; and after them, the keys of
# their moving averages, which are taken only where there are no ordinary ones.
_HOLDERS = re.findall(
    r"\w+",
    "state_dict model_state_dict model_state model module net network params weights "
    "state_dict_ema model_ema ema_state_dict model_ema_state_dict ema_model module_ema params_ema ema",
)
# What has tensors that are not weights: not taken together with what nobody knows the name of.
_OF_TRAINING = re.compile(
    r"optim(izer)?s?(_.*)?|(.*_)?schedulers?(_.*)?|lr_.*|(grad_)?scaler.*|amp|callbacks|loops|rng.*|random.*"
    r"|message_hub|meta|_extra_state"
)
# What DDP and torch.compile put before every key.
_PREFIXES = ("module.", "_orig_mod.")
_MOST_PREFIXES = 4
# Where averages are kept by torch.optim.swa_utils.AveragedModel, this stands beside "module.".
_COUNTER = "n_averaged"
_DEEPEST = 64
# How often one table may stand in others, and how long all joined keys may be together.
_MOST_PLACES = 100
_MOST_CHARACTERS = 1 << 28


def unwrapped(contents: Contents, name: str, part: str | None = None) -> OpenedCheckpoint:
    """Find the weights, or those under the key ``part``: ``"state_dict_ema"``."""
    table = as_table(contents.tree)
    if table is None:
        raise CheckpointError(
            f"The checkpoint {name!r} holds {described(contents.tree)}, not a state_dict.",
            fix="Save the state_dict: torch.save(model.state_dict(), path).",
        )
    holders = _Holders(contents.tree)
    wrapping: tuple[str, ...] = ()
    beside: dict[str, str] = {}
    others: tuple[str, ...] = ()
    if not contents.plain:
        others = holders.parts(table)
        chosen = holders.asked(table, part, name) if part else holders.chosen(table)
        while chosen is not None and len(wrapping) < 4:
            beside |= {_text(key): described(value) for key, value in table.items() if key != chosen}
            wrapping += (chosen,)
            table = as_table(table[chosen]) or {}
            chosen = holders.chosen(table)
    tensors = {_text(key): each for key, value in table.items() if (each := as_stored(value)) is not None}
    rest = {key: value for key, value in table.items() if as_stored(value) is None}
    tables = [value for value in rest.values() if as_table(value) is not None]
    if not contents.plain and (tables or not tensors):
        nested = {key: value for key, value in rest.items() if not _OF_TRAINING.fullmatch(_text(key))}
        inside = dict(flattened(nested, name, lambda each: as_table(each) if holders.within(each) else None))
        tensors |= {key: each for key, each in inside.items() if key not in tensors}
        rest = {key: value for key, value in rest.items() if not holders.within(value) or key not in nested}
    beside |= {_text(key): described(value) for key, value in rest.items()}
    if not tensors:
        held = ", ".join(f"{key!r} ({what})" for key, what in list(beside.items())[:6])
        raise CheckpointError(
            f"The checkpoint {name!r} has no tensor in it" + (f", only {held}." if held else "."),
            fix="Save the state_dict: torch.save(model.state_dict(), path).",
        )
    others = tuple(each for each in others if each not in wrapping)
    for _ in range(_MOST_PREFIXES):
        if prefix := next((each for each in _PREFIXES if _all_begin(tensors, each)), None):
            tensors = {key.removeprefix(prefix): each for key, each in tensors.items()}
            wrapping += (prefix,)
    return OpenedCheckpoint(
        name, contents.format, contents.metadata, contents.files, tensors, wrapping, others, beside
    )


def _all_begin(tensors: Mapping[str, Stored], prefix: str) -> bool:
    """Whether every key has a prefix, and more than it."""
    keys = [key for key in tensors if key != _COUNTER]
    return bool(keys) and all(key.startswith(prefix) and len(key) > len(prefix) for key in keys)


def as_stored(value: Any) -> Stored | None:
    """A tensor as one that can be read; None if it is not one."""
    if isinstance(value, torch.Tensor):
        return InMemory(value)
    return value if isinstance(value, Stored) else None


def as_table(value: Any) -> Mapping[Any, Any] | None:
    """A table of things by key; None if it is not one."""
    if isinstance(value, PickledObject):
        value = value.items or None
    return value if isinstance(value, Mapping) else None


def flattened(
    table: Mapping[Any, Any], name: str, inside: Callable[[Any], Mapping[Any, Any] | None] = as_table
) -> Iterator[tuple[str, Stored]]:
    """The tensors of nested tables, by their keys joined with dots; ``inside`` is a value's table."""
    met: Counter[int] = Counter()
    characters = 0

    def walk(table: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Stored]]:
        nonlocal characters
        for key, value in table.items():
            characters += len(prefix)
            stored = as_stored(value)
            further = inside(value) if stored is None else None
            met[id(further)] += further is not None
            if characters > _MOST_CHARACTERS or met[id(further)] > _MOST_PLACES or depth > _DEEPEST:
                raise CheckpointError(
                    f"The checkpoint {name!r} is damaged: its tables are nested without end.",
                    fix="Fetch or save the file again.",
                )
            if stored is not None:
                yield prefix + _text(key), stored
            elif further is not None:
                yield from walk(further, f"{prefix}{_text(key)}.", depth + 1)

    return walk(table, "", 1)


class _Holders:
    """Which tables have a tensor in them, or in tables within them: found once, whatever their number."""

    def __init__(self, root: Any) -> None:
        self._holding: set[int] = set()
        above: dict[int, list[int]] = {}
        waiting, met = [as_table(root)], set[int]()
        while waiting:
            table = waiting.pop()
            if table is None or id(table) in met:
                continue
            met.add(id(table))
            for value in table.values():
                if as_stored(value) is not None:
                    self._holding.add(id(table))
                inner = as_table(value)
                if inner is not None:
                    above.setdefault(id(inner), []).append(id(table))
                    waiting.append(inner)
        spreading = list(self._holding)
        while spreading:
            for outer in above.get(spreading.pop(), ()):
                if outer not in self._holding:
                    self._holding.add(outer)
                    spreading.append(outer)

    def within(self, value: Any) -> bool:
        """Whether something is a table with a tensor in it."""
        table = as_table(value)
        return table is not None and id(table) in self._holding

    def parts(self, table: Mapping[Any, Any]) -> tuple[str, ...]:
        """The known keys under which there are tensors, the one to take first."""
        return tuple(key for key in _HOLDERS if key in table and self.within(table[key]))

    def chosen(self, table: Mapping[Any, Any]) -> str | None:
        """The key that the weights are under; None if they are not under one."""
        found = self.parts(table)
        if found:
            return found[0]
        # One table around it all, under whatever name: {"app": {"model": ..., "optim": ...}}.
        full = [key for key, value in table.items() if as_stored(value) is not None or self.within(value)]
        inner = as_table(table[full[0]]) if len(full) == 1 else None
        return full[0] if inner is not None and isinstance(full[0], str) and self.parts(inner) else None

    def asked(self, table: Mapping[Any, Any], part: str, name: str) -> str:
        """The key that somebody asked for."""
        if self.within(table.get(part)):
            return part
        full = [_text(key) for key, value in table.items() if self.within(value)]
        raise CheckpointError(
            f"The checkpoint {name!r} has no weights under {part!r}.",
            meant=nearest(part, full) or full[:4],
            fix="Name one of those, or no part." if full else "Name no part: they are under no key.",
        )


def _text(key: Any) -> str:
    if isinstance(key, (PickledName, PickledObject)):
        return key.name
    return key if isinstance(key, str) else str(key)[:100]


def described(value: Any) -> str:
    """What something is, in a few words.

    Example:
        >>> from initcfg._checkpoints.formats.unwrapping import described
        >>> described({"a": 1}), described(12), described("x" * 100)
        ('a table of 1', '12', 'a text of 100 characters')
    """
    if isinstance(value, (bool, int, float, type(None))):
        return str(value)[:40]
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"a text of {len(value):,} characters"
    if as_stored(value) is not None:
        return "a tensor"
    if (table := as_table(value)) is not None:
        return f"a table of {len(table):,}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value):,}"
    if isinstance(value, (PickledObject, PickledName)):
        return value.name.rpartition(".")[2]
    return plural(len(value), "byte") if isinstance(value, bytes) else type(value).__name__
