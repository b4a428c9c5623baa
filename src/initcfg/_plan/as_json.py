"""Frozen records as JSON data, field by field in their order; `values.record` reads them back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from initcfg.values import Value, number_to_json, to_json


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
    if isinstance(item, (tuple, list)):
        return [plain(each) for each in item]
    # Arguments of initializers may be anything: a class, a type of torch's.
    known = item is None or isinstance(item, (bool, int, float, str))
    return number_to_json(item) if known else str(item)
