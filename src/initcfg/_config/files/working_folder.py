"""Reading and building apart from the folder that one works in, which may be a stranger's."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_working_folder() -> Iterator[None]:
    """Within, nothing is imported from the folder that one works in."""
    here = os.path.realpath(os.getcwd())
    away = [(at, entry) for at, entry in enumerate(sys.path) if os.path.realpath(entry or here) == here]
    for _, entry in away:
        sys.path.remove(entry)
    try:
        yield
    finally:
        for at, entry in away:
            sys.path.insert(at, entry)
