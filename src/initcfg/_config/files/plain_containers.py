"""Containers of other libraries, such as OmegaConf's, as dicts and lists."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from initcfg.errors import ArgumentError

# A mapping that is given as a checkpoint may read each tensor from disk when it is asked for it.
_LEFT_ALONE = ("checkpoint",)
_TEXTS = (str, bytes, bytearray, memoryview)
_NO_CONTAINERS = (str, bool, int, float)


class PlainArguments:
    """The base of classes whose arguments are dicts and lists, whatever library's containers are given."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        constructor = vars(cls).get("__init__")
        if constructor is not None:
            # Its signature stays that of the constructor: others read it.
            type.__setattr__(cls, "__init__", _with_plain_arguments(constructor))


def _with_plain_arguments(constructor: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(constructor)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        constructor(self, *plain_containers(args), **plain_containers(kwargs))

    return construct


def plain_containers(given: Any, *, package: str | None = None) -> Any:
    """``given`` with each mapping in it a dict, and each sequence a list, at any depth.

    What is made of dicts, lists and tuples (and of classes derived from them) is returned as it is, so that
    the marks that such classes carry stay. What a mapping resolves when it is read, is resolved here.

    Args:
        given: Anything.
        package: The one whose containers are meant, where others may be more than containers: among the
            arguments of a model may be a data set.

    Raises:
        ArgumentError: A container cannot be read.

    Example:
        >>> from collections import UserList
        >>> from initcfg._config.files.plain_containers import plain_containers
        >>> plain_containers({"layer": UserList(["Linear", "Conv2d"])})
        {'layer': ['Linear', 'Conv2d']}
    """
    if given is None or type(given) in _NO_CONTAINERS:
        return given
    if isinstance(given, Mapping):
        return _plain_mapping(given, package)
    if not isinstance(given, Sequence) or isinstance(given, _TEXTS):
        return given
    if isinstance(given, (list, tuple)):
        made = [plain_containers(item, package=package) for item in given]
        if all(after is before for after, before in zip(made, given, strict=True)):
            return given
        return tuple(made) if isinstance(given, tuple) else made
    if not _is_meant(given, package):
        return given
    return [plain_containers(item, package=package) for item in _read(given, lambda: given)]


def _plain_mapping(given: Mapping[Any, Any], package: str | None) -> Any:
    known = isinstance(given, dict)
    if not known and not _is_meant(given, package):
        return given
    items = given if known else dict(_read(given, given.items))
    made = {
        key: item if key in _LEFT_ALONE else plain_containers(item, package=package)
        for key, item in items.items()
    }
    return given if known and all(made[key] is item for key, item in items.items()) else made


def _is_meant(container: Any, package: str | None) -> bool:
    return package is None or type(container).__module__.partition(".")[0] == package


def _read(container: Any, reading: Callable[[], Iterable[Any]]) -> list[Any]:
    """The items of a container of another library, whose code may raise."""
    try:
        return list(reading())
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise ArgumentError(
            f"A {type(container).__name__} cannot be read: {said} ({type(error).__name__}).",
            fix="Give what it refers to, or resolve it before it is given.",
        ) from error
