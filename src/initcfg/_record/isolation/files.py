"""Checkpoints stay closed while code is only tried: planning reads no weight, and fetches none."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch

_closed: ContextVar[bool] = ContextVar("initcfg_files_closed", default=False)
_lock = threading.RLock()
_depth = 0
_undo: list[Callable[[], None]] = []


class FileNeeded(Exception):
    """Code asked for a checkpoint; the message names it."""


@contextlib.contextmanager
def files_closed() -> Iterator[None]:
    """Within this, the functions that load checkpoints raise :class:`FileNeeded` in this thread."""
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            _close()
    token = _closed.set(True)
    try:
        yield
    finally:
        _closed.reset(token)
        with _lock:
            _depth -= 1
            if _depth == 0:
                while _undo:
                    _undo.pop()()


def _close() -> None:
    homes: list[tuple[Any, str]] = [(torch, "load"), (torch.hub, "load_state_dict_from_url")]
    for module in ("mmengine.runner.checkpoint", "mmcv.runner.checkpoint"):
        loader = getattr(sys.modules.get(module), "CheckpointLoader", None)
        if loader is not None:
            homes.append((loader, "load_checkpoint"))
    for owner, name in homes:
        own = vars(owner)[name]
        refusing = _refusing(getattr(owner, name))
        setattr(owner, name, staticmethod(refusing) if isinstance(owner, type) else refusing)
        _undo.append(functools.partial(setattr, owner, name, own))


def _refusing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        if _closed.get():
            raise FileNeeded(str(next((item for item in (*args, *kwargs.values())), "a checkpoint")))
        return original(*args, **kwargs)

    return function
