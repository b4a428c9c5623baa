"""JSON of files that nobody vouches for."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from initcfg._checkpoints.formats.spans import Span
from initcfg.errors import CheckpointError


def parsed(span: Span, data: bytes, what: str) -> dict[str, Any]:
    """A JSON object, in which no key stands twice.

    Args:
        span: The file, for errors.
        data: The text.
        what: What it is: ``"its header"``.

    Raises:
        CheckpointError: It is no such thing.
    """

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise span.damaged(f"{what} has the key {twice!r} more than once")
        return result

    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=distinct, parse_constant=_no_constant)
    except RecursionError as error:
        raise span.damaged(f"{what} is nested too deeply") from error
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise span.damaged(f"{what} is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise span.damaged(f"{what} is no JSON object")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is none of JSON's numbers")
