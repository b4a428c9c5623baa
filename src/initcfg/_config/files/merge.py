"""Merging a config over its base."""

from __future__ import annotations

from typing import Any

from initcfg._config.files.dict import ConfigDict, convert
from initcfg.errors import ConfigMergeError

DELETE_KEY = "_delete_"


class Clash(Exception):
    """A dict would be merged over something that is no dict."""

    def __init__(self, keys: tuple[str, ...], base_value: Any) -> None:
        super().__init__(keys)
        self.keys = keys
        self.base_value = base_value

    def explained(self, child_where: str | None = None, base_where: str | None = None) -> ConfigMergeError:
        """The error for the user, with the places of both values where they are known."""
        path = ".".join(map(str, self.keys))
        places = [f"dict: {child_where}"] if child_where else []
        places += [f"base: {base_where}"] if base_where else []
        return ConfigMergeError(
            f"{path!r} is a dict here, but {shown(self.base_value)} in the base: they cannot be merged.",
            where="; ".join(places) or path,
            fix=f"Write {DELETE_KEY}=True into the dict to replace the base's value.",
        )


def merge(child: dict[str, Any], base: ConfigDict, keys: tuple[str, ...] = ()) -> ConfigDict:
    """``child`` merged over ``base``: dict over dict key by key, anything else replaces.

    Neither is changed, but the result shares their values. ``_delete_=True`` in a dict of ``child``
    replaces the base's value in place of merging; where the base has no such key, there is nothing to
    delete and the mark stays a key (as in MMEngine).

    Raises:
        Clash: A dict over something that is no dict.
    """
    result = base.copy()
    for key, value in child.items():
        if not isinstance(value, dict) or key not in base:
            dict.__setitem__(result, key, convert(value))
            continue
        delete = value.get(DELETE_KEY, False)
        if DELETE_KEY in value:
            value = ConfigDict((k, v) for k, v in value.items() if k != DELETE_KEY)
        if delete:
            dict.__setitem__(result, key, convert(value))
            continue
        old = base[key]
        if not isinstance(old, dict):
            raise Clash((*keys, key), old)
        old = old if isinstance(old, ConfigDict) else ConfigDict(old)
        dict.__setitem__(result, key, merge(value, old, (*keys, key)))
    return result


def merged_or_error(child: dict[str, Any], base: ConfigDict) -> ConfigDict:
    """``merge`` with its clash as the error for the user."""
    try:
        return merge(child, base)
    except Clash as clash:
        raise clash.explained() from None


def set_path(values: ConfigDict, path: str, value: Any, list_keys: bool = True) -> ConfigDict:
    """``values`` with ``value`` at a dotted path; numbers in the path are list indices.

    Dicts on the way that are missing are made; a dict over a dict is merged. ``values`` itself is left
    as it is, but the result shares what the path does not touch.

    Raises:
        ConfigMergeError: The path is empty or malformed, or walks into what is no dict or list, or an
            index is outside its list.
    """
    keys = path.split(".") if isinstance(path, str) else []
    if not keys or not all(key.strip() for key in keys):
        raise ConfigMergeError(
            f"{path!r} is no path to a key.", fix="Write it as 'model.backbone.depth' or 'layers.0.type'."
        )
    return _put(values, keys, 0, convert(value), list_keys)


def _put(holder: Any, keys: list[str], depth: int, value: Any, list_keys: bool) -> Any:
    """A copy of ``holder`` with the rest of the path, from ``depth`` on, set to ``value``."""
    if depth == len(keys):
        return _over(holder, keys, value, list_keys)
    key = keys[depth]
    if isinstance(holder, dict):
        copied = ConfigDict()
        dict.update(copied, holder)
        below = holder[key] if key in holder else ConfigDict()
        dict.__setitem__(copied, key, _put(below, keys, depth + 1, value, list_keys))
        return copied
    walked = ".".join(keys[:depth])
    if isinstance(holder, (list, tuple)) and list_keys:
        if not key.isdecimal():
            raise ConfigMergeError(
                f"{walked!r} is a list, and {key!r} is no index of it.",
                where=".".join(keys),
                fix=f"Write a number from 0 to {len(holder) - 1}." if holder else "The list is empty.",
            )
        index = int(key)
        if index >= len(holder):
            raise ConfigMergeError(
                f"{walked!r} has {len(holder)} items, so it has no item {index}.",
                where=".".join(keys),
                fix="Give the whole list to make it longer.",
            )
        items = list(holder)
        items[index] = _put(items[index], keys, depth + 1, value, list_keys)
        return type(holder)(items) if type(holder) in (list, tuple) else items
    raise ConfigMergeError(
        f"{'.'.join(keys)!r} cannot be set: {walked!r} is {shown(holder)}, and has no keys.",
        where=".".join(keys),
        fix=f"Set {walked!r} as a whole.",
    )


def _over(old: Any, keys: list[str], value: Any, list_keys: bool) -> Any:
    """``value`` over ``old`` at the end of the path."""
    if not isinstance(value, dict):
        return value
    if old is None or value.get(DELETE_KEY, False):
        return ConfigDict((k, v) for k, v in value.items() if k != DELETE_KEY)
    if isinstance(old, list) and list_keys and value and all(str(key).isdecimal() for key in value):
        result: Any = old
        for key, item in value.items():
            result = _put(result, [*keys, str(key)], len(keys), item, list_keys)
        return result
    if not isinstance(old, dict):
        raise Clash(tuple(keys), old).explained()
    result = old
    for key, item in value.items():
        if key != DELETE_KEY:
            result = _put(result, [*keys, key], len(keys), item, list_keys)
    return result


def shown(value: Any) -> str:
    """A value in a sentence: its type, and the value itself where it is short."""
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 40 else f"a {type(value).__name__}"
