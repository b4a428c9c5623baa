"""Where in a checkpoint the weights are: what was put around them, and what is beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from initcfg._checkpoints.formats.opened_checkpoint import OpenedCheckpoint
from initcfg._checkpoints.formats.pickled import PickledTable
from initcfg._checkpoints.formats.stored import Contents, Stored
from initcfg._checkpoints.formats.tables import (
    as_stored,
    as_table,
    described,
    flattened,
    key_of,
    key_text,
    shown,
    tensors_of,
    twice,
)
from initcfg._checkpoints.formats.torch_tensors import ALONE, more_than_tensors
from initcfg.errors import CheckpointError, nearest

# Under these keys training code keeps the weights, the more telling ones first; and after them, the keys of
# their moving averages, which are taken only where there are no ordinary ones.
_HOLDERS = re.findall(
    r"\w+",
    "state_dict model_state_dict model_state model module net network params weights blobs "
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
_PLAIN = (str, int, float, type(None))
# Where averages are kept by torch's AveragedModel, or MMEngine's, one of these stands beside "module.".
_COUNTERS = ("n_averaged", "steps")
# torch_ema and diffusers keep averages as a list, in the order of the model's parameters.
_UNNAMED = "shadow_params"


def unwrapped(contents: Contents, name: str, part: str | None = None) -> OpenedCheckpoint:
    """Find the weights, or those under the key ``part``: ``"state_dict_ema"``."""
    table = as_table(contents.tree)
    if table is None:
        raise _nothing_in(contents, name, f"holds {described(contents.tree)}, not a state_dict")
    holders = _Holders(contents.tree, name)
    wrapping: tuple[str, ...] = ()
    beside: dict[str, str] = {}
    others: tuple[str, ...] = ()
    if not contents.plain:
        others = holders.parts(table)
        chosen = holders.asked(table, part) if part else holders.chosen(table)
        while chosen is not None and len(wrapping) < 4:
            beside |= {key_text(key): described(value) for key, value in table.items() if key != chosen}
            wrapping += (key_text(chosen),)
            table = as_table(table[chosen]) or {}
            chosen = holders.chosen(table)
    others = tuple(each for each in others if each not in wrapping)
    tensors = {} if contents.plain else _unnamed(table)
    unnamed = bool(tensors)
    if unnamed:
        wrapping += (_UNNAMED,)
        rest = {key: value for key, value in table.items() if key_text(key) != _UNNAMED}
    else:
        tensors, rest = _named(contents, table, holders, name)
    beside |= {key_text(key): described(value) for key, value in rest.items()}
    if not tensors:
        held = ", ".join(f"{key!r} ({what})" for key, what in list(beside.items())[:6])
        raise _nothing_in(contents, name, "has no tensor in it" + (f", only {held}" if held else ""))
    for _ in range(_MOST_PREFIXES):
        if prefix := next((each for each in _PREFIXES if _all_begin(tensors, each)), None):
            tensors = {key.removeprefix(prefix): each for key, each in tensors.items()}
            wrapping += (prefix,)
    told = contents.format, contents.metadata, contents.files
    return OpenedCheckpoint(
        name, *told, tensors, wrapping, others, beside, unnamed=unnamed, modules=_of_modules(table)
    )


def _of_modules(table: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """What a state_dict says of each module beside its tensors: its version, and other plain data."""
    given = table.attributes if isinstance(table, PickledTable) else getattr(table, "__dict__", None)
    metadata = given.get("_metadata") if isinstance(given, Mapping) else None
    if not isinstance(metadata, Mapping):
        return {}
    named = {name: said for name, said in metadata.items() if isinstance(name, str)}
    return {name: _plain(said) for name, said in named.items() if isinstance(said, Mapping)}


def _plain(said: Mapping[Any, Any]) -> dict[str, Any]:
    """The plain data in a table, and in the tables in it: spectral_norm has a table of versions."""
    found: dict[str, Any] = {}
    for key, item in said.items():
        if isinstance(key, str) and isinstance(item, Mapping):
            found[key] = {inner: each for inner, each in item.items() if _is_plain(inner) and _is_plain(each)}
        elif isinstance(key, str) and _is_plain(item):
            found[key] = item
    return found


def _is_plain(item: Any) -> bool:
    return isinstance(item, _PLAIN)


def _named(
    contents: Contents, table: Mapping[Any, Any], holders: _Holders, name: str
) -> tuple[dict[str, Stored], dict[Any, Any]]:
    """The tensors of a table and, where it is one of tables, of those; and what else is in it."""
    tensors = tensors_of(table, name)
    rest = {key: value for key, value in table.items() if as_stored(value) is None}
    tables = [value for value in rest.values() if as_table(value) is not None]
    if not contents.plain and (tables or not tensors):
        nested = {key: value for key, value in rest.items() if not _OF_TRAINING.fullmatch(key_text(key))}
        inside = flattened(nested, name, lambda each: as_table(each) if holders.within(each) else None)
        if double := next((key for key in inside if key in tensors), None):
            raise twice(name, double)
        tensors |= inside
        rest = {key: value for key, value in rest.items() if not holders.within(value) or key not in nested}
    return tensors, rest


def _nothing_in(contents: Contents, name: str, what: str) -> CheckpointError:
    """The error for a file without weights: they may be in what it names, which nobody looks up."""
    if contents.foreign:
        return CheckpointError(
            f"The checkpoint {name!r} {more_than_tensors(shown(contents.foreign[0]))}.", fix=ALONE
        )
    return CheckpointError(
        f"The checkpoint {name!r} {what}.",
        fix="Save the state_dict: torch.save(model.state_dict(), path).",
    )


def _unnamed(table: Mapping[Any, Any]) -> dict[str, Stored]:
    """Averages that have no names, by their places; none where a table is not of that kind."""
    listed = table.get(key_of(table, _UNNAMED))
    stored = [as_stored(each) for each in listed] if isinstance(listed, (list, tuple)) else []
    return {f"{_UNNAMED}.{place}": each for place, each in enumerate(stored) if each is not None}


def holds_tensors(tree: Any) -> bool:
    """Whether there is a tensor in a tree of tables."""
    return _Holders(tree).within(tree)


def _all_begin(tensors: Mapping[str, Stored], prefix: str) -> bool:
    """Whether every key has a prefix, and more than it."""
    keys = [key for key in tensors if key not in _COUNTERS]
    return bool(keys) and all(key.startswith(prefix) and len(key) > len(prefix) for key in keys)


class _Holders:
    """Which tables have a tensor in them, or in tables within them: found once, whatever their number."""

    def __init__(self, root: Any, name: str = "") -> None:
        self._name = name
        self._holding: set[int] = set()
        above: dict[int, list[int]] = {}
        waiting, met = [as_table(root)], set[int]()
        while waiting:
            table = waiting.pop()
            if table is None or id(table) in met:
                continue
            met.add(id(table))
            if _unnamed(table):
                self._holding.add(id(table))
            for value in table.values():
                if as_stored(value, scalars=False) is not None:
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
        return tuple(text for text in _HOLDERS if self._under(table, text) is not None)

    def _under(self, table: Mapping[Any, Any], text: str) -> Any:
        """The key that is a text under which there are tensors; None if there is none."""
        found = [
            key
            for key in (text, text.encode(errors="surrogatepass"))
            if key in table and self.within(table[key])
        ]
        if len(found) > 1:
            raise twice(self._name, text, "tables")
        return found[0] if found else None

    def chosen(self, table: Mapping[Any, Any]) -> Any:
        """The key that the weights are under; None if they are not under one."""
        found = self.parts(table)
        if found:
            return self._under(table, found[0])
        # One table around it all, under whatever name: {"app": {"model": ..., "optim": ...}}.
        full = [
            key
            for key, value in table.items()
            if as_stored(value, scalars=False) is not None or self.within(value)
        ]
        inner = as_table(table[full[0]]) if len(full) == 1 else None
        named = bool(full) and isinstance(full[0], (str, bytes))
        return full[0] if inner is not None and named and self.parts(inner) else None

    def asked(self, table: Mapping[Any, Any], part: str) -> Any:
        """The key that somebody asked for."""
        found = self._under(table, part)
        if found is not None:
            return found
        full = [key_text(key) for key, value in table.items() if self.within(value)]
        raise CheckpointError(
            f"The checkpoint {self._name!r} has no weights under {part!r}.",
            meant=nearest(part, full) or full[:4],
            fix="Name one of those, or no part." if full else "Name no part: they are under no key.",
        )
