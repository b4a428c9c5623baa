"""Of a module that a config built: the config, so that it can be built again with other arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

# By module, and gone with it. The module itself carries nothing that would be copied or pickled.
_made_from: WeakKeyDictionary[Any, tuple[dict[str, Any], Any]] = WeakKeyDictionary()


def note_made(made: Any, cfg: Mapping[str, Any], registry: Any) -> None:
    """Remember what built a module."""
    # What is no module may allow no reference of this kind, or have no hash.
    with contextlib.suppress(TypeError):
        _made_from[made] = ({key: item for key, item in cfg.items() if key != "init_cfg"}, registry)


def builder_of(module: Any) -> str | None:
    """The ``type`` of the config that built a module, if it is a text: ``"hf:FOLDER"``."""
    found = made_from(module)
    named = None if found is None else found[0].get("type")
    return named if isinstance(named, str) else None


def made_from(module: Any) -> tuple[dict[str, Any], Any] | None:
    """The config of a module, with its registry; None if no config built it."""
    with contextlib.suppress(TypeError):
        return _made_from.get(module)
    return None
