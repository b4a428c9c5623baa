"""Schemes: which function answers for ``torchvision://``, ``hf://``, ... and those of other packages."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Protocol

from initcfg._checkpoints.sources.address import SCHEME, shown
from initcfg._checkpoints.sources.located import Located
from initcfg.errors import CheckpointError, nearest

GROUP = "initcfg.sources"


class Source(Protocol):
    """A function that finds the checkpoints of one scheme."""

    def __call__(self, source: str, *, sha256: str | None, offline: bool | None) -> Located:
        """Find ``source``, which is the whole text with its scheme."""
        ...


# Imported when used: some of them import large packages.
_BUILT_IN = {
    "file": "initcfg._checkpoints.sources.local:locate",
    "http": "initcfg._checkpoints.sources.web:locate",
    "https": "initcfg._checkpoints.sources.web:locate",
    "torchvision": "initcfg._checkpoints.sources.vision:locate",
    "modelzoo": "initcfg._checkpoints.sources.vision:locate",
    "timm": "initcfg._checkpoints.sources.timm_names:locate",
    "hf": "initcfg._checkpoints.sources.hub:locate",
    "open-mmlab": "initcfg._checkpoints.sources.openmmlab:locate",
    "openmmlab": "initcfg._checkpoints.sources.openmmlab:locate",
    "mmcls": "initcfg._checkpoints.sources.openmmlab:locate",
    "jhu": "initcfg._checkpoints.sources.openmmlab:locate",
}
_registered: dict[str, Source] = {}


def register(scheme: str, function: Source) -> None:
    """Let a function answer for a scheme, in this process.

    A package registers a scheme for good by an entry point of the group ``initcfg.sources``, whose name is
    the scheme and whose object is the function.

    Args:
        scheme: What stands before ``://``.
        function: ``function(source, *, sha256, offline)`` returning a :class:`Located`.

    Raises:
        CheckpointError: The scheme is no name, or is taken.

    Example:
        >>> from pathlib import Path
        >>> from initcfg._checkpoints.sources import Located, register
        >>> def from_shelf(source, *, sha256, offline):
        ...     return Located(Path("/shelf") / source.removeprefix("shelf-example://"), None, source, None)
        >>> register("shelf-example", from_shelf)
    """
    if not SCHEME.fullmatch(f"{scheme}://"):
        raise CheckpointError(
            f"{scheme!r} cannot be a scheme.",
            fix="A scheme begins with a letter and holds letters, digits, '+', '-' and '.'.",
        )
    name = scheme.lower()
    if name in _BUILT_IN or _registered.get(name, function) is not function:
        raise CheckpointError(f"The scheme {name!r} is taken.", fix="Choose another name.")
    _registered[name] = function


def source_for(scheme: str, source: str) -> Callable[..., Located] | None:
    """The function that answers for a scheme; None for the file systems of fsspec.

    Raises:
        CheckpointError: There is none, or the plugin that has it cannot be imported.
    """
    if scheme in _registered:
        return _registered[scheme]
    if scheme in _BUILT_IN:
        module, _, function = _BUILT_IN[scheme].partition(":")
        return getattr(importlib.import_module(module), function)
    plugins = [point for point in _entry_points() if point.name.lower() == scheme]
    if plugins:
        return _plugin(scheme, plugins)
    if scheme == "fsspec" or scheme in _fsspec_schemes():
        return None
    known = known_schemes()
    raise CheckpointError(
        f"The checkpoint {shown(source)!r} has the scheme {scheme!r}, which is unknown.",
        meant=[f"{name}://" for name in nearest(scheme, known)],
        fix="Known are " + ", ".join(sorted({*_BUILT_IN, *_registered})) + ", those of fsspec "
        f"(s3, gs, ...), and those of packages with an entry point of the group {GROUP!r}.",
    )


def known_schemes() -> list[str]:
    """All schemes that something answers for."""
    plugins = {point.name.lower() for point in _entry_points()}
    return sorted({*_BUILT_IN, *_registered, *plugins, *_fsspec_schemes()})


def _plugin(scheme: str, plugins: list[importlib.metadata.EntryPoint]) -> Callable[..., Located]:
    values = sorted({point.value for point in plugins})
    if len(values) > 1:
        raise CheckpointError(
            f"The scheme {scheme!r} is claimed by several packages: {', '.join(values)}.",
            fix="Uninstall all but one, or register one with initcfg's register.",
        )
    try:
        return plugins[0].load()
    except Exception as error:
        # A plugin is other people's code: whatever it raises, the user must hear whose it is.
        raise CheckpointError(
            f"The plugin {values[0]!r} of the scheme {scheme!r} cannot be imported: {error}.",
            fix="Repair or uninstall the package that has it.",
        ) from error


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    return list(importlib.metadata.entry_points(group=GROUP))


def _fsspec_schemes() -> set[str]:
    import fsspec

    return set(fsspec.available_protocols())
