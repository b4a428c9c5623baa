"""Schemes: which function answers for ``torchvision://``, ``hf://``, ... and those of other packages."""

from __future__ import annotations

import importlib.metadata
from typing import Protocol

from initcfg._checkpoints.sources.address import SCHEME, shown
from initcfg._checkpoints.sources.download import from_web
from initcfg._checkpoints.sources.file_systems import from_file_system
from initcfg._checkpoints.sources.hugging_face import from_hugging_face
from initcfg._checkpoints.sources.local import from_path
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.openmmlab_names import from_openmmlab
from initcfg._checkpoints.sources.timm_names import from_timm
from initcfg._checkpoints.sources.torchvision_names import from_torchvision
from initcfg.errors import (
    CheckpointError,
    CheckpointImportError,
    CheckpointNotFoundError,
    as_annotated,
    nearest,
)

GROUP = "initcfg.sources"


class Source(Protocol):
    """A function that finds the checkpoints of one scheme."""

    def __call__(self, source: str, *, sha256: str | None, offline: bool | None) -> Located:
        """Find ``source``, which is the whole text with its scheme.

        Raises:
            CheckpointNotFoundError: There is no such checkpoint.
            CheckpointError: It cannot be fetched, or is not what its digest says.
        """
        ...


_BUILT_IN: dict[str, Source] = {
    "file": from_path,
    "http": from_web,
    "https": from_web,
    "torchvision": from_torchvision,
    "modelzoo": from_torchvision,
    "timm": from_timm,
    "hf": from_hugging_face,
    "open-mmlab": from_openmmlab,
    "openmmlab": from_openmmlab,
    "mmcls": from_openmmlab,
    "jhu": from_openmmlab,
}
_registered: dict[str, Source] = {}


@as_annotated(CheckpointError)
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


def source_for(scheme: str, source: str) -> Source:
    """The function that answers for a scheme."""
    if found := _registered.get(scheme) or _BUILT_IN.get(scheme):
        return found
    plugins = [point for point in _entry_points() if point.name.lower() == scheme]
    if plugins:
        return _plugin(scheme, plugins)
    if scheme == "fsspec" or scheme in _fsspec_schemes():
        return from_file_system
    raise CheckpointNotFoundError(
        f"The checkpoint {shown(source)!r} has the scheme {scheme!r}, which is unknown.",
        meant=[f"{name}://" for name in nearest(scheme, known_schemes())],
        fix=f"Use one of {', '.join(sorted({*_BUILT_IN, *_registered}))}, one of fsspec's (s3, gs, ...), or "
        f"one of a package with an entry point of the group {GROUP!r}.",
    )


def known_schemes() -> list[str]:
    """All schemes that something answers for."""
    plugins = {point.name.lower() for point in _entry_points()}
    return sorted({*_BUILT_IN, *_registered, *plugins, *_fsspec_schemes()})


def _plugin(scheme: str, plugins: list[importlib.metadata.EntryPoint]) -> Source:
    values = sorted({point.value for point in plugins})
    if len(values) > 1:
        raise CheckpointError(
            f"The scheme {scheme!r} is claimed by several packages: {', '.join(values)}.",
            fix="Uninstall all but one, or register one with initcfg.sources.register.",
        )
    try:
        return plugins[0].load()
    except Exception as error:
        # A plugin is other people's code: whatever it raises, the user must hear whose it is.
        raise CheckpointImportError(
            f"The plugin {values[0]!r} of the scheme {scheme!r} cannot be imported: {error}.",
            fix="Repair or uninstall the package that has it.",
        ) from error


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    return list(importlib.metadata.entry_points(group=GROUP))


def _fsspec_schemes() -> set[str]:
    import fsspec

    return set(fsspec.available_protocols())
