"""Calls into other people's libraries, and what is said when they refuse."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from initcfg.errors import BuildError, nearest

_UNEXPECTED = re.compile(r"(?:([\w.<>]+)\(\) )?got an unexpected keyword argument '(\w+)'")
_TWICE = re.compile(r"(?:([\w.<>]+)\(\) )?got multiple values for (?:keyword )?argument '(\w+)'")


def library(name: str, text: str, install: str) -> Any:
    """A library that a builder needs, imported.

    Args:
        name: Its module.
        text: The builder that needs it.
        install: What pip is told.

    Raises:
        BuildError: It is not installed, or cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            # What a library says of itself on import is no concern of who plans a model.
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name != package:
            raise BuildError(
                f"{text!r} needs {package}, which is installed, but lacks the module {error.name!r}.",
                fix=f"Install it with: pip install {install}",
            ) from error
        raise BuildError(
            f"{text!r} needs {package}, which is not installed.",
            fix=f"Install it with: pip install {install}",
        ) from None
    except Exception as error:
        raise BuildError(
            f"{text!r} needs {name}, which is installed, but cannot be imported. "
            f"{type(error).__name__}: {error} ({_place(error)})",
            fix=f"The versions of torch, of {name.partition('.')[0]} and of what it uses must fit together.",
        ) from error


def _place(error: Exception) -> str:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return "" if last is None else f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}"


def call_library(text: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """``function(**arguments)``; where code far inside refuses one of them, an error that names it.

    Raises:
        BuildError: One of the arguments is not taken.
    """
    try:
        return function(**arguments)
    except TypeError as error:
        refusal = None if isinstance(error, BuildError) else _refusal(text, arguments, error)
        if refusal is None:
            raise
        raise refusal from error


def _refusal(text: str, arguments: Mapping[str, Any], error: TypeError) -> BuildError | None:
    twice = _TWICE.search(str(error))
    if twice is not None and twice[2] in arguments:
        return BuildError(f"{text!r} sets {twice[2]!r} itself: it cannot be an argument.")
    found = _UNEXPECTED.search(str(error))
    if found is None or found[2] not in arguments:
        return None
    taken = _taken(found[1], error.__traceback__)
    return BuildError(
        f"{text!r} takes no argument {found[2]!r}.",
        meant=nearest(found[2], [name for name in taken if name not in arguments]),
        fix=f"{found[1].removesuffix('.__init__')} takes {', '.join(taken)}." if taken else None,
    )


def _taken(called: str | None, trace: TracebackType | None) -> list[str]:
    """The arguments of the function of that name that the last frame called; none if it is not found."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if called is None or trace is None:
        return []
    name = called.removesuffix(".__init__")
    frame = trace.tb_frame
    # A library's code calls it by a variable of any name.
    for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
        if callable(value) and getattr(value, "__qualname__", None) == name:
            try:
                parameters = inspect.signature(value).parameters.values()
            except (TypeError, ValueError):
                continue
            return [
                each.name
                for each in parameters
                if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and each.name != "self"
            ]
    return []
