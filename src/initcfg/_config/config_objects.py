"""Objects that hold a model's settings, such as a dataclass, built where a parameter asks for one.

``model: {type: GPT, config: {n_layer: 6}}`` gives ``GPT(config=GPTConfig(n_layer=6))``, where the parameter
is annotated with that class, or where a nested ``type`` or ``_target_`` names it.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from initcfg._config.builders import call_checked, pretrained_config
from initcfg._config.files import origin_of
from initcfg._config.refused_settings import refused_setting
from initcfg._config.settings_classes import (
    alternatives,
    is_module,
    is_pretrained,
    is_settings,
    parameter_hints,
)
from initcfg._config.wrong_types import check_types
from initcfg.errors import BuildError, InitcfgError, nearest

Resolve = Callable[[str, "str | None"], Any]
"""From a name, and who wrote it, to what it leads to; None if that is nothing."""

_NOT_SETTINGS = ("builtins", "typing", "collections.abc", "abc", "torch", "numpy", "pathlib")
_RULES = "init_cfg"


def with_config_objects(
    factory: Any, arguments: Mapping[str, Any], origin: str | None, resolve: Resolve
) -> dict[str, Any]:
    """The arguments, with an object in place of each dict that means one.

    Args:
        factory: The class or function that takes them.
        arguments: What a config gives it.
        origin: Who wrote that: see :func:`initcfg._config.files.origin_of`.
        resolve: Looks names up.

    Raises:
        BuildError: A class does not take what its dict gives, or a parameter is given another type of value
            (:func:`check_types`); ``key_path`` says where.
    """
    check_types(factory, arguments)
    if not any(isinstance(item, (Mapping, list, tuple)) for item in arguments.values()):
        return dict(arguments)
    hints = parameter_hints(factory)
    made = dict(arguments)
    for key, item in arguments.items():
        if key != _RULES and isinstance(item, (Mapping, list, tuple)):
            with _at(str(key)):
                made[key] = _Reader(resolve).read(item, hints.get(key, _UNKNOWN), origin)
    return made


@contextlib.contextmanager
def _at(key: str) -> Iterator[None]:
    """Within, an error's ``key_path`` begins with a key."""
    try:
        yield
    except InitcfgError as error:
        error.key_path = (key, *error.key_path)
        raise


