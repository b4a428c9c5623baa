"""What a ``type`` may name that a config file wrote: decided before anything of it is called.

A file of data (YAML, JSON, TOML) says what to build, and is no way to call whatever function there is. What
Python wrote, and what is typed on the command line, is the user's own word.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from initcfg._config.annotations import annotations_of, fills_tensor
from initcfg._config.builders import is_builder, is_object, needs_no_trust, object_of
from initcfg._config.files import origin_of
from initcfg._config.import_paths import import_path, is_registered_with_mmengine, torch_nn_class
from initcfg._config.settings_classes import is_settings, parameter_hints
from initcfg.errors import BuildError, UntrustedError

Classes = tuple[type, ...] | None
"""The classes that a nested ``type`` may name besides modules; None: any that holds settings."""

# What is nested under these keys are rules, whose types are initializers.
_RULES = ("init_cfg",)
_INITIALIZERS = ("BaseInit", "PretrainedInit")
# Of what is being built: the objects that are no modules, but that the annotation of a parameter asks for.
_asked: ContextVar[frozenset[int] | None] = ContextVar("initcfg_asked_types", default=None)


@contextlib.contextmanager
def permitted(cfg: Any, registry: Any) -> Iterator[None]:
    """Check the types of ``cfg`` and of all that is nested in it; within, what is built of it is known.

    Raises:
        BuildError: A ``type`` names what the file that wrote it may not name. Nothing was called.
    """
    asked = _asked.get()
    if asked is not None:
        _check_nested(cfg, registry, asked)
        yield
        return
    token = _asked.set(check_types(cfg, registry))
    try:
        yield
    finally:
        _asked.reset(token)


def check_types(cfg: Any, registry: Any) -> frozenset[int]:
    """See :func:`permitted`; gives the identities of what is no module, and asked for by an annotation."""
    asked: set[int] = set()
    waiting: list[tuple[Any, str | None, Classes, bool]] = [(cfg, None, (), False)]
    while waiting:
        node, origin, classes, in_rule = waiting.pop()
        if isinstance(node, (list, tuple)):
            waiting += [(item, origin, classes, in_rule) for item in node]
        if not isinstance(node, Mapping):
            continue
        # A dict that is not the config's own was put there by code, which knows what is around it.
        origin = origin_of(node) if hasattr(node, "_origin") else origin
        factory: Any = None if isinstance(node.get("type"), str) else node.get("type")
        for key, name in node.items():
            # `backbone.type` is an argument of a builder that changes a config.
            if isinstance(name, str) and isinstance(key, str) and (key == "type" or key.endswith(".type")):
                found, known = _look_up(name, registry, origin)
                if not known and found is not None and not _fits(found, classes, registry, in_rule):
                    raise _refused(name, found)
                if not known and found is not None and not makes_module(found):
                    asked.add(id(found))
                factory = found if key == "type" else factory
        if factory is None and classes:
            # A dict that means settings needs no type; who reads it looks at a `_target_`.
            factory = next(filter(is_settings, classes), None)
        for key, item in node.items():
            inside = in_rule or key in _RULES
            if isinstance(item, (Mapping, list, tuple)):
                waiting.append((item, origin, () if inside else _classes_of(factory, key), inside))
    return frozenset(asked)


def _check_nested(cfg: Any, registry: Any, asked: frozenset[int]) -> None:
    name = cfg.get("type") if isinstance(cfg, Mapping) else None
    if isinstance(name, str):
        found, known = _look_up(name, registry, origin_of(cfg))
        if known or found is None or id(found) in asked or _fits(found, (), registry, False):
            return
        raise _refused(name, found)


def _look_up(name: str, registry: Any, origin: str | None) -> tuple[Any, bool]:
    """What a name leads to, if anything; and whether it may be named, whatever it is."""
    found = registry._registered(name)
    if found is not None or origin is None:
        return found, True
    if ":" in name:
        if origin == "untrusted" and is_builder(name) and not needs_no_trust(name):
            raise _refused_untrusted(name)
        return (object_of(name), False) if is_object(name) else (None, True)
    if "." not in name:
        return torch_nn_class(name), True
    if origin == "untrusted":
        found = torch_nn_class(name.removeprefix("torch.nn.")) if name.startswith("torch.nn.") else None
        if found is None:
            raise _refused_untrusted(name)
        return found, True
    return import_path(name)[0], False


def _fits(found: Any, classes: Classes, registry: Any, in_rule: bool) -> bool:
    if is_registered_with_mmengine(found):
        return True
    if in_rule:
        if fills_tensor(found):
            return True
        return inspect.isclass(found) and any(base.__name__ in _INITIALIZERS for base in found.__mro__)
    if is_settings(found) if classes is None else inspect.isclass(found) and issubclass(found, classes):
        return True
    return registry.root.of_modules and makes_module(found)


def makes_module(found: Any) -> bool:
    """Whether something is a class of modules, or a function that is annotated to return one.

    Example:
        >>> import os
        >>> from torch import nn
        >>> from initcfg._config.permitted import makes_module
        >>> def small() -> nn.Module: ...
        >>> [makes_module(each) for each in (nn.Linear, small, os.system, int)]
        [True, True, False, False]
    """
    nn = sys.modules.get("torch.nn")
    if nn is None:
        return False  # what makes modules has imported it
    if inspect.isclass(found):
        return issubclass(found, nn.Module)
    while isinstance(found, functools.partial):
        found = found.func
    hint = annotations_of(found).get("return")
    if hint is getattr(typing, "Self", Any):
        hint = getattr(found, "__self__", None)
    return inspect.isclass(hint) and issubclass(hint, nn.Module)


def named_object(registry: Any, name: str, origin: str | None) -> Any:
    """What a name in a config leads to, which ``origin`` wrote; None if that is nothing.

    Raises:
        UntrustedError: It is an import path in a config that is not trusted.
    """
    found = registry._registered(name)
    if found is not None or not any(mark in name for mark in ".:"):
        return found
    if origin == "untrusted":
        raise _refused_untrusted(name)
    if ":" in name:
        return object_of(name) if is_object(name) else None
    return import_path(name)[0]


def _classes_of(factory: Any, key: Any) -> Classes:
    """The classes of a user's own in the annotation of a parameter; None if it has no annotation."""
    if factory is None:
        return ()
    hints = parameter_hints(factory)
    if key not in hints:
        return None
    waiting, classes = [hints[key]], []
    while waiting:
        hint = waiting.pop()
        if isinstance(hint, (list, tuple)):
            waiting += hint
        elif inspect.isclass(hint) and not isinstance(hint, types.GenericAlias):
            if hint.__module__ not in ("builtins", "typing", "collections.abc", "abc"):
                classes.append(hint)
        else:
            waiting += typing.get_args(hint)
    return tuple(classes)


def _refused(name: str, found: Any) -> BuildError:
    kind = (
        "a class, but no torch.nn.Module" if inspect.isclass(found) else "a function that may return anything"
    )
    return BuildError(
        f"type={name!r} stands in a config file, which may name modules to build, and it is {kind}.",
        fix="Register it: @MODELS.register_module(); or annotate what it returns: -> nn.Module; or name it "
        f"yourself, on the command line (--set model.type={name}) or in Python.",
    )


def _refused_untrusted(name: str) -> UntrustedError:
    return UntrustedError(
        f"type={name!r} stands in a config that is not trusted, and is no registered name, no class of "
        "torch.nn, and no model of timm, torchvision or transformers.",
        fix="Read the config, and leave out --untrusted (untrusted=True) if you trust it.",
    )
