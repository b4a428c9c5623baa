"""What the files that tensors are loaded from are: their SHA-256, for the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch.distributed

from initcfg._checkpoints import OpenedCheckpoint, whole_digest, whole_size
from initcfg.errors import CheckpointError

# A smaller checkpoint is read before a thread has begun.
_SMALL = 1 << 26


class SourceDigests:
    """The digests of checkpoints by the names that plans call them; large ones are read meanwhile.

    Of several ranks the first says it: a file is not to be read as often as there are ranks.
    """

    def __init__(self) -> None:
        self._found: dict[str, Callable[[], str | None]] = {}

    def begin(self, source: str, opened: OpenedCheckpoint, *, large: bool = True) -> None:
        """Find the digest of a checkpoint that was opened; of a ``large`` one only if so."""
        known, path = opened.sha256, opened.path
        if known is not None or path is None or source in self._found or not _is_first():
            self._found.setdefault(source, lambda: known)
            return
        result: list[str | None] = []

        def read() -> None:
            try:
                result.append(whole_digest(path))
            except (OSError, CheckpointError):
                # It has gone since, and whoever reads it says so.
                result.append(None)

        thread = threading.Thread(target=read, name="initcfg-digest", daemon=True)

        def wait() -> str | None:
            thread.join()
            return result[0] if result else None

        try:
            small = whole_size(path) < _SMALL
        except (OSError, CheckpointError):
            small = True
        if not small and not large:
            self._found[source] = lambda: None
        elif small:
            read()
            self._found[source] = lambda: result[0]
        else:
            thread.start()
            self._found[source] = wait

    def of(self, source: str) -> str | None:
        """The digest; None where nobody knows it."""
        found = self._found.get(source)
        return None if found is None else found()


def _is_first() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0
