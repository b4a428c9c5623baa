"""A dict whose keys are attributes too."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from initcfg._config.files.nesting import check_nesting
from initcfg._config.files.plain_containers import plain_containers
from initcfg.errors import ConfigKeyError, ConfigMergeError, ConfigTypeError, as_annotated, nearest


class ConfigDict(dict[str, Any]):
    """A dict with attribute access; dicts inside it, in lists and tuples too, are of its kind.

    As in MMEngine, ``update`` merges dicts in dicts, ``pop`` of a missing key gives ``None``, ``copy`` is
    shallow, ``deepcopy`` is not, and a dict of another class than ``dict`` or ``OrderedDict`` is kept as it
    is. After ``freeze()`` no key can be added, here and in the dicts inside. What MMEngine imports lazily is
    imported when it is put in.

    Attributes:
        lazy: False, as MMEngine's is outside of its reader of files.

    Args:
        *args: What ``dict`` takes: one mapping, or pairs.
        **kwargs: Further keys.

    Raises:
        ConfigKeyError: A missing key, by attribute or item; it is a ``KeyError`` and an
            ``AttributeError``, and names the nearest keys.

    Example:
        >>> from initcfg import ConfigDict
        >>> cfg = ConfigDict(backbone=dict(depth=18))
        >>> cfg.backbone.depth = 50
        >>> cfg
        {'backbone': {'depth': 50}}
    """

    __slots__ = ("_frozen", "_origin")
    lazy: ClassVar[bool] = False

    def __init__(self, *args: Mapping[str, Any] | Iterable[tuple[str, Any]], **kwargs: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_frozen", False)
        object.__setattr__(self, "_origin", None if "type" in kwargs or not args else origin_of(args[0]))
        given = dict(*args, **kwargs)
        check_nesting(given)
        for key, value in given.items():
            dict.__setitem__(self, key, _converted(value))

    def __missing__(self, key: object) -> Any:
        raise self._missing("key", key)

    def __getattr__(self, name: str) -> Any:
        try:
            return dict.__getitem__(self, name)
        except KeyError:
            raise self._missing("attribute", name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise ConfigKeyError(
                f"The attribute {name!r} of a config is a method, and cannot be set.",
                fix=f"Write cfg[{name!r}] = ... for a key of that name.",
            )
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise self._missing("attribute", name)
        del self[name]

    def __setitem__(self, key: str, value: Any) -> None:
        self._refuse_if_frozen(key)
        dict.__setitem__(self, key, convert(value))
        if key == "type":
            set_origin(self, None)

    def __copy__(self) -> ConfigDict:
        other = set_origin(type(self)(), self._origin)
        dict.update(other, self)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> ConfigDict:
        other = set_origin(type(self)(), self._origin)
        memo[id(self)] = other
        for key, value in self.items():
            dict.__setitem__(other, copy.deepcopy(key, memo), copy.deepcopy(value, memo))
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),), self._origin

    def __setstate__(self, origin: str | None) -> None:
        set_origin(self, origin)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Mapping):
            return NotImplemented
        merged = copy.deepcopy(self)
        merged.update(other)
        return merged

    def __ror__(self, other: Any) -> Any:
        if not isinstance(other, Mapping):
            return NotImplemented
        merged = type(self)(copy.deepcopy(dict(other)))
        merged.update(copy.deepcopy(self))
        return merged

    def __ior__(self, other: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.update(other)
        return self

    def copy(self) -> ConfigDict:
        """A shallow copy."""
        return self.__copy__()

    def deepcopy(self) -> ConfigDict:
        """A copy, with copies of all values."""
        return copy.deepcopy(self)

    @as_annotated(ConfigTypeError)
    def freeze(self, frozen: bool = True) -> None:
        """Refuse new keys from now on, here and in the dicts inside; a copy is free again."""
        object.__setattr__(self, "_frozen", frozen)
        for value in self.values():
            if isinstance(value, ConfigDict):
                value.freeze(frozen)

    def unfreeze(self) -> None:
        """Take new keys again, here and in the dicts inside."""
        self.freeze(False)

    @staticmethod
    def build_lazy(value: Any) -> Any:
        """What a lazy object of MMEngine stands for; any other value itself."""
        return value.build() if _is_lazy(value) else value

    def pop(self, key: str, default: Any = None) -> Any:
        """Take a key out; ``default`` where it is missing (no error, as in MMEngine)."""
        return dict.pop(self, key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, set to ``default`` first where it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Mapping[str, Any] | Iterable[tuple[str, Any]], **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Set keys; a dict over a dict is merged into it, key by key."""
        for key, value in dict(*args, **kwargs).items():
            old = self.get(key)
            if isinstance(old, dict) and isinstance(value, Mapping):
                old.update(value)
            else:
                self[key] = value
        for given in args:
            if isinstance(given, ConfigDict) and given._origin and "type" in given:
                set_origin(self, given._origin)

    @as_annotated(ConfigTypeError)
    def merge(self, other: Mapping[str, Any]) -> None:
        """Merge ``other`` as a child config: deep, with ``_delete_=True`` understood.

        Args:
            other: The keys to merge; left as it is.

        Raises:
            ConfigMergeError: A dict would go over a value that is not a dict.
        """
        try:
            result = merge(convert(copy.deepcopy(ConfigDict(other))), self)
        except Clash as clash:
            raise clash.explained() from None
        for key in result:
            self._refuse_if_frozen(key)
        self.clear()
        dict.update(self, result)
        set_origin(self, result._origin)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, with plain dicts inside."""
        return plain(self)

    def _refuse_if_frozen(self, key: object) -> None:
        if self._frozen and key not in self:
            raise ConfigKeyError(
                f"This config is frozen, and takes no new key {key!r}.", fix="Call unfreeze() first."
            )

    def _missing(self, kind: str, name: object) -> ConfigKeyError:
        keys = [key for key in self if isinstance(key, str)]
        meant = nearest(name, keys) if isinstance(name, str) and not name.startswith("__") else []
        return ConfigKeyError(f"{type(self).__name__!r} object has no {kind} {name!r}.", meant=meant)


def origin_of(value: Any) -> str | None:
    """Who wrote the ``type`` of a dict: ``"data"`` (a file of data), ``"untrusted"``, or None (Python).

    What the type may name depends on it. The mark follows the dict through copies and merges; a
    ``type`` that Python code or an override sets is their own word.
    """
    return value._origin if isinstance(value, ConfigDict) else None


def is_untrusted(config: Any) -> bool:
    """Whether a config, or a dict of one, was read with ``untrusted=True``."""
    return origin_of(config) == "untrusted" or getattr(config, "_untrusted", None) is True


def said_beside(config: Any) -> frozenset[str]:
    """The texts of a config's overrides: the word of who reads it, not of who wrote the file."""
    said = getattr(config, "_said", None)
    return said if isinstance(said, frozenset) else frozenset()