class _UNKNOWN:
    """The hint of a parameter that has none, or of one that is not known."""


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads the value of a parameter."""

    resolve: Resolve

    def read(self, given: Any, hint: Any, origin: str | None) -> Any:
        """What is given, with objects where the hint, or a nested type, asks for some."""
        if isinstance(given, Mapping):
            return self._mapping(given, hint, origin_of(given) if hasattr(given, "_origin") else origin)
        if not isinstance(given, (list, tuple)):
            return given
        inner = _UNKNOWN if hint is _UNKNOWN else _items(hint)
        made = []
        for index, item in enumerate(given):
            with _at(str(index)):
                made.append(self.read(item, inner, origin))
        if all(after is before for after, before in zip(made, given, strict=True)):
            return given
        return tuple(made) if isinstance(given, tuple) else made

    def _mapping(self, given: Mapping[Any, Any], hint: Any, origin: str | None) -> Any:
        classes = [each for each in alternatives(hint) if _may_be_settings(each)]
        # Where a dict will do, it stays one unless it names a class.
        takes_dict = hint is _UNKNOWN or any(map(_is_mapping, alternatives(hint)))
        named = self._named(given, classes, hint, origin)
        if named is not None:
            key, cls = named
            return self._made(cls, {name: item for name, item in given.items() if name != key}, origin)
        if "type" in given and _of_one(classes) is None:
            # Who takes it builds it.
            return given
        settings = [each for each in classes if is_settings(each)]
        if len(settings) == 1 and not takes_dict:
            return self._made(settings[0], given, origin)
        inner = _values(hint)
        if inner is None:
            return given
        made = {}
        for name, item in given.items():
            with _at(str(name)):
                made[name] = self.read(item, inner, origin)
        return given if all(made[name] is item for name, item in given.items()) else made

    def _named(
        self, given: Mapping[Any, Any], classes: list[type], hint: Any, origin: str | None
    ) -> tuple[str, type] | None:
        """The class that a nested ``type`` or ``_target_`` names, and that key; None if it names none."""
        key = next((key for key in ("_target_", "type") if key in given), None)
        if key is None or (hint is not _UNKNOWN and not classes):
            return None
        name, one = given[key], _of_one(classes)
        if key == "type" and one is not None and "type" in _parameters(one) and not _is_path(name):
            # A setting that is called so.
            return None
        found = self.resolve(name, origin) if isinstance(name, str) else name
        if hint is _UNKNOWN:
            return (key, found) if is_settings(found) else None
        if inspect.isclass(found) and issubclass(found, tuple(classes)):
            return key, found
        if one is None or any(map(_is_mapping, alternatives(hint))):
            return None
        wanted = f"{one.__module__}.{one.__qualname__}"
        with _at(key):
            raise BuildError(
                f"{key}={name!r} is for a {one.__name__}, and names {_said(found)}.",
                meant=[wanted] if nearest(str(name).rpartition(".")[2], [one.__name__]) else (),
                fix=f"Name {wanted}, or a class derived from it; or leave {key} out.",
            )

    def _made(self, cls: type, given: Mapping[str, Any], origin: str | None) -> Any:
        arguments = with_config_objects(cls, given, origin, self.resolve)
        if is_pretrained(cls):
            return pretrained_config(cls, arguments)
        try:
            return call_checked(cls, arguments)
        except (TypeError, ValueError) as error:
            refusal = None if isinstance(error, InitcfgError) else refused_setting(cls, error)
            if refusal is None:
                raise
            raise refusal from error


def _may_be_settings(hint: Any) -> bool:
    """Whether a hint is a class of a user's own that is no module."""
    if not inspect.isclass(hint) or isinstance(hint, types.GenericAlias) or hint is _UNKNOWN:
        return False
    own = hint.__module__.partition(".")[0] not in _NOT_SETTINGS and hint.__module__ not in _NOT_SETTINGS
    return is_settings(hint) or (own and not is_module(hint))


def _of_one(classes: list[type]) -> type | None:
    """The one class of settings among these, if there is one alone."""
    found = [each for each in classes if is_settings(each)]
    return found[0] if len(found) == 1 else None


def _is_path(name: Any) -> bool:
    return not isinstance(name, str) or "." in name or ":" in name


def _said(found: Any) -> str:
    return "nothing that can be imported" if found is None else repr(found)


@functools.lru_cache(maxsize=256)
def _parameters(cls: type) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(cls).parameters)
    except (TypeError, ValueError):
        return frozenset()


def _container(hint: Any) -> type | None:
    origin = typing.get_origin(hint) or hint
    return origin if inspect.isclass(origin) else None


def _is_mapping(hint: Any) -> bool:
    container = _container(hint)
    return hint in (Any, object) or (container is not None and issubclass(container, collections.abc.Mapping))


def _items(hint: Any) -> Any:
    """What the items of a sequence are, by its hint."""
    found = []
    for each in alternatives(hint):
        container = _container(each)
        if (
            container is not None
            and issubclass(container, collections.abc.Iterable)
            and not _is_mapping(each)
        ):
            found += [item for item in typing.get_args(each) if item is not Ellipsis]
    return found


def _values(hint: Any) -> Any:
    """What the values of a mapping are, by its hint; None if that does not say."""
    if hint is _UNKNOWN:
        return _UNKNOWN
    found = [
        typing.get_args(each)[1]
        for each in alternatives(hint)
        if _is_mapping(each) and len(typing.get_args(each)) == 2
    ]
    return found or None
