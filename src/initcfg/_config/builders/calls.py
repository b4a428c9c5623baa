"""Calls of classes and functions that are not ours, and what is said when they refuse their arguments."""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib
import importlib.metadata
import inspect
import re
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

from initcfg.errors import BuildError, BuildImportError, nearest

_UNEXPECTED = re.compile(r"(?:([\w.<>]+)\(\) )?got an unexpected keyword argument '(\w+)'")
# How much less like a name another one may be, and still be meant.
_AS_CLOSE = 0.15
_TWICE = re.compile(r"(?:([\w.<>]+)\(\) )?got multiple values for (?:keyword )?argument '(\w+)'")


def library(name: str, text: str, install: str) -> Any:
    """A library that the builder ``text`` needs, imported; ``install`` is what pip is told."""
    package = name.partition(".")[0]
    try:
        with warnings.catch_warnings():
            # What a library says of itself on import is no concern of who plans a model.
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == "mmcv._ext":
            raise _no_operators(text) from error
        lacking = f"installed, but lacks the module {error.name!r}"
        missing = "not installed" if error.name == package else lacking
        raise BuildImportError(
            f"{text!r} needs {package}, which is {missing}.", fix=f"Install it with: pip install {install}"
        ) from error
    except Exception as error:
        frame, line = _last(error)
        raise BuildImportError(
            f"{text!r} needs {name}, which is installed, but cannot be imported. "
            f"{type(error).__name__}: {error} ({frame.f_code.co_filename}:{line})",
            fix=f"Install versions of torch, of {package} and of what it uses that fit together.",
        ) from error


def _no_operators(text: str) -> BuildImportError:
    """MMCV's compiled operators are missing: it is the smaller package, or was built without them."""
    lite = any(each.metadata["Name"] == "mmcv-lite" for each in importlib.metadata.distributions())
    found = "mmcv-lite, which has none" if lite else "an mmcv that was built without them"
    first = "pip uninstall mmcv-lite, then " if lite else ""
    return BuildImportError(
        f"{text!r} needs the compiled operators of mmcv (mmcv._ext), and installed is {found}.",
        fix=f"Replace it by mmcv with operators, of the same version: {first}mim install mmcv, or build it "
        "from source with MMCV_WITH_OPS=1.",
    )


