"""What the files that tensors are loaded from are: their SHA-256, for the ledger.

To compute it takes longer than to load, and few look at it. So that of a large file waits until somebody
asks: the file is noted as it is before it is loaded, and one that is not the same any more has no digest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import torch.distributed

from initcfg._checkpoints import NotedFiles, OpenedCheckpoint
from initcfg._plan import Later, Load
from initcfg.errors import CheckpointError

# A smaller checkpoint is read before a thread has begun.
_SMALL = 1 << 26
_CHANGED = "the file has changed since it was loaded"


class _Digest(NamedTuple):
    """A digest, or why there is none; nobody is to know one that has neither."""

    sha256: str | None = None
    undigested: str | None = None


class SourceDigests:
    """The digests of checkpoints by the names that plans call them.

    ``waits``: Those of large ones wait until they are asked for; else they are read beside the loading. Of
    several ranks the first says it: a file is not to be read as often as there are ranks.
    """

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._found: dict[str, Callable[[], _Digest]] = {}
        self._later: dict[str, Later] = {}

    def begin(self, source: str, opened: OpenedCheckpoint, *, large: bool = True) -> None:
        """Note a checkpoint that was opened and not read yet; a ``large`` one only if so."""
        if source not in self._found:
            found = self._found[source] = _later(opened, self._waits, large)
            self._later[source] = Later(lambda: found()._asdict())

    def of(self, source: str) -> str | None:
        """The digest; None where nobody knows it."""
        return self._later[source].fields["sha256"] if source in self._later else None

    def told(self, load: Load) -> Later | None:
        """What the account of a checkpoint says of its digest; None if it was not opened."""
        return self._later.get(load.source)


def _later(opened: OpenedCheckpoint, waits: bool, large: bool) -> Callable[[], _Digest]:
    """How the digest of a checkpoint is had."""
    known, path = opened.sha256, opened.path
    if known is not None or path is None or not _is_first():
        return lambda: _Digest(known)
    try:
        noted = NotedFiles(path)
    except (OSError, CheckpointError):
        # It has gone since, and whoever reads it says so.
        return _Digest
    if noted.size < _SMALL:
        found = _read(noted)
        return lambda: found
    if not large:
        return _Digest
    if waits and noted.settled:
        return lambda: _read(noted)
    return _beside(noted)


def _beside(noted: NotedFiles) -> Callable[[], _Digest]:
    """The digest, read by a thread from now on."""
    result: list[_Digest] = []
    thread = threading.Thread(target=lambda: result.append(_read(noted)), name="initcfg-digest", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # The system gives no more threads.
        found = _read(noted)
        return lambda: found

    def wait() -> _Digest:
        thread.join()
        return result[0] if result else _Digest()

    return wait


def _read(noted: NotedFiles) -> _Digest:
    try:
        digest = noted.digest()
    except OSError as error:
        return _Digest(None, f"the file cannot be read any more: {error.strerror}")
    return _Digest(digest, _CHANGED if digest is None else None)


def _is_first() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0
