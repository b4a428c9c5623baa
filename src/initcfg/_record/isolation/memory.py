"""Memory that is handed out while code is recorded stays untouched."""

from __future__ import annotations

import contextlib
from typing import Any

import torch.utils.deterministic

from initcfg._record.process_wide import ProcessWide


def memory_not_filled() -> contextlib.AbstractContextManager[None]:
    """Under deterministic algorithms torch fills what ``empty`` gives; that would touch all of it."""
    return _not_filled.needed(True)


def _switch_off(undo: contextlib.ExitStack) -> None:
    deterministic: Any = torch.utils.deterministic
    undo.callback(
        setattr, deterministic, "fill_uninitialized_memory", deterministic.fill_uninitialized_memory
    )
    deterministic.fill_uninitialized_memory = False


_not_filled: ProcessWide[bool] = ProcessWide(_switch_off)
