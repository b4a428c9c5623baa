"""Where a ``type`` may lead outside the registries: an import path, torch.nn, a loaded MMEngine."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterator
from glob import glob
from typing import Any

from initcfg.errors import UnknownTypeError, nearest

_NOTHING = object()


def import_path(path: str) -> tuple[Any, str]:
    """What a dotted path names: ``torchvision.models.resnet50``.

    An attribute wins over a submodule of the same name, unless the attribute is a module too.

    Returns:
        The class or function and ``""``; or None and the reason, as the end of a sentence.
    """
    at, *parts = path.split(".")
    try:
        found: Any = importlib.import_module(at)
    except (Exception, SystemExit) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == at
        return (
            None,
            f"{at!r} cannot be imported ({_said(error)}){_hint(modules_like(path) if missing else [])}",
        )
    for part in parts:
        try:
            following = getattr(found, part, _NOTHING)
        except (Exception, SystemExit) as error:
            # A module that imports its parts when they are asked for.
            return None, f"'{at}.{part}' cannot be imported ({_said(error)})"
        if (following is _NOTHING or inspect.ismodule(following)) and inspect.ismodule(found):
            try:
                following = importlib.import_module(f"{at}.{part}")
            except (Exception, SystemExit) as error:
                if not isinstance(error, ModuleNotFoundError) or error.name != f"{at}.{part}":
                    return None, f"'{at}.{part}' cannot be imported ({_said(error)})"
        if following is _NOTHING:
            close = nearest(part, [name for name in dir(found) if not name.startswith("_")])
            whole = [f"{at}.{each}" for each in close] or modules_like(path)
            return None, f"{at!r} has no {part!r}{_hint(whole)}"
        found, at = following, f"{at}.{part}"
    if not callable(found):
        kind = "a module" if inspect.ismodule(found) else f"a {type(found).__name__}"
        return None, f"{path!r} is {kind}, not a class or function"
    return found, ""


def modules_like(path: str) -> list[str]:
    """Paths of modules and packages at hand that are like one that does not exist."""
    head, _, rest = path.partition(".")
    parent, folders = "", None
    # The first part that is missing is what was mistyped.
    while rest and (found := sys.modules.get(parent + head)) is not None and hasattr(found, "__path__"):
        parent, folders = f"{parent}{head}.", list(found.__path__)
        head, _, rest = rest.partition(".")
    names = {each.name for each in pkgutil.iter_modules(folders)}
    for folder in folders or [os.curdir]:
        # Folders of modules are packages without an __init__.py, too.
        names |= {os.path.basename(os.path.dirname(file)) for file in glob(os.path.join(folder, "*", "*.py"))}
    if not parent:
        # No model is built from Python's own library.
        names -= sys.stdlib_module_names
    close = nearest(head, sorted(each for each in names if each.isidentifier() and each[0] != "_"))
    return [".".join(filter(None, [parent + each, rest])) for each in close]


def _hint(close: list[str]) -> str:
    return f" (nearest: {', '.join(close)})" if close else ""


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def torch_nn_class(name: str) -> Any:
    """The module class ``torch.nn.<name>``, or None."""
    from torch import nn

    found = getattr(nn, name, None)
    return found if inspect.isclass(found) and issubclass(found, nn.Module) else None


def torch_nn_names() -> list[str]:
    """The names of the module classes of ``torch.nn``."""
    from torch import nn

    return [name for name in dir(nn) if torch_nn_class(name) is not None]


def from_mmengine(name: str, scope: str | None = None) -> Any:
    """The class that a loaded MMEngine's ``MODELS`` has under ``name``, or None.

    Nothing is looked up, and MMEngine is not imported, unless the program has imported it. A bare name
    is looked for in the root registry, then in the current default scope, then in every child.
    """
    root = _mmengine_models()
    if root is None:
        return None
    if scope is not None and "." not in name:
        name = f"{scope}.{name}"
    if "." in name:
        try:
            return root.get(name)
        except Exception:  # MMEngine's own lookup raises where it finds nothing
            return None
    if name in root.module_dict:
        return root.module_dict[name]
    below = {each: registry.module_dict for each, registry in _descendants(root)}
    found = {each: names[name] for each, names in below.items() if name in names}
    scopes = sys.modules["mmengine.registry"].DefaultScope
    current = getattr(scopes.get_current_instance(), "scope_name", None)
    if current in found:
        return found[current]
    if len({id(cls) for cls in found.values()}) > 1:
        raise UnknownTypeError(
            f"type={name!r} means different classes in the registries of {', '.join(sorted(found))}.",
            meant=[f"{each}.{name}" for each in sorted(found)],
            fix="Write the scope before the name.",
        )
    return next(iter(found.values()), None)


def mmengine_names() -> list[str]:
    """The names in a loaded MMEngine's ``MODELS``, those of its children with their scope."""
    root = _mmengine_models()
    if root is None:
        return []
    return [*root.module_dict, *scoped_names(root)]


def mmengine_classes() -> frozenset[str]:
    """The names in all registries of a loaded MMEngine, of whatever kind, without their scope."""
    return frozenset(name for registry in _all_of_mmengine() for name in registry.module_dict)


def scoped_names(registry: Any) -> list[str]:
    """The names in the registries below one, with their scope."""
    return [f"{scope}.{name}" for scope, child in _descendants(registry) for name in child.module_dict]


def _mmengine_models() -> Any:
    return getattr(sys.modules.get("mmengine.registry"), "MODELS", None)


def is_registered_with_mmengine(found: Any) -> bool:
    """Whether a loaded MMEngine has something in one of its registries."""
    return any(found is each for one in _all_of_mmengine() for each in one.module_dict.values())


def _all_of_mmengine() -> Iterator[Any]:
    module = sys.modules.get("mmengine.registry")
    for registry in vars(module).values() if module is not None else ():
        # The class of the registries is there, too.
        if isinstance(getattr(registry, "module_dict", None), dict) and hasattr(registry, "children"):
            yield registry
            yield from (child for _, child in _descendants(registry))


def _descendants(registry: Any) -> Iterator[tuple[str, Any]]:
    for scope, child in registry.children.items():
        yield scope, child
        yield from _descendants(child)
