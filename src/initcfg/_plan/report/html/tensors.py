"""The table of tensors that can be searched: a row each, with value, histogram and rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from initcfg._plan.report.html.bars import Measured, law_cell
from initcfg._plan.report.html.densities import laws
from initcfg._plan.report.html.elements import Html, element, name_of, together
from initcfg._plan.report.html.remarks import value_text
from initcfg._plan.report.html.wording import Wording
from initcfg._plan.report.words import shape_text
from initcfg.values import Adapted, FromCheckpoint, Keep, Opaque, Value, steps_text


@dataclass(frozen=True)
class TensorRow:
    """A row: a tensor, or several that are alike.

    Attributes:
        rule: Path of the rule, or what stands for one.
        source: Where that was written.
        remarks: What else is to be said.
        measured: The histogram of its weights.
        cells: Cells of columns of a page's own.
    """

    name: str
    shape: Sequence[int] | None
    dtype: str
    value: Value
    rule: str = ""
    source: str | None = None
    remarks: tuple[str, ...] = ()
    measured: Measured | None = None
    text: str | None = None
    cells: tuple[object, ...] = ()


def tensor_table(
    rows: Sequence[TensorRow], words: Wording, *, more: Sequence[str] = (), name: str = "tensors"
) -> Html:
    """The rows, with a field to search them; ``more`` are the titles of their own cells."""
    keys = ("tensor", "shape", "value", "distribution", "rule")
    titles = {f"w-{key}": words(key) for key in keys} | {f"w-more{n}": each for n, each in enumerate(more)}
    body = [_row(row, list(titles.values()), words) for row in rows]
    return together((search_box(name, words), _key(rows, words), wide_table(name, titles, body)))


def wide_table(name: str, titles: Mapping[str, str], body: Sequence[Html]) -> Html:
    """A table whose rows become blocks on a narrow screen; it says that they are rows, for who hears it.

    ``titles`` are by their class of the style.
    """
    head = [element("th", text, scope="col", role="columnheader", class_=of) for of, text in titles.items()]
    rows = element("tbody", *body, role="rowgroup")
    head_row = element("thead", element("tr", *head, role="row"), role="rowgroup")
    return element("table", head_row, rows, id=name, class_="wide", role="table")


def search_box(table: str, words: Wording) -> Html:
    """A field that a script shows: without one, it would do nothing."""
    field = f"search-{table}"
    return element(
        "div",
        element("label", words("search"), for_=field),
        element("input", type="search", id=field, placeholder=words("search hint"), autocomplete="off"),
        element("output", aria_live="polite", for_=field),
        class_="search",
        role="search",
        hidden=True,
        data_search=table,
        data_said=words("shown", n="{n}", all="{all}"),
    )


def _row(row: TensorRow, titles: Sequence[str], words: Wording) -> Html:
    type_ = "" if row.dtype in ("float32", "") else f" {row.dtype}"
    shape = "" if row.shape is None else shape_text(row.shape)
    remarks = [element("small", element("br"), remark, class_="muted") for remark in row.remarks]
    source = element("small", element("br"), row.source, class_="muted") if row.source else None
    found = laws(row.value, row.shape) if row.shape is not None else ()
    text = row.text if row.text is not None else value_words(row.value, words)
    cells: list[object] = [
        together((element("span", shape, class_="n"), type_)),
        together((text, *remarks)),
        law_cell(found, words, row.measured),
        together((element("span", name_of(row.rule), class_="n"), source)) if row.rule or source else None,
        *row.cells,
    ]
    made = [
        element("td", cell, data_label=title if cell else None, role="cell")
        for cell, title in zip(cells, titles[1:], strict=True)
    ]
    head = element("th", name_of(row.name), scope="row", class_="n", role="rowheader")
    return element("tr", head, *made, role="row")


def _key(rows: Iterable[TensorRow], words: Wording) -> Html | str:
    """What bars and lines are."""
    if any(row.measured is not None for row in rows):
        return legend({"f-bar": words("key of weights"), "s-theory": words("key of theory")})
    return legend({"f-theory": words("key of theory alone")})


def legend(items: Mapping[str, str]) -> Html:
    """What each look means: ``"f-bar"`` is a surface, ``"s-bar"`` a line, with its dashes if it has any."""
    listed = (element("li", _swatch(*look.split(" ", 1)), text) for look, text in items.items())
    return element("ul", *listed, class_="key")


def _swatch(color: str, dashes: str | None = None) -> Html:
    if color.startswith("f"):
        mark = element("rect", width="12", height="7", class_=color)
    else:
        mark = element("path", d="M0 3.5h12", class_=color, stroke_width="1.5", stroke_dasharray=dashes)
    return element("svg", mark, viewBox="0 0 12 7", aria_hidden="true")


def value_words(value: Value, words: Wording) -> str:
    """A value for a person."""
    if isinstance(value, Keep):
        return words("keeps")
    if isinstance(value, Adapted) and value.steps:
        return words("from {source}, {steps}", source=value.source, steps=steps_text(value.steps))
    if isinstance(value, FromCheckpoint):
        return words("from {source}", source=value.source)
    if isinstance(value, Opaque):
        return words("by its own {code}", code=value_text(value.code, words.lang))
    return value_text(str(value), words.lang)


def plain_table(
    titles: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: int = 0, id_: str | None = None
) -> Html:
    """A table that is read and not searched; the last ``numbers`` columns are numbers."""
    first = len(titles) - numbers
    kinds = [None] * first + ["r"] * numbers
    head = [element("th", title, scope="col", class_=kind) for title, kind in zip(titles, kinds, strict=True)]
    body = []
    for name, *cells in rows:
        rest = [element("td", cell, class_=kind) for cell, kind in zip(cells, kinds[1:], strict=True)]
        body.append(element("tr", element("th", name, scope="row", class_="n"), *rest))
    return element("table", element("thead", element("tr", *head)), element("tbody", *body), id=id_)
