"""Data that cannot change: dicts and lists of plans and ledgers, all the way down."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
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


class LateDict(FrozenDict):
    """A dict of records that refuses every change, and that gives each its name when it is read.

    It is made with one record for all that differ in their names alone. ``items`` are of classes that have
    ``name`` and ``named``.

    Example:
        >>> from initcfg._plan import Assignment
        >>> from initcfg._plan.frozen import LateDict
        >>> from initcfg.values import Keep
        >>> item = Assignment("a.weight", (2,), "float32", Keep())
        >>> found = LateDict({"a.weight": item, "b.weight": item})
        >>> found["b.weight"].name, found["b.weight"] is found["b.weight"]
        ('b.weight', True)
    """

    # What is written in C looks past these: it is to ask for keys and items, as it does where a class has its
    # own iterator.
    def __iter__(self) -> Iterator[str]:
        return dict.__iter__(self)

    def __getitem__(self, name: str) -> Any:
        item = dict.__getitem__(self, name)
        if item.name == name:
            return item
        item = item.named(name)
        dict.__setitem__(self, name, item)
        return item

    def get(self, name: str, default: Any = None) -> Any:
        """As of any dict."""
        return self[name] if name in self else default  # noqa: SIM401 - this is the get

    def values(self) -> Any:
        """As of any dict."""
        self._name_all()
        return dict.values(self)

    def items(self) -> Any:
        """As of any dict."""
        self._name_all()
        return dict.items(self)

    def copy(self) -> dict[str, Any]:
        """As of any dict: one that can be changed."""
        self._name_all()
        return dict(dict.items(self))

    def __eq__(self, other: object) -> bool:
        self._name_all()
        if isinstance(other, LateDict):
            other._name_all()
        return dict.__eq__(self, other)

    __hash__ = None  # type: ignore[assignment]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __or__(self, other: Any) -> Any:
        return NotImplemented if not isinstance(other, dict) else {**self, **other}

    def __ror__(self, other: Any) -> Any:
        return NotImplemented if not isinstance(other, dict) else {**other, **self}

    def __repr__(self) -> str:
        self._name_all()
        return dict.__repr__(self)

    def __reduce__(self) -> Any:
        return FrozenDict, (self.copy(),)

    def _name_all(self) -> None:
        if "all_named" not in self.__dict__:
            for name, item in dict.items(self):
                if item.name != name:
                    # The dict keeps its size.
                    dict.__setitem__(self, name, item.named(name))
            self.__dict__["all_named"] = True


def unnamed(records: Mapping[str, Named]) -> dict[str, Named]:
    """Records by name, of which some may have the name of one that is like them; in a dict of its own.

    Example:
        >>> from initcfg._plan import Assignment
        >>> from initcfg._plan.frozen import LateDict, unnamed
        >>> from initcfg.values import Keep
        >>> item = Assignment("a.weight", (2,), "float32", Keep())
        >>> unnamed(LateDict({"b.weight": item}))["b.weight"].name
        'a.weight'
    """
    return dict(dict.items(records) if isinstance(records, dict) else records)


class FrozenList(list[Any]):
    """A list that refuses every change."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse  # type: ignore[assignment]
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return FrozenList, (list(self),)


NOTHING = FrozenDict()
"""The empty one, which all may share."""


def frozen(item: Any) -> Any:
    """The same data, in dicts and lists that refuse changes; a copy, so that no one else's change shows.

    Example:
        >>> from initcfg._plan.frozen import frozen
        >>> frozen({"a": [1, 2]})
        {'a': [1, 2]}
    """
    if type(item) is dict:
        if not item:
            return NOTHING
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


def altered(record: Named, **fields: Any) -> Named:
    """The same record with other fields, of which these alone are looked at.

    Example:
        >>> from initcfg import Assignment
        >>> from initcfg._plan.frozen import altered
        >>> from initcfg.values import Constant
        >>> altered(Assignment("a", (2,), "float32", Constant(1.0)), value=Constant(0.0)).value
        Constant(val=0.0)
    """
    made = object.__new__(type(record))
    made.__dict__.update(record.__dict__)
    for name, item in fields.items():
        looked_at = type(item) in _CHANGEABLE and name in _shown(type(record))
        made.__dict__[name] = frozen(item) if looked_at else item
    return made


_CHANGEABLE = (dict, list, float)


@lru_cache(maxsize=64)
def _shown(cls: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls) if each.repr)
