"""The page of what differs between the numbers of two checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from initcfg._api.weights.comparison_view import cells, groups, summary
from initcfg._plan.report.html import Wording, element, facts, plain_table, whole_page, written

if TYPE_CHECKING:
    from initcfg._api.weights.comparison import WeightsComparison

_WORDS = {
    "weights diff": ("What differs between the numbers of A and B", "A 与 B 数值的差异"),
    "data type": ("data type", "数据类型"),
    "what": ("what", "情况"),
    "change": ("‖b − a‖ / ‖a‖", "‖b − a‖ / ‖a‖"),
    "largest": ("largest difference", "最大差值"),
    "differ": ("numbers that differ", "不同数值的比例"),
    "taken off": ("taken off the keys", "从键名去掉的前缀"),
}


def weights_page(found: WeightsComparison, path: str | Path | None = None, lang: str = "en") -> str:
    """A whole page for a comparison of numbers."""
    words = Wording(lang, _WORDS)
    title = words("weights diff")
    counts: dict[str, object] = {
        words("alike"): f"{found.alike:,}",
        words("changed"): f"{len(found.changed):,}",
        words("only in A"): f"{len(found.only_a):,}",
        words("only in B"): f"{len(found.only_b):,}",
        words("taken off"): ", ".join(
            f"{side}: {prefix}" for side, prefix in (("A", found.prefix_a), ("B", found.prefix_b)) if prefix
        ),
    }
    parts: list[object] = [element("h1", title), element("p", summary(found), lang="en"), facts(counts)]
    if found.changed:
        titles = [words(key) for key in ("tensor", "remarks", "what")]
        rows = []
        for group in groups(found.changed, full=False):
            name, count, what, change, largest, differ, more = cells(group)
            rows.append((f"{name} ×{count}" if count else name, more, what, change, largest, differ))
        titles += [words(key) for key in ("change", "largest", "differ")]
        parts += [element("h2", words("changed")), plain_table(titles, rows, numbers=3, id_="tensors")]
    for key, items in (("only in A", found.only_a), ("only in B", found.only_b)):
        if items:
            lines = [
                (name, "×".join(map(str, shape)) or "()", dtype) for name, (shape, dtype) in items.items()
            ]
            titles = [words(word) for word in ("tensor", "shape", "data type")]
            parts += [element("h2", words(key)), plain_table(titles, lines)]
    return written(whole_page(title, *parts, words=words), path)
