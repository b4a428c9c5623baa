"""JSON, and names of files in it, that nobody vouches for."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

from initcfg._checkpoints.formats.spans import Span
from initcfg.errors import CheckpointError

_LONGEST_CONFIG = 1 << 20


_LONGEST_PATH = 1024


def parsed(span: Span, data: bytes, what: str) -> dict[str, Any]:
    """A JSON object, in which no key stands twice; ``what`` it is (``"its header"``) is for errors."""

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise span.damaged(f"{what} has the key {twice!r} more than once")
        return result

    def constant(text: str) -> NoReturn:
        raise span.damaged(f"{what} is not JSON: it has the number {text}")

    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=distinct, parse_constant=constant)
    except CheckpointError:
        raise
    except RecursionError as error:
        raise span.damaged(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise span.damaged(f"{what} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise span.damaged(f"{what} is not a JSON object")
    return found


def json_beside(path: Path | None, name: str, file: str) -> dict[str, Any]:
    """What a JSON file beside a checkpoint says; nothing where there is none.

    Args:
        path: The checkpoint, a file or a folder; None if it is in memory.
        name: How messages call it.
        file: The name of the JSON file.
    """
    where = None if path is None else (path if os.path.isdir(path) else path.parent) / file
    if where is None or not os.path.isfile(where):
        return {}
    span = Span(where, name)
    with contextlib.closing(span):
        if span.size > _LONGEST_CONFIG:
            raise span.damaged(f"its {file} has {span.size:,} bytes")
        return parsed(span, span.read(0, span.size), f"its {file}")


def leads_out(file: str) -> bool:
    """Whether a name in an index leads out of the folder that the index is in.

    Example:
        >>> from initcfg._checkpoints.formats.untrusted import leads_out
        >>> [leads_out(each) for each in ("model-00001.safetensors", "../a", "/etc/passwd", "C:a", "")]
        [False, True, True, True, True]
    """
    windows = PureWindowsPath(file)
    parts = (*PurePosixPath(file).parts, *windows.parts)
    # No folder has a file of such a name, and looking for one is an error.
    long = len(file) > _LONGEST_PATH or any(len(part.encode("utf-8", "replace")) > 255 for part in parts)
    return long or not file or file.startswith("/") or bool(windows.anchor) or ".." in parts or "\0" in file
