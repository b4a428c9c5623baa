"""Checkpoints stay closed while code is only tried: planning reads no weight, and fetches none."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any

import torch

from initcfg._record.process_wide import ProcessWide, replace_attribute


class FileNeeded(Exception):
    """Code asked for a checkpoint; the message names it."""


def files_closed() -> contextlib.AbstractContextManager[None]:
    """Within this, the functions that load checkpoints raise :class:`FileNeeded` in this thread."""
    return _closed.needed(True)


def _close(undo: contextlib.ExitStack) -> None:
    homes: list[tuple[Any, str]] = [(torch, "load"), (torch.hub, "load_state_dict_from_url")]
    for module in ("mmengine.runner.checkpoint", "mmcv.runner.checkpoint"):
        loader = getattr(sys.modules.get(module), "CheckpointLoader", None)
        if loader is not None:
            homes.append((loader, "load_checkpoint"))
    for owner, name in homes:
        refusing = _refusing(getattr(owner, name))
        replace_attribute(undo, owner, name, staticmethod(refusing) if isinstance(owner, type) else refusing)


def _refusing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        if _closed.here():
            raise FileNeeded(str(next((item for item in (*args, *kwargs.values())), "a checkpoint")))
        return original(*args, **kwargs)

    return function


_closed: ProcessWide[bool] = ProcessWide(_close)
