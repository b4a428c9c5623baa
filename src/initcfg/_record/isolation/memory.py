"""Memory that is handed out while code is traced stays untouched."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch.utils.deterministic

_deterministic: Any = torch.utils.deterministic

_lock = threading.RLock()
_users = 0
_before = True


@contextlib.contextmanager
def memory_not_filled() -> Iterator[None]:
    """Under deterministic algorithms torch fills what ``empty`` gives; that would touch all of it."""
    global _users, _before
    with _lock:
        _users += 1
        if _users == 1:
            _before = _deterministic.fill_uninitialized_memory
            _deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _deterministic.fill_uninitialized_memory = _before
