"""The one way to people's eyes: every text that is printed, logged or drawn leaves through here.

So what a stranger's file says is shown, and not executed by the terminal. Names, keys and the like are put on
one line where a line or a row is made; whatever comes out besides is looked through once more.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import random
import shutil
import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from initcfg.errors.shown import shown, shown_lines

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType
    from rich.table import Table
    from rich.text import Text


@functools.cache
def _load_rich() -> None:
    """Load rich when the first view is made: who only plans needs none, and it takes a while.

    It draws from Python's generator when it is loaded, which then stands where it stood.
    """
    before = random.getstate()
    try:
        import rich.console
        import rich.table
        import rich.text  # noqa: F401
    finally:
        random.setstate(before)


def line(text: object = "", style: str = "") -> Text:
    """A line of a view."""
    _load_rich()
    from rich.text import Text

    return Text(shown(text), style=style)


def add_row(table: Table, *cells: Any, style: str | None = None) -> None:
    """A row of a table; its cells are texts, in which nothing is markup, or lines."""
    from rich.text import Text

    table.add_row(*(each if isinstance(each, Text) else line(each) for each in cells), style=style)


def stacked(*views: RenderableType) -> Group:
    """Views, one below the other."""
    _load_rich()
    from rich.console import Group

    return Group(*views)


def new_table(**options: Any) -> Table:
    """A table without lines, and without rows yet."""
    _load_rich()
    from rich.table import Table

    return Table(box=None, pad_edge=False, header_style="bold", **options)


def console(**options: Any) -> Console:
    """What draws views: on standard output, or as the options of rich's ``Console`` say."""
    _load_rich()
    from rich.console import Console
    from rich.segment import Segment

    class Careful(Console):
        """Draws what it is given, and nothing that is hidden in there."""

        def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                # Control segments are rich's own: of progress bars and the like.
                yield segment if segment.control else segment._replace(text=shown_lines(segment.text))

    return Careful(markup=False, emoji=False, highlight=False, **options)


def render(view: RenderableType, width: int | None = None) -> str:
    """A view as plain text, as wide as the terminal."""
    out = io.StringIO()
    width = width or max(shutil.get_terminal_size((160, 40)).columns, 60)
    console(file=out, width=width, color_system=None, force_terminal=False).print(view)
    return "\n".join(each.rstrip() for each in out.getvalue().split("\n")).removesuffix("\n")


def in_html(text: object) -> str:
    """A text within HTML."""
    import html

    return html.escape(shown(text))


def in_html_lines(text: object) -> str:
    """A text of several lines and columns within HTML, as a notebook shows it."""
    import html

    return f"<pre>{html.escape(shown_lines(text))}</pre>"


def as_json(data: Any, **options: Any) -> str:
    """Data as JSON, in ASCII and without a control character but for ends of lines."""
    return json.dumps(data, **options).replace("\x7f", "\\u007f")


def say(text: str, *, error: bool = False, head: str = "") -> None:
    """Print lines, on standard output or on the error stream; of an error the ``head`` is red."""
    import click

    start = click.style(head, fg="red", bold=True) if head else ""
    click.echo(start + shown_lines(text), err=error)


def draw(view: RenderableType) -> None:
    """Draw a view on the terminal, or print it into a pipe as plain lines that stay whole."""
    if isinstance(view, str):
        say(view)
    elif sys.stdout is not None and sys.stdout.isatty():
        console().print(view)
    else:
        say(render(view, width=_columns(default=200)))


def _columns(default: int) -> int:
    import os

    wanted = os.environ.get("COLUMNS", "")
    return int(wanted) if wanted.isdecimal() and 0 < len(wanted) < 6 and int(wanted) > 0 else default


def log(message: str, *arguments: object) -> None:
    """A warning in the log of this package; a report keeps its lines, a name is in one."""
    said = (
        each
        if isinstance(each, (int, float))
        else shown(each)
        if isinstance(each, str)
        else shown_lines(each)
        for each in arguments
    )
    logging.getLogger("initcfg").warning(message, *said)


def warn(message: str, category: type[Warning] = UserWarning, *, stacklevel: int = 1) -> None:
    """A Python warning."""
    warnings.warn(shown(message), category, stacklevel=stacklevel + 1)
