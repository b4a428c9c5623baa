"""Classes that hold a model's settings, and what parameters are annotated with."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from initcfg._config.annotations import annotations_of

# transformers' own, by its older and its newer name; named, so that it is not imported for a look.
_PRETRAINED = ("PretrainedConfig", "PreTrainedConfig")


def is_settings(found: Any) -> bool:
    """Whether something is a class that holds settings: of dataclasses, attrs, pydantic, or transformers.

    Example:
        >>> from dataclasses import dataclass
        >>> from initcfg._config.settings_classes import is_settings
        >>> @dataclass
        ... class Sizes:
        ...     width: int = 2
        >>> is_settings(Sizes), is_settings(dict)
        (True, False)
    """
    if not inspect.isclass(found) or isinstance(found, types.GenericAlias) or is_module(found):
        return False
    return (
        dataclasses.is_dataclass(found)
        or hasattr(found, "__attrs_attrs__")
        or any(base.__name__ == "BaseModel" and "pydantic" in base.__module__ for base in found.__mro__)
        or (issubclass(found, tuple) and hasattr(found, "_fields"))
        or is_pretrained(found)
    )


def is_pretrained(cls: type) -> bool:
    return any(base.__name__ in _PRETRAINED for base in cls.__mro__)


def is_module(cls: type) -> bool:
    return any(base.__module__.startswith("torch.nn") for base in cls.__mro__)


def parameter_hints(factory: Any) -> dict[str, Any]:
    """By parameter: its annotation, evaluated, where it has one that can be."""
    while isinstance(factory, functools.partial):
        factory = factory.func
    found: dict[str, Any] = {}
    if inspect.isclass(factory):
        for base in reversed(factory.__mro__):
            if is_settings(base):
                found.update(_known(annotations_of(base)))
        found.update(_known(annotations_of(factory.__init__)))
    else:
        found.update(_known(annotations_of(factory)))
    return found


def _known(hints: Mapping[str, Any]) -> dict[str, Any]:
    return {name: hint for name, hint in hints.items() if not isinstance(hint, str)}


def alternatives(hint: Any) -> Iterator[Any]:
    """A hint, or those that a union of it has."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for each in typing.get_args(hint):
            yield from alternatives(each)
    elif typing.get_origin(hint) is typing.Annotated:
        yield from alternatives(typing.get_args(hint)[0])
    elif isinstance(hint, (list, tuple)):
        for each in hint:
            yield from alternatives(each)
    else:
        yield hint
