"""Elements of HTML: whatever is not an element already is escaped where it is put."""

from __future__ import annotations

from collections.abc import Iterable

from initcfg.errors import in_html

_EMPTY = ("br", "col", "input", "meta")


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """An element with its children; None is left out, and an attribute that is True has no value.

    Example:
        >>> from initcfg._plan.report.html.elements import element
        >>> element("p", "a < b", class_="note", aria_label='"')
        '<p class="note" aria-label="&quot;">a &lt; b</p>'
    """
    head = name
    for key, item in attributes.items():
        if item is None or item is False:
            continue
        key = key.removesuffix("_").replace("_", "-")
        head += f" {key}" if item is True else f' {key}="{in_html(item)}"'
    if name in _EMPTY:
        return Html(f"<{head}>")
    return Html(f"<{head}>{together(children)}</{name}>")


def together(children: Iterable[object]) -> Html:
    """Several, one after the other."""
    return Html("".join(_escaped(child) for child in children if child is not None))


def _escaped(child: object) -> str:
    return child if isinstance(child, Html) else in_html(child)


def name_of(text: str) -> Html:
    """A long name, which may go on in the next line after its dots and strokes."""
    return Html(in_html(text).replace(".", ".<wbr>").replace("_", "_<wbr>").replace("/", "/<wbr>"))
