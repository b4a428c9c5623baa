"""Names of files in an index: those that lead out of its folder are refused."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath


def leads_out(file: str) -> bool:
    """Whether a name in an index leads out of the folder that the index is in.

    Example:
        >>> from initcfg._checkpoints.formats.paths import leads_out
        >>> [leads_out(each) for each in ("model-00001.safetensors", "../a", "/etc/passwd", "C:a", "")]
        [False, True, True, True, True]
    """
    windows = PureWindowsPath(file)
    parts = (*PurePosixPath(file).parts, *windows.parts)
    return not file or file.startswith("/") or bool(windows.anchor) or ".." in parts or "\0" in file
