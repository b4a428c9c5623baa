"""Chance: random numbers that do not come from torch's generator, noted where code asks for them.

The seed of a plan decides what torch draws. It does not decide what NumPy, Python or the system draw.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import secrets
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch

from initcfg._record.process_wide import ProcessWide, replace_attribute
from initcfg._record.recording.origin import code_that_writes, is_helper_file

Tell = Callable[[str], None]
"""Is told what code does by chance, and where: file, line and function first."""

_OTHERS_EACH_TIME = "which no seed decides: they are others each time it runs"
_SYSTEM = (
    *((os, "urandom"), (uuid, "uuid1"), (uuid, "uuid4")),
    *((secrets, name) for name in ("token_bytes", "token_hex", "token_urlsafe")),
    *((secrets, name) for name in ("randbelow", "randbits", "choice")),
)
_CLOCKS = ("time", "time_ns")
# What a module of Python or NumPy does with its generator without drawing, or to set it.
_SEEDS = ("seed", "setstate", "set_state")
_LOOKS = ("getstate", "get_state", "get_bit_generator")
_STANDARD_LIBRARY = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib"))
_INSTALLED = ("site-packages", "dist-packages")


def told_of_chance(tell: Tell) -> contextlib.AbstractContextManager[None]:
    """Within this, what code of this thread draws from elsewhere than torch's generator is told."""
    return _watched.needed(tell)


def keep_watching() -> contextlib.AbstractContextManager[None]:
    """Within this, what is patched stays in place; nothing more is told than without it."""
    return _watched.needed(_watched.here())  # type: ignore[arg-type]


def watch_nothing() -> contextlib.AbstractContextManager[None]:
    """Within this, nobody is told."""
    return _watched.needed(None)  # type: ignore[arg-type]


def _watch(undo: contextlib.ExitStack) -> None:
    for module, whose in ((random, "Python's"), (np.random, "NumPy's")):
        # The functions of the module are methods of one generator.
        generator = getattr(module.random, "__self__", None)
        for name, function in list(vars(module).items()):
            if getattr(function, "__self__", None) is generator and name not in _LOOKS and name[0] != "_":
                what = (
                    f"seeds {whose} global generator"
                    if name in _SEEDS
                    else f"draws from {whose} global generator, which the seed of a plan does not set"
                )
                _replace(undo, module, name, lambda args, kwargs, what=what: what)
    for module, name in _SYSTEM:
        label = f"{module.__name__}.{name}"
        what = f"takes numbers from {label}, {_OTHERS_EACH_TIME}"
        _replace(undo, module, name, lambda args, kwargs, what=what: what)
    for name in _CLOCKS:
        what = f"reads the clock (time.{name}): what it makes of it is another thing each time"
        _replace(undo, time, name, lambda args, kwargs, what=what: what)
    _replace(undo, np.random, "seed", lambda args, kwargs: "seeds NumPy's global generator")
    _replace(undo, np.random, "default_rng", functools.partial(_unseeded, "np.random.default_rng"))
    _replace_class(undo, np.random, "RandomState")
    _replace_class(undo, random, "Random")
    _replace_class(undo, random, "SystemRandom")
    _replace_class(undo, torch, "Generator", instead=_NotedGenerator)


def _unseeded(label: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """What to tell of a generator that is made; nothing if it is given a seed."""
    given = [each for each in (*args, *kwargs.values()) if each is not None]
    return None if given else f"takes numbers from an unseeded {label}(), {_OTHERS_EACH_TIME}"


Meaning = Callable[[tuple[Any, ...], dict[str, Any]], "str | None"]


def _replace(undo: contextlib.ExitStack, owner: Any, name: str, meaning: Meaning) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        if name != "setstate" or _names(sys._getframe(1).f_code, name):
            _tell(meaning, args, kwargs)
        return original(*args, **kwargs)

    replace_attribute(undo, owner, name, function)


def _replace_class(undo: contextlib.ExitStack, owner: Any, name: str, instead: type | None = None) -> None:
    """Let another class stand in for one: its instances are those of the first, or of ``instead``.

    For isinstance and issubclass both are the same.
    """
    original = getattr(owner, name)
    meaning = functools.partial(_unseeded, f"{'np.random' if owner is np.random else owner.__name__}.{name}")

    metaclass: Any = type(original)

    class Noting(metaclass):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            if self is not stand_in:
                # A class that code derived from it meanwhile.
                return super().__call__(*args, **kwargs)
            if instead is not None:
                return (original if _watched.here() is None else instead)(*args, **kwargs)
            _tell(meaning, args, kwargs)
            return original(*args, **kwargs)

        def __instancecheck__(self, instance: Any) -> bool:
            return isinstance(instance, original) if self is stand_in else super().__instancecheck__(instance)

        def __subclasscheck__(self, subclass: type) -> bool:
            return issubclass(subclass, original) if self is stand_in else super().__subclasscheck__(subclass)

    namespace = {"__module__": original.__module__, "__doc__": original.__doc__}
    stand_in: Any = Noting(name, (original,), namespace)
    replace_attribute(undo, owner, name, stand_in)


class _NotedGenerator(torch.Generator):
    def seed(self) -> int:
        _tell(lambda args, kwargs: f"takes a seed from torch.Generator.seed, {_OTHERS_EACH_TIME}", (), {})
        return super().seed()


def _tell(meaning: Meaning, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    tell = _watched.here()
    # The function that stands in for what was called, and then the code that called it.
    if tell is None or _is_library(sys._getframe(2).f_code.co_filename) or _is_imported():
        return
    if (what := meaning(args, kwargs)) is not None:
        origin = code_that_writes()
        tell(f"{origin.place} {origin.code} {what}")


def _names(code: CodeType, name: str) -> bool:
    """Whether code names a function that it seems to call.

    torch.compile puts Python's generator back from C, as if by whatever code it compiles.
    """
    return name in code.co_names or name in code.co_consts


def _is_imported() -> bool:
    """Whether a module is being imported: what that draws is no part of a model."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@functools.lru_cache(maxsize=4096)
def _is_library(file: str) -> bool:
    """Whether a file is torch's, ours, or Python's own, whose draws are no part of a model."""
    standard = file.startswith(_STANDARD_LIBRARY) and not any(folder in file for folder in _INSTALLED)
    return standard or is_helper_file(file) or file.startswith("<frozen")


_watched: ProcessWide[Tell] = ProcessWide(_watch)
