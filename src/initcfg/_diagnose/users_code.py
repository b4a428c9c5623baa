"""The user's code, called by ours: what it raises is told as its failure, and what ours raises never is."""

from __future__ import annotations

import contextlib
from types import TracebackType

from initcfg.errors import DiagnosisError, InitcfgError

_LONGEST = 300


def users_code(what: str) -> contextlib.AbstractContextManager[None]:
    """Within stands a call of the user's, and nothing else.

    What of ours runs in the midst of it, as hooks and modes do, keeps its own exceptions to itself; see
    ``Seen.looking``.

    Args:
        what: Its failure: ``"The model failed on the batch"``.

    Raises:
        DiagnosisError: It raised.
    """
    return _UsersCode(what)


class _UsersCode(contextlib.AbstractContextManager[None]):
    """No generator: contextlib lets a StopIteration pass, where a RuntimeError is raised from it in one."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, InitcfgError):
            return
        first = next(iter(str(error).strip().splitlines()), "")[:_LONGEST]
        raise DiagnosisError(
            f"{self._what}: {type(error).__name__}: {first}",
            fix="The batch is what the model is called with, or (inputs, targets); loss is a function of "
            "(model, batch) or (output, targets).",
        ) from error
