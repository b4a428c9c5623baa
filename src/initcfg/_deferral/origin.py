"""Who writes: the constructor on the stack, and the function of torch.nn.init that it called."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from types import FrameType

import torch

_INIT_FILE = torch.nn.init.__file__
_HERE = __file__.rpartition("origin.py")[0]
_TORCH = torch.__file__.rpartition("__init__.py")[0]
_MODULES = torch.nn.modules.__file__.rpartition("__init__.py")[0]


def code_that_writes() -> str:
    """The function that writes: ``"Conv2d.reset_parameters"``."""
    for frame in _frames():
        if not _between(frame.f_code.co_filename):
            code = frame.f_code
            owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
            name = code.co_name
            return f"{type(owner).__name__}.{name}" if isinstance(owner, torch.nn.Module) else name
    return "?"


def init_call() -> dict[str, object] | None:
    """The function of torch.nn.init that is running, with the arguments that JSON can hold."""
    found: FrameType | None = None
    for frame in _frames():
        if frame.f_code.co_filename == _INIT_FILE:
            found = frame
        elif found is not None or not _between(frame.f_code.co_filename):
            break
    if found is None:
        return None
    names = found.f_code.co_varnames[1 : found.f_code.co_argcount]
    arguments = {name: found.f_locals.get(name) for name in names}
    kept = {name: item for name, item in arguments.items() if _plain(item)}
    return {"type": found.f_code.co_name, **kept}


def _between(file: str) -> bool:
    """Whether a file stands between a constructor and its operation: ours, or torch's but for its layers."""
    return file.startswith((_HERE, _TORCH)) and not file.startswith(_MODULES)


def _frames() -> Iterator[FrameType]:
    frame = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _plain(item: object) -> bool:
    return isinstance(item, (str, int)) or (isinstance(item, float) and math.isfinite(item))
