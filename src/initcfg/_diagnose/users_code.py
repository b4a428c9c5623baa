"""The user's code, called by ours: what it raises is told as its failure, and what ours raises never is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from initcfg.errors import DiagnosisError, InitcfgError

_LONGEST = 300


@contextlib.contextmanager
def users_code(what: str) -> Iterator[None]:
    """Within stands a call of the user's, and nothing else.

    What of ours runs in the midst of it, as hooks and modes do, keeps its own exceptions to itself; see
    ``Seen.looking``.

    Args:
        what: Its failure: ``"The model failed on the batch"``.

    Raises:
        DiagnosisError: It raised.
    """
    try:
        yield
    except InitcfgError:
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")[:_LONGEST]
        raise DiagnosisError(
            f"{what}: {type(error).__name__}: {first}",
            fix="The batch is what the model is called with, or (inputs, targets); loss is a function of "
            "(model, batch) or (output, targets).",
        ) from error
