"""A misspelled ``type`` somewhere in a model's config, where MMEngine's own registries look it up."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from initcfg._config.import_paths import mmengine_classes
from initcfg.errors import UnknownTypeError, nearest

# Rules are ours; data and hooks are none of the model's.
_NOT_BUILT = frozenset({"init_cfg", "pretrained"})


@contextlib.contextmanager
def told_of_misspelled_types(cfg: Any) -> Iterator[None]:
    """Within, what a registry of MMEngine does not find is told with its place in the config and near names.

    Its own error has neither, and for a normalization layer or an activation not even the name.

    Raises:
        UnknownTypeError: A ``type`` below ``cfg`` is in no registry.
    """
    try:
        yield
    except KeyError as error:
        if isinstance(error, UnknownTypeError) or "mmengine.registry" not in sys.modules:
            raise
        if not _is_of_openmmlab(error):
            raise
        known = mmengine_classes()
        unknown = [(path, name) for path, name in _types(cfg, ()) if not _is_known(name, known)]
        # Where the original says a name, it is that one.
        said = [(path, name) for path, name in unknown if name.rpartition(".")[2] in str(error)] or unknown
        if not said:
            raise
        path, name = said[0]
        scope, _, last = name.rpartition(".")
        made = UnknownTypeError(
            f"type={name!r} is in no registry of MMEngine.",
            meant=[f"{scope}.{each}" if scope else each for each in nearest(last, sorted(known))],
            fix="Correct the name, or import the module that registers it.",
        )
        made.key_path = path
        raise made from error


def _types(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every ``type`` that is a name, with the keys that lead to its dict."""
    if isinstance(value, Mapping):
        name = value.get("type")
        if isinstance(name, str):
            yield path, name
        for key, below in value.items():
            if key not in _NOT_BUILT:
                yield from _types(below, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for number, below in enumerate(value):
            yield from _types(below, (*path, str(number)))


def _is_known(name: str, known: frozenset[str]) -> bool:
    first, _, last = name.rpartition(".")
    # An import path is looked up by its own rules; nothing is imported to see whether it leads somewhere.
    return name in known or last in known or "." in first or ":" in name


def _is_of_openmmlab(error: BaseException) -> bool:
    """Whether the code that raised is MMEngine's, or one that looks names up in its registries."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = str(frames[-1].f_globals.get("__name__", "")) if frames else ""
    return module.partition(".")[0] in ("mmengine", "mmcv")