def call(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """``factory(**arguments)``; where it refuses the arguments themselves, an error that explains.

    What is raised inside the call goes through unchanged.
    """
    return _called(factory, arguments, lambda _: _refused_by_signature(factory, arguments))


def call_checked(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """:func:`call`, also of what passes over arguments that it does not know."""
    refusal = _refused_by_signature(factory, arguments)
    if refusal is not None:
        raise refusal
    return factory(**arguments)


def call_with_rules(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """:func:`call`; a module whose class takes no ``init_cfg`` is given it, as builders' models are.

    Of a class of MMEngine's ``ManagerMixin``, whose objects are found by name, it is the one of that name.
    """
    if any(base.__name__ == "ManagerMixin" for base in getattr(factory, "__mro__", ())):
        factory = factory.get_instance  # type: ignore[attr-defined]
    if "init_cfg" not in arguments or _may_take(factory, "init_cfg"):
        return call(factory, arguments)
    made = call(factory, {name: item for name, item in arguments.items() if name != "init_cfg"})
    if not _is_module(made):
        raise BuildError(
            f"{described(factory)} takes no argument 'init_cfg', and makes no module that could have one.",
            rule=f"arguments given: {', '.join(arguments)}",
            fix="Leave it out.",
        )
    attach_rules(made, arguments["init_cfg"])
    return made


def attach_rules(model: Any, rules: Any) -> None:
    """Give a model its rules, as if its class had taken an ``init_cfg``."""
    if rules is None:
        return
    if not hasattr(model, "init_cfg"):
        # An init_weights of a class that knows no init_cfg does not carry rules out.
        model.__dict__["_initcfg_attached"] = True
    model.init_cfg = copy.deepcopy(rules)


def _may_take(factory: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return True
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _is_module(made: Any) -> bool:
    from torch import nn

    return isinstance(made, nn.Module)


def call_library(text: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """``function(**arguments)``; where code far inside refuses one of them, an error that names it."""
    return _called(function, arguments, lambda error: _refused_inside(text, arguments, error))


def _called(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    explain: Callable[[TypeError], BuildError | None],
) -> Any:
    try:
        return function(**arguments)
    except TypeError as error:
        refusal = None if isinstance(error, BuildError) else explain(error)
        if refusal is None:
            raise
        raise refusal from error


def _refused_by_signature(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> BuildError | None:
    """Why the signature does not take the arguments; None where it does, or is not known."""
    odd = [name for name in arguments if not isinstance(name, str)]
    if odd:
        return BuildError(
            f"{described(factory)} takes arguments by their names, and {odd[0]!r} is no name.",
            fix="Write a text as the key.",
        )
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return None
    with contextlib.suppress(TypeError):
        signature.bind(**arguments)
        return None
    by_name = _by_keyword(signature)
    open_ended = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    unknown = [] if open_ended else [name for name in arguments if name not in by_name]
    missing = [name for name, each in by_name.items() if each.default is each.empty and name not in arguments]
    label = described(factory)
    problems = [f"{label} takes no argument {_listed(unknown)}."] if unknown else []
    problems += [f"{label} needs the argument {_listed(missing)}, which is not given."] if missing else []
    unused = [name for name in by_name if name not in arguments]
    # Annotations would hide the names.
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    shown = signature.replace(parameters=bare, return_annotation=signature.empty)
    return BuildError(
        " ".join(problems) or f"{label} cannot be called by keywords alone.",
        rule=f"arguments given: {', '.join(arguments) or 'none'}",
        meant=list(dict.fromkeys(close for name in unknown for close in _meant(name, unused, by_name))),
        fix=f"The signature is {getattr(factory, '__name__', label)}{shown}.",
    )


def _refused_inside(text: str, arguments: Mapping[str, Any], error: TypeError) -> BuildError | None:
    """Which of the arguments the error of some call inside is about; None if it is about none."""
    twice = _TWICE.search(str(error))
    if twice is not None and twice[2] in arguments:
        return BuildError(f"{text!r} sets {twice[2]!r} itself: it cannot be an argument.")
    found = _UNEXPECTED.search(str(error))
    if found is None or found[2] not in arguments:
        return None
    taken = _taken(found[1], error)
    return BuildError(
        f"{text!r} takes no argument {found[2]!r}.",
        meant=_meant(found[2], [name for name in taken if name not in arguments], taken),
        fix=f"{found[1].removesuffix('.__init__')} takes {', '.join(taken)}." if taken else None,
    )


def _meant(name: str, unused: Iterable[str], known: Iterable[str]) -> list[str]:
    """What was meant: of the names that are most alike, those that are not given, or else those that are.

    In a config whose arguments another one changes, what was meant may be given as well.
    """
    close = nearest(name, known)
    alike = [difflib.SequenceMatcher(None, each.lower(), name.lower()).ratio() for each in close]
    best = [each for each, like in zip(close, alike, strict=True) if like > alike[0] - _AS_CLOSE]
    free = set(unused)
    return [each for each in best if each in free] or best


def _taken(called: str | None, error: TypeError) -> list[str]:
    """The arguments of the function of that name that the last frame called; none if it is not found."""
    if called is None:
        return []
    frame, name = _last(error)[0], called.removesuffix(".__init__")
    # A library's code calls it by a variable of any name.
    for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
        if callable(value) and getattr(value, "__qualname__", None) == name:
            with contextlib.suppress(TypeError, ValueError):
                return [each for each in _by_keyword(inspect.signature(value)) if each != "self"]
    return []


def _by_keyword(signature: inspect.Signature) -> dict[str, inspect.Parameter]:
    """The parameters that can be given by keyword."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: each for name, each in signature.parameters.items() if each.kind in kinds}


def _last(error: BaseException) -> tuple[FrameType, int]:
    """The frame and line that raised an error."""
    return list(traceback.walk_tb(error.__traceback__))[-1]


def described(factory: Any) -> str:
    """A class or function by its full name."""
    qualified = getattr(factory, "__qualname__", None)
    if qualified is None:
        return repr(factory)
    module = getattr(factory, "__module__", None)
    return f"{module}.{qualified}" if module and module != "builtins" else qualified


def defined_at(factory: Any) -> str:
    """Where a class or function is defined: ``pkg.module.Name (file.py:12)``."""
    try:
        file, line = inspect.getsourcefile(factory), inspect.getsourcelines(factory)[1]
    except (OSError, TypeError):
        return described(factory)
    return f"{described(factory)} ({file}:{line})"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(map(repr, names[:-1])), repr(names[-1])]))
