"""Frozen records as JSON data: field by field in their order, and back by the declared types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from initcfg.values import Value, from_json, number_to_json, to_json

Record = TypeVar("Record")


def record_to_json(
    record: Any, *, without: Collection[str] = (), unless_empty: Collection[str] = ()
) -> dict[str, Any]:
    """The fields of a record, but for some, and for others where they say nothing."""
    items = {each.name: getattr(record, each.name) for each in fields(record) if each.name not in without}
    return {name: plain(item) for name, item in items.items() if item or name not in unless_empty}


def plain(item: Any) -> Any:
    """What JSON can hold of an item of a record."""
    if isinstance(item, Value):
        return to_json(item)
    if is_dataclass(item):
        return record_to_json(item)
    if isinstance(item, Mapping):
        return {key: plain(each) for key, each in item.items()}
    return [plain(each) for each in item] if isinstance(item, tuple) else number_to_json(item)


def record_from_json(cls: type[Record], data: Mapping[str, Any], **known: Any) -> Record:
    """The record that :func:`record_to_json` wrote; what its class does not know is passed over."""
    types = _types(cls)
    return cls(**known, **{name: typed(types[name], item) for name, item in data.items() if name in types})


def typed(type_: Any, item: Any) -> Any:
    """An item of JSON data as what it is declared to be."""
    inner = get_args(type_)
    if item is None or type_ is Any:
        return item
    if type(None) in inner:
        return typed(inner[0], item)
    if get_origin(type_) is tuple:
        each_type = inner[:1] * len(item) if inner[-1] is ... else inner
        return tuple(typed(one, each) for one, each in zip(each_type, item, strict=False))
    if inner:
        return {key: typed(inner[1], each) for key, each in item.items()}
    if isinstance(type_, type) and is_dataclass(type_):
        return from_json(item) if issubclass(type_, Value) else record_from_json(type_, item)
    return item


@lru_cache(maxsize=64)
def _types(cls: type) -> dict[str, Any]:
    # Not those of the class: an exported one says that it is of the package's front, which knows no types.
    return get_type_hints(cls.__init__)
