"""Data that cannot change: dicts and lists of plans and ledgers, all the way down."""

from __future__ import annotations

import math
import struct
from dataclasses import fields
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

Named = TypeVar("Named", bound="Frozen")

# One object for each kind of NaN, since dicts and lists take an object to equal itself.
_NANS: dict[bytes, float] = {}


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise TypeError("What a plan or a ledger holds cannot be changed: it is decided. Plan anew, or copy it.")


class FrozenDict(dict[str, Any]):
    """A dict that refuses every change."""

    __setitem__ = __delitem__ = __ior__ = _refuse  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return FrozenDict, (dict(self),)


class FrozenList(list[Any]):
    """A list that refuses every change."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse  # type: ignore[assignment]
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return FrozenList, (list(self),)


def frozen(item: Any) -> Any:
    """The same data, in dicts and lists that refuse changes; a copy, so that no one else's change shows.

    Example:
        >>> from initcfg._plan.frozen import frozen
        >>> frozen({"a": [1, 2]})
        {'a': [1, 2]}
    """
    if type(item) is dict:
        return FrozenDict(
            {key: each if isinstance(each, Frozen) else frozen(each) for key, each in item.items()}
        )
    if type(item) is list:
        return FrozenList(frozen(each) for each in item)
    if type(item) is tuple:
        return tuple(frozen(each) for each in item)
    if isinstance(item, float) and math.isnan(item):
        return _NANS.setdefault(struct.pack(">d", item), item)
    return item


class Frozen:
    """A record whose fields are frozen when it is made; what is not shown (``repr=False``) is left alone."""

    def __post_init__(self) -> None:
        shown: tuple[str, ...] = ()
        for name, item in self.__dict__.items():
            if type(item) in _CHANGEABLE:
                shown = shown or _shown(type(self))
                if name in shown:
                    # Of a field that is there, the dict keeps its size.
                    object.__setattr__(self, name, frozen(item))


def renamed(record: Named, name: str) -> Named:
    """The same record under another name; what is frozen stays so, and is not looked at again."""
    made = object.__new__(type(record))
    made.__dict__.update(record.__dict__)
    made.__dict__["name"] = name
    return made


_CHANGEABLE = (dict, list, float)


@lru_cache(maxsize=64)
def _shown(cls: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls) if each.repr)