def set_origin(value: ConfigDict, origin: str | None) -> ConfigDict:
    """Note who wrote the ``type`` of a dict; the same dict."""
    object.__setattr__(value, "_origin", origin)
    return value


_ATOMS = (str, int, float, bool, type(None))


def convert(value: Any) -> Any:
    """``value`` with each plain dict in it, at any depth of dicts, lists and tuples, a ConfigDict."""
    check_nesting(value)
    return _converted(value)


def _converted(value: Any) -> Any:
    kind = type(value)
    if kind in _ATOMS or kind is ConfigDict:
        return value
    if kind is dict or kind is OrderedDict:
        made = ConfigDict()
        for key, item in value.items():
            dict.__setitem__(made, key, _converted(item))
        return made
    if kind is list or kind is tuple:
        return kind([_converted(item) for item in value])
    resolved = plain_containers(value, package="omegaconf")
    return ConfigDict.build_lazy(value) if resolved is value else _converted(resolved)


def _is_lazy(value: Any) -> bool:
    """Whether MMEngine made this in place of an import: by name, since MMEngine need not be there."""
    kind = type(value)
    return kind.__module__ == "mmengine.config.lazy" and kind.__name__ in ("LazyObject", "LazyAttr")


def fresh(value: Any, origin: str | None = None) -> Any:
    """A converted copy in which no container occurs twice; what is no container is shared.

    An ``origin`` is noted in every dict; without one, each keeps its own.
    """
    check_nesting(value)
    return _fresh(value, origin)


def _fresh(value: Any, origin: str | None) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is ConfigDict or kind is dict or kind is OrderedDict:
        copied = set_origin(ConfigDict(), origin or origin_of(value))
        for key, item in value.items():
            dict.__setitem__(copied, key, _fresh(item, origin))
        return copied
    if kind is list or kind is tuple:
        return kind([_fresh(item, origin) for item in value])
    if isinstance(value, (dict, list, set)):
        return copy.deepcopy(value)
    return value


def plain(value: Any) -> Any:
    """A copy of ``value`` with each dict in it a plain dict."""
    check_nesting(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    if type(value) in _ATOMS:
        return value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)([_plain(item) for item in value])
    return value


DELETE_KEY = "_delete_"


@dataclass(eq=False)
class Clash(Exception):
    """A dict would be merged over something that is not a dict."""

    keys: tuple[str, ...]
    base_value: Any

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
    """
    result = base.copy()
    if "type" in child:
        set_origin(result, origin_of(child))
    for key, value in child.items():
        if not isinstance(value, dict) or key not in base:
            dict.__setitem__(result, key, convert(value))
            continue
        old, unmarked = base[key], value
        if DELETE_KEY in value:
            unmarked = without_delete(value)
        if value.get(DELETE_KEY, False):
            dict.__setitem__(result, key, convert(unmarked))
        elif not isinstance(old, dict):
            raise Clash((*keys, key), old)
        else:
            old = old if isinstance(old, ConfigDict) else ConfigDict(old)
            dict.__setitem__(result, key, merge(unmarked, old, (*keys, key)))
    return result


def without_delete(value: Mapping[str, Any]) -> ConfigDict:
    """A dict without its ``_delete_``."""
    unmarked = ConfigDict((key, item) for key, item in value.items() if key != DELETE_KEY)
    return set_origin(unmarked, origin_of(value))


def shown(value: Any) -> str:
    """A value in a sentence: its type, and the value itself where it is short."""
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 40 else f"a {type(value).__name__}"
