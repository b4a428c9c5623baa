"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from initcfg.errors import InitcfgError, OutputError, also


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[str]:
    """A temporary file beside ``path`` that takes its place if all goes well, and is gone if not."""
    target = Path(path)
    try:
        # Not longer than file systems take, whatever the name of the target.
        handle, temporary = tempfile.mkstemp(
            prefix=f".{target.name[:40]}.", suffix=target.suffix, dir=target.parent or "."
        )
    except OSError as error:
        raise output_error(target, error) from error
    os.close(handle)
    try:
        try:
            yield temporary
            # What cannot be stored (a full disk) must fail before the old file is replaced.
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, target)
        except OSError as error:
            raise error if isinstance(error, InitcfgError) else output_error(target, error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a whole file, or nothing."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def output_error(target: Path, error: OSError) -> OutputError:
    """The error of a file that cannot be written."""
    reason = error.strerror or str(error)
    return also(OutputError, error)(
        f"{str(target)!r} cannot be written: {reason}.",
        fix="Choose another place, or make room; nothing was left half-written.",
    )
