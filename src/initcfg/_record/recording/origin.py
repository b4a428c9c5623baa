"""Who writes: the code on the stack that decided, and the initialization function that it called."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import lru_cache
from math import isfinite
from types import CodeType, FrameType
from typing import NamedTuple

import torch

from initcfg._model import TORCH_FOLDER

_INIT_FILE = torch.nn.init.__file__
# The folders of this station, of torch, and of its layers.
_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(_OURS)), "")
# Through which every operation goes that is recorded, and every function that has another body meanwhile.
_BETWEEN = tuple(
    os.path.join(_PACKAGE, "_model", name)
    for name in (
        "base_module.py",
        "dispatch_modes.py",
        "doors.py",
        "function_bodies.py",
        "in_place_writes.py",
    )
)
# Code of which calls for what is written: who called it has decided.
_CARRIES_OUT = tuple(
    os.path.join(_PACKAGE, folder, "") for folder in ("_api", "_apply", "_plan", "_stream", "errors")
)
_LAYERS = os.path.join(os.path.dirname(torch.nn.modules.__file__), "")


class Origin(NamedTuple):
    """Where a write comes from.

    Attributes:
        code: The function that decided: ``"Conv2d.reset_parameters"``.
        place: Its file and line: ``"torch/nn/modules/conv.py:186"``.
        call: The initialization function that it called, with the arguments that JSON can hold:
            ``{"type": "kaiming_uniform_", "a": 2.236}``; None if it called none.
    """

    code: str
    place: str
    call: dict[str, object] | None


def code_that_writes(above: int = 1) -> Origin:
    """The nearest function on the stack that is not a helper.

    Helpers are those of torch outside of its layers, our own, and whatever is named as the functions of
    torch.nn.init are, with an underscore at the end: they do what their caller decided.

    ``above`` is where to begin: so many calls above this function.
    """
    outermost = sys._getframe(above)
    frame: FrameType | None = outermost
    called: FrameType | None = None
    known = _FACTS.get
    while frame is not None:
        code = frame.f_code
        facts = known(id(code)) or _look_at(code)
        if facts.acts:
            break
        if facts.called:
            called = frame
        outermost, frame = frame, frame.f_back
    found = frame or outermost
    code = found.f_code
    facts = known(id(code)) or _look_at(code)
    module, line = str(found.f_globals.get("__name__", "")), found.f_lineno
    place = facts.places.get((module, line))
    if place is None:
        place = facts.places[module, line] = f"{_path(code.co_filename, module)}:{line}"
    return Origin(_label(found, facts), place, None if called is None else _call(called))


class _CodeFacts(NamedTuple):
    """What is known of code, which is held so that no other gets its address.

    Attributes:
        acts: Whether it decides, and does not do what its caller decided.
        called: Of code that does not: whether it is an initialization function.
        first: The name of its first argument; None if it takes none.
        settings: The names of the others.
        places: Its file and line, by the name of the module that it runs in and the line.
    """

    code: CodeType
    acts: bool
    called: bool
    first: str | None
    settings: tuple[str, ...]
    places: dict[tuple[str, int], str]


_FACTS: dict[int, _CodeFacts] = {}
_MOST_FACTS = 8192


def _look_at(code: CodeType) -> _CodeFacts:
    file, name, names = code.co_filename, code.co_name, code.co_varnames
    init = file == _INIT_FILE
    helper = init or is_helper_file(file)
    named = name.endswith("_") and not name.startswith("__")
    first = names[0] if code.co_argcount else None
    settings = names[1 : code.co_argcount + code.co_kwonlyargcount]
    if len(_FACTS) >= _MOST_FACTS:
        _FACTS.clear()
    found = _CodeFacts(code, not helper and not named, init or (not helper and named), first, settings, {})
    _FACTS[id(code)] = found
    return found


def _label(frame: FrameType, facts: _CodeFacts) -> str:
    name = facts.code.co_name
    owner = None if facts.first is None else frame.f_locals.get(facts.first)
    if isinstance(owner, torch.nn.Module) and hasattr(type(owner), name):
        return f"{type(owner).__name__}.{name}"
    return name


@lru_cache(maxsize=4096)
def _path(file: str, module: str) -> str:
    """A file, counted from the folder that holds its package."""
    package = module.partition(".")[0]
    start = file.rfind(f"/{package}/") if package and "." in module else -1
    return file[start + 1 :] if start >= 0 else file.rpartition("/")[2]


def _call(frame: FrameType) -> dict[str, object]:
    code = frame.f_code
    facts = _FACTS.get(id(code)) or _look_at(code)
    found: dict[str, object] = {"type": code.co_name}
    now = frame.f_locals
    for name in facts.settings:
        item = now.get(name)
        if isinstance(item, (str, int)) or (isinstance(item, float) and isfinite(item)):
            found[name] = item
    return found


@lru_cache(maxsize=4096)
def is_helper_file(file: str) -> bool:
    """Whether a file stands between a constructor and its operation: ours, or torch's but for its layers."""
    helper = file.startswith((_OURS, TORCH_FOLDER, *_CARRIES_OUT)) and not file.startswith(_LAYERS)
    return helper or file in _BETWEEN or file == contextlib.__file__


def raised_text(error: BaseException) -> str:
    """What code raised, in words, and where: ``ValueError: not today (head.py:41)``."""
    where: tuple[FrameType, int] | None = None
    step = error.__traceback__
    while step is not None:
        if where is None or not step.tb_frame.f_code.co_filename.startswith((_PACKAGE, TORCH_FOLDER)):
            where = step.tb_frame, step.tb_lineno
        step = step.tb_next
    first, *_ = str(getattr(error, "problem", error)).strip().splitlines() or [""]
    told = f"{type(error).__name__}: {first}" if first else type(error).__name__
    if where is None:
        return told
    frame, line = where
    return f"{told} ({_path(frame.f_code.co_filename, str(frame.f_globals.get('__name__', '')))}:{line})"
