"""Where a ``type`` may lead outside the registries, and what a refused call says."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from initcfg.errors import BuildError, UnknownTypeError, nearest

_NOTHING = object()


# -- import paths --------------------------------------------------------------------------------


def import_path(path: str) -> tuple[Any, str]:
    """What a dotted path names: ``torchvision.models.resnet50``.

    An attribute wins over a submodule of the same name, unless the attribute is a module too.

    Returns:
        The class or function and ``""``; or None and the reason, as the end of a sentence.
    """
    at, *parts = path.split(".")
    try:
        found: Any = importlib.import_module(at)
    except Exception as error:
        return None, f"{at!r} cannot be imported ({_said(error)})"
    for part in parts:
        following = getattr(found, part, _NOTHING)
        if (following is _NOTHING or inspect.ismodule(following)) and inspect.ismodule(found):
            try:
                following = importlib.import_module(f"{at}.{part}")
            except ModuleNotFoundError as error:
                if error.name != f"{at}.{part}":
                    return None, f"'{at}.{part}' cannot be imported ({_said(error)})"
            except Exception as error:
                return None, f"'{at}.{part}' cannot be imported ({_said(error)})"
        if following is _NOTHING:
            close = nearest(part, [name for name in dir(found) if not name.startswith("_")])
            hint = f" (nearest: {', '.join(close)})" if close else ""
            return None, f"{at!r} has no {part!r}{hint}"
        found, at = following, f"{at}.{part}"
    if not callable(found):
        kind = "a module" if inspect.ismodule(found) else f"a {type(found).__name__}"
        return None, f"{path!r} is {kind}, and no class or function"
    return found, ""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


# -- torch.nn ------------------------------------------------------------------------------------


def torch_nn_class(name: str) -> Any:
    """The module class ``torch.nn.<name>``, or None."""
    from torch import nn

    found = getattr(nn, name, None)
    return found if inspect.isclass(found) and issubclass(found, nn.Module) else None


def torch_nn_names() -> list[str]:
    """The names of the module classes of ``torch.nn``."""
    from torch import nn

    return [name for name in dir(nn) if torch_nn_class(name) is not None]


# -- a loaded MMEngine ---------------------------------------------------------------------------


def from_mmengine(name: str, scope: str | None = None) -> Any:
    """The class that a loaded MMEngine's ``MODELS`` has under ``name``, or None.

    Nothing is looked up, and MMEngine is not imported, unless the program has imported it. A bare name
    is looked for in the root registry, then in the current default scope, then in every child.

    Raises:
        UnknownTypeError: a bare name means different classes in several children.
    """
    module = sys.modules.get("mmengine.registry")
    root = getattr(module, "MODELS", None)
    if module is None or root is None:
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
    found = {
        each: registry.module_dict[name]
        for each, registry in _descendants(root)
        if name in registry.module_dict
    }
    current = getattr(module.DefaultScope.get_current_instance(), "scope_name", None)
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
    root = getattr(sys.modules.get("mmengine.registry"), "MODELS", None)
    if root is None:
        return []
    scoped = [f"{scope}.{name}" for scope, child in _descendants(root) for name in child.module_dict]
    return [*root.module_dict, *scoped]


def _descendants(registry: Any) -> Iterator[tuple[str, Any]]:
    for scope, child in registry.children.items():
        yield scope, child
        yield from _descendants(child)


# -- calls ---------------------------------------------------------------------------------------


def call(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """``factory(**arguments)``; where it refuses the arguments themselves, an error that explains.

    What is raised inside the call goes through unchanged.

    Raises:
        BuildError: an argument that the signature does not have, or one that is missing.
    """
    try:
        return factory(**arguments)
    except TypeError as error:
        refusal = None if isinstance(error, BuildError) else _refusal(factory, arguments)
        if refusal is None:
            raise
        raise refusal from error


def _refusal(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> BuildError | None:
    """Why the signature does not take the arguments; None where it does, or is not known."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(**arguments)
    except TypeError:
        pass
    else:
        return None
    by_name = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    open_ended = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    unknown = [] if open_ended else [name for name in arguments if name not in by_name]
    missing = [name for name, each in by_name.items() if each.default is each.empty and name not in arguments]
    label = describe(factory)
    problems = []
    if unknown:
        problems.append(f"{label} takes no argument {_listed(unknown)}.")
    if missing:
        problems.append(f"{label} needs the argument {_listed(missing)}, which is not given.")
    unused = [name for name in by_name if name not in arguments]
    meant = [close for name in unknown for close in nearest(name, unused)]
    return BuildError(
        " ".join(problems) or f"{label} cannot be called by keywords alone.",
        rule=f"arguments given: {', '.join(arguments) or 'none'}",
        meant=list(dict.fromkeys(meant)),
        fix=f"The signature is {getattr(factory, '__name__', label)}{_shown(signature)}.",
    )


def describe(factory: Any) -> str:
    """A class or function by its full name, and by file and line where they are known."""
    qualified = getattr(factory, "__qualname__", None)
    if qualified is None:
        return repr(factory)
    module = getattr(factory, "__module__", None)
    return f"{module}.{qualified}" if module and module != "builtins" else qualified


def place(factory: Any) -> str:
    """Where a class or function is defined: ``pkg.module.Name (file.py:12)``."""
    try:
        file = inspect.getsourcefile(factory)
        line = inspect.getsourcelines(factory)[1]
    except (OSError, TypeError):
        return describe(factory)
    return f"{describe(factory)} ({file}:{line})"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(map(repr, names[:-1])), repr(names[-1])]))


def _shown(signature: inspect.Signature) -> str:
    """The signature without its annotations, which hide the names."""
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))
