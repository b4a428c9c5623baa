"""How deep a config may be nested, and how many values a file may give: one check for every source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from initcfg.errors import ConfigError, ConfigSyntaxError

MOST_DEEP = 100
"""Levels of dicts and lists. What walks a config makes a few calls a level, and Python allows 1,000."""
MOST_VALUES = 1_000_000
"""More values than any config has, each alias of YAML counted as a copy of its own."""
# What Python turns into text, and an error message shows: 4,300 digits.
_MOST_BITS = 14_000
_CONTAINERS = (dict, list, tuple, set, frozenset)


@dataclass
class _Open:
    """A container on the way down to where the walk is."""

    holder: Any
    rest: Iterator[Any]
    depth: int = 1
    size: int = 1

    def add(self, depth: int, size: int) -> None:
        self.depth, self.size = max(self.depth, depth + 1), self.size + size


def check_nesting(value: Any, where: str | None = None, most_values: int | None = None) -> None:
    """Raise ConfigError if a value contains itself, is nested too deeply, or stands for too many values.

    Nothing here recurses, and each container is walked once, however often it occurs.
    """
    if not isinstance(value, _CONTAINERS):
        return
    known: dict[int, tuple[int, int]] = {}
    way = [_Open(value, iter(_items(value)))]
    around = {id(value)}
    while way:
        here = way[-1]
        for item in here.rest:
            if not isinstance(item, _CONTAINERS):
                here.size += 1
                if type(item) is int and item.bit_length() > _MOST_BITS:
                    raise ConfigError("A number of this config has more than 4,300 digits.", where=where)
                continue
            if id(item) in around:
                raise ConfigError("A value of this config contains itself.", where=where)
            depth, size = known.get(id(item), (1, 0))
            if len(way) + depth > MOST_DEEP:
                raise too_deep(where)
            if size:
                here.add(depth, size)
                continue
            way.append(_Open(item, iter(_items(item))))
            around.add(id(item))
            break
        else:
            way.pop()
            around.discard(id(here.holder))
            known[id(here.holder)] = (here.depth, here.size)
            if most_values is not None and here.size > most_values:
                raise ConfigError(
                    f"The lists and dicts of this config stand for more than {most_values:,} values.",
                    where=where,
                )
            if way:
                way[-1].add(here.depth, here.size)


def _items(holder: Any) -> Iterable[Any]:
    # MMEngine's dict has other values() than it holds.
    return dict.values(holder) if isinstance(holder, dict) else holder


def too_deep(where: str | None) -> ConfigSyntaxError:
    """The error of a config that is nested too deeply."""
    return ConfigSyntaxError(
        f"The config is nested too deeply: more than {MOST_DEEP} levels of dicts and lists.", where=where
    )
