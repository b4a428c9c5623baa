"""A progress bar on a terminal, and nothing elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from initcfg.errors import console, shown

_SMALL = 4 << 20


@contextlib.contextmanager
def progress_bar(
    text: str, total: int | None, *, done: int = 0, in_bytes: bool = True
) -> Iterator[Callable[[int], None]]:
    """Show how far a transfer or another long work is, on standard error if that is a terminal.

    What it gives is to be called with the amount that was done since the last call. Of bytes, number and
    speed are shown, and less than 4 MiB have no bar.
    """
    screen = console(stderr=True)
    if not screen.is_terminal or (in_bytes and total is not None and total < _SMALL):
        yield lambda count: None
        return
    from rich import progress
    from rich.errors import LiveError

    transfer = (progress.DownloadColumn(), progress.TransferSpeedColumn()) if in_bytes else ()
    bar = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        *transfer,
        progress.TimeRemainingColumn(),
        console=screen,
        transient=True,
    )
    task = bar.add_task(shown(text), total=total, completed=done)
    # Where something else is being shown, that goes on; and the system may give no thread for it.
    with contextlib.suppress(LiveError, RuntimeError):
        bar.start()
    try:
        yield lambda count: bar.advance(task, count)
    finally:
        bar.stop()
