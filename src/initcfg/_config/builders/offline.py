"""No hub is asked for anything."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_YES = ("1", "ON", "YES", "TRUE")


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Within, Hugging Face's libraries look at local files only."""
    before = {name: os.environ.get(name) for name in _SWITCHES}
    loaded = _constants()
    constant = getattr(loaded, "HF_HUB_OFFLINE", None)
    os.environ.update(dict.fromkeys(_SWITCHES, "1"))
    if loaded is not None:
        loaded.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        found = _constants()
        if found is not None:
            # Read from the environment at import; if that was in here, it would stay offline for good.
            asked = next(filter(None, before.values()), "")
            found.HF_HUB_OFFLINE = asked.upper() in _YES if constant is None else constant


def _constants() -> Any:
    return sys.modules.get("huggingface_hub.constants")
