"""A bar on a terminal, and nothing elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

_SMALL = 4 << 20


@contextlib.contextmanager
def watching(name: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show how a transfer goes on, on standard error if that is a terminal.

    Args:
        name: What is transferred.
        total: Its size in bytes, if it is known.
        done: How much of it was there before.

    Returns:
        What to call with the number of bytes that came.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal or (total is not None and total < _SMALL):
        yield lambda count: None
        return
    from rich import progress
    from rich.errors import LiveError

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    bar = progress.Progress(*columns, console=console, transient=True)
    task = bar.add_task(name, total=total, completed=done)
    # Where something else is being shown, that goes on.
    with contextlib.suppress(LiveError):
        bar.start()
    try:
        yield lambda count: bar.advance(task, count)
    finally:
        bar.stop()
