"""The page of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from initcfg._plan.assignment import Assignment
from initcfg._plan.report.html.bars import law_cell
from initcfg._plan.report.html.densities import edges_of, laws
from initcfg._plan.report.html.elements import Html, element, name_of, together
from initcfg._plan.report.html.page import facts, whole_page, written
from initcfg._plan.report.html.tensors import (
    TensorRow,
    plain_table,
    search_box,
    tensor_table,
    value_words,
    wide_table,
)
from initcfg._plan.report.html.wording import Wording
from initcfg._plan.report.words import shape_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from initcfg._plan.compare import Comparison, Pair


def diff_page(found: Comparison, path: str | Path | None = None, lang: str = "en") -> str:
    """A whole page for a comparison."""
    words = Wording(lang)
    title = words("diff")
    parts: list[object] = [element("h1", title), diff_facts(found, words)]
    if found.same:
        parts.append(element("p", words("nothing differs"), class_="good"))
    if found.settings:
        lines = [(words(name), str(a), str(b)) for name, (a, b) in found.settings.items()]
        parts += [element("h2", words("settings")), plain_table([words("setting"), "A", "B"], lines)]
    if found.changed:
        parts += [element("h2", words("changed")), _changed(found.changed, found.reasons, words)]
    for key, items, name in (("only in A", found.only_a, "only-a"), ("only in B", found.only_b, "only-b")):
        if items:
            parts += [element("h2", words(key)), _only(items, words, name)]
    if found.tied:
        lines = [(name, _tied(a, words), _tied(b, words)) for name, (a, b) in found.tied.items()]
        parts += [element("h2", words("tied")), plain_table([words("tensor"), "A", "B"], lines)]
    return written(whole_page(title, *parts, words=words), path)


def diff_facts(found: Comparison, words: Wording) -> Html:
    """How much of what."""
    counts = {
        words("alike"): found.alike,
        words("changed"): len(found.changed),
        words("only in A"): len(found.only_a),
        words("only in B"): len(found.only_b),
        words("tied"): len(found.tied),
    }
    return facts({name: f"{count:,}" for name, count in counts.items() if count})


def _changed(changed: Mapping[str, Pair], reasons: Mapping[str, str], words: Wording) -> Html:
    titles = {"w-tensor": words("tensor"), "w-a": "A", "w-b": "B"}
    titles |= {"w-why": words("why")} if reasons else {}
    body = []
    for name, sides in changed.items():
        cells = [
            element("td", _side(item, sides, words), data_label=side, role="cell")
            for item, side in zip(sides, "AB", strict=True)
        ]
        if reasons:
            reason = reasons.get(name)
            cells.append(
                element("td", reason, lang="en", data_label=words("why") if reason else None, role="cell")
            )
        head = element("th", name_of(name), scope="row", class_="n", role="rowheader")
        body.append(element("tr", head, *cells, role="row"))
    return together((search_box("tensors", words), wide_table("tensors", titles, body)))


def _side(item: Assignment, both: Pair, words: Wording) -> Html:
    """What one side says: its value, and of shape, type and rule what differs."""
    a, b = both
    lines: list[object] = [value_words(item.value, words)]
    if a.shape != b.shape or a.dtype != b.dtype:
        lines.append(f"{shape_text(item.shape)} {item.dtype}")
    lines += [f"{key} ×{factor}" for key, factor in item.tune.items() if not isinstance(factor, str)]
    small = [
        element("small", element("br"), each, class_="muted") for each in (*lines[1:], item.rule) if each
    ]
    found = [laws(each.value, each.shape) for each in both]
    ranges = [edges_of(each) for each in found if each]
    # Both over one range, so that the wider one looks wider.
    ends = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
    own = found[0 if item is a else 1]
    return together((lines[0], *small, law_cell(own, words, ends=ends)))


def _only(items: Mapping[str, Assignment], words: Wording, name: str) -> Html:
    rows = [
        TensorRow(item.name, item.shape, item.dtype, item.value, item.rule or "") for item in items.values()
    ]
    return tensor_table(rows, words, name=name)


def _tied(to: str | None, words: Wording) -> str:
    return words("own tensor") if to is None else words("tied to {name}", name=to)
