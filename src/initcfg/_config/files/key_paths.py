"""Values at dotted paths: ``model.backbone.depth``, ``layers.0.type``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from initcfg._config.files.config_dict import (
    DELETE_KEY,
    Clash,
    ConfigDict,
    convert,
    origin_of,
    set_origin,
    shown,
    without_delete,
)
from initcfg._config.files.nesting import MOST_DEEP, too_deep
from initcfg.errors import ConfigMergeError


def get_path(values: Any, keys: Sequence[str]) -> Any:
    """The value at a path; what dicts and lists raise (and ``int``) where there is none."""
    for key in keys:
        values = values[int(key)] if isinstance(values, (list, tuple)) else values[key]
    return values


def set_path(values: ConfigDict, path: str, value: Any, list_keys: bool = True) -> ConfigDict:
    """``values`` with ``value`` at a dotted path; numbers in the path are list indices.

    Dicts on the way that are missing are made; a dict over a dict is merged. ``values`` itself is left
    as it is, but the result shares what the path does not touch.
    """
    keys = path.split(".") if isinstance(path, str) else []
    if not keys or not all(key.strip() for key in keys):
        raise ConfigMergeError(
            f"{path!r} is not a path to a key.", fix="Write it as 'model.backbone.depth' or 'layers.0.type'."
        )
    if len(keys) > MOST_DEEP:
        raise too_deep(None)
    return _put(values, keys, 0, convert(value), list_keys)


def _put(holder: Any, keys: list[str], depth: int, value: Any, list_keys: bool) -> Any:
    """A copy of ``holder`` with the rest of the path, from ``depth`` on, set to ``value``."""
    if depth == len(keys):
        return _over(holder, keys, value, list_keys)
    key, walked, whole = keys[depth], ".".join(keys[:depth]), ".".join(keys)
    if isinstance(holder, dict):
        # A type that is set is the word of who sets it, whoever wrote the file.
        copied = set_origin(ConfigDict(), None if keys[depth:] == ["type"] else origin_of(holder))
        dict.update(copied, holder)
        below = holder[key] if key in holder else ConfigDict()
        dict.__setitem__(copied, key, _put(below, keys, depth + 1, value, list_keys))
        return copied
    if isinstance(holder, (list, tuple)) and list_keys:
        if not key.isdecimal():
            raise ConfigMergeError(
                f"{walked!r} is a list, and {key!r} is not an index of it.",
                where=whole,
                fix=f"Write a number from 0 to {len(holder) - 1}." if holder else "The list is empty.",
            )
        index = int(key)
        if index >= len(holder):
            raise ConfigMergeError(
                f"{walked!r} has {len(holder)} items, so it has no item {index}.",
                where=whole,
                fix="Give the whole list to make it longer.",
            )
        items = list(holder)
        items[index] = _put(items[index], keys, depth + 1, value, list_keys)
        return type(holder)(items) if type(holder) in (list, tuple) else items
    raise ConfigMergeError(
        f"{whole!r} cannot be set: {walked!r} is {shown(holder)}, and has no keys.",
        where=whole,
        fix=f"Set {walked!r} as a whole.",
    )


def _over(old: Any, keys: list[str], value: Any, list_keys: bool) -> Any:
    """``value`` over ``old`` at the end of the path."""
    if not isinstance(value, dict):
        return value
    if old is None or value.get(DELETE_KEY, False):
        return without_delete(value)
    by_index = isinstance(old, list) and list_keys and value and all(str(key).isdecimal() for key in value)
    if not by_index and not isinstance(old, dict):
        raise Clash(tuple(keys), old).explained()
    result: Any = old
    for key, item in value.items():
        if key != DELETE_KEY:
            result = _put(result, [*keys, str(key) if by_index else key], len(keys), item, list_keys)
    if origin_of(value) and "type" in value and isinstance(result, ConfigDict):
        set_origin(result, origin_of(value))
    return result


def leaf_paths(keys: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    """The paths that setting ``value`` at ``keys`` changes: a merged dict changes its own keys only."""
    if isinstance(convert(value), dict) and value and not value.get(DELETE_KEY, False):
        for key, item in value.items():
            yield from leaf_paths((*keys, str(key)), item)
    else:
        yield keys


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(item)
