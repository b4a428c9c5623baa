"""A table that fits the terminal: one line a row, shortened where it has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from initcfg._plan.report.words import plain_table
from initcfg.errors import add_row, line, shown

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

Shortened = tuple[Callable[[str, int], str], int, int]
_GAP = 2
SHORTENED = "Shortened to fit (…): a wider terminal, or COLUMNS=400, shows the whole."


def in_the_middle(text: str, width: int) -> str:
    """A name with its beginning and its end, which says more.

    Example:
        >>> from initcfg._plan.report.fitted import in_the_middle
        >>> in_the_middle("backbone.layers.{0..11}.attention.weight", 24)
        'backbone.…tention.weight'
    """
    if len(text) <= width:
        return text
    start = (width - 1) * 2 // 5
    return f"{text[:start]}…{text[len(text) - (width - 1 - start) :]}"


def at_the_end(text: str, width: int) -> str:
    """A text without its end."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def at_the_start(text: str, width: int) -> str:
    """A path without its beginning; what else stands in its place, without its end."""
    if len(text) <= width:
        return text
    return at_the_end(text, width) if " " in text else f"…{text[len(text) - width + 1 :]}"


class FittedTable:
    """A table of rows with a style each; where even shortened cells do not fit, these lines instead.

    Args:
        titles: Of the columns.
        shortened: By column: how, to how few characters at most, and how many it is spared beside the others.
            Columns that are not in it stay whole.
    """

    def __init__(self, titles: Sequence[str], shortened: Mapping[int, Shortened]) -> None:
        self._titles = titles
        self._shortened = shortened
        self._rows: list[tuple[list[str], str | None]] = []
        self._lines: list[Text] = []

    def add(self, cells: Sequence[str], style: str | None, lines: Sequence[Text]) -> None:
        """A row, and the lines that say the same."""
        self._rows.append(([shown(cell) for cell in cells], style))
        self._lines += lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich calls to draw this."""
        from rich.cells import cell_len

        columns = [list(self._titles), *(row for row, _ in self._rows)]
        wanted = [max(map(cell_len, column)) for column in zip(*columns, strict=True)]
        room = options.max_width - _GAP * (len(wanted) - 1)
        widths = self._fitting(wanted, room)
        if widths is None:
            yield from self._lines
            return
        table = plain_table(self._titles)
        for cells, style in self._rows:
            add_row(table, *self._cut(cells, widths), style=style)
        yield table
        if widths != wanted:
            yield line(SHORTENED, style="dim")

    def _fitting(self, wanted: list[int], room: int) -> list[int] | None:
        """The widths of the columns, the longest shortened first; None if that is too little."""
        widths = list(wanted)
        while sum(widths) > room:
            wide = [at for at, (_, least, _) in self._shortened.items() if widths[at] > least]
            if not wide:
                return None
            widths[max(wide, key=lambda at: widths[at] - self._shortened[at][2])] -= 1
        return widths

    def _cut(self, cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            yield self._shortened[at][0](cell, width) if at in self._shortened else cell
