"""The heat strip: one column for each tensor in the order of execution, four rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from initcfg._plan.report.html import (
    COLOR,
    Drawing,
    Html,
    Wording,
    can_draw,
    framed,
    number,
    plain_table,
    settings,
)

if TYPE_CHECKING:
    from initcfg._diagnose.facts import Diagnosis, TensorMeasure

# A telephone shows no more columns than these, and a file need not hold more.
MOST_COLUMNS = 200
_MOST_LINES = 2000
_ROWS = (
    ("activation", "activation_rms"),
    ("gradient", "gradient_rms"),
    ("weight", "weight_rms"),
    ("update ratio", "update_ratio"),
)
_LOWEST, _HIGHEST = -12.0, 6.0
# Zero has no logarithm, and what is not finite no place on the scale.
_SPECIAL = {-math.inf: COLOR["line"], math.inf: COLOR["error"]}


def strip(diagnosis: Diagnosis, words: Wording) -> Html:
    """The strip, and its numbers as a table."""
    tensors = diagnosis.measures.tensors
    title, said = words("strip"), words("strip said")
    picture = None
    if can_draw():
        with settings():
            picture = _draw(tensors, words, said)
    rows = [
        (each.name, *(number(getattr(each, field)) for _, field in _ROWS)) for each in tensors[:_MOST_LINES]
    ]
    table = plain_table([words("tensor"), *(words(key) for key, _ in _ROWS)], rows, numbers=len(_ROWS))
    return framed(title, said, picture, table, words)


def _draw(tensors: Sequence[TensorMeasure], words: Wording, said: str) -> Html:
    import matplotlib  # pyright: ignore[reportMissingImports]
    from matplotlib.cm import ScalarMappable  # pyright: ignore[reportMissingImports]
    from matplotlib.collections import PatchCollection  # pyright: ignore[reportMissingImports]
    from matplotlib.colors import Normalize, to_hex  # pyright: ignore[reportMissingImports]
    from matplotlib.patches import Rectangle  # pyright: ignore[reportMissingImports]

    columns = _columns(tensors)
    drawing = Drawing(190)
    pane = drawing.panes[0]
    logs = {
        key: [_log(_worst([getattr(each, field) for each in column])) for column in columns]
        for key, field in _ROWS
    }
    finite = [each for row in logs.values() for each in row if each is not None and math.isfinite(each)]
    scale = Normalize(
        max(min(finite, default=-1.0), _LOWEST), min(max(finite, default=0.0), _HIGHEST), clip=True
    )
    colors = matplotlib.colormaps["cividis"].resampled(48)
    cells, fills, tips = [], [], []
    for row, (key, field) in enumerate(_ROWS):
        for place, (column, log) in enumerate(zip(columns, logs[key], strict=True)):
            if log is None:
                continue
            cells.append(Rectangle((place, row - 0.46), 1, 0.92))
            fills.append(_SPECIAL.get(log) or to_hex(colors(scale(log))))
            tips.append(_tip(column, field, words(key)))
    marks = PatchCollection(cells, facecolors=fills, linewidths=0, clip_on=False)
    pane.add_collection(marks)
    drawing.tips(marks, "strip", tips, crisp=True)
    pane.set_xlim(0, len(columns))
    pane.set_ylim(len(_ROWS) - 0.5, -0.5)
    names = [words(key) for key, _ in _ROWS]
    pane.set_yticks(range(len(_ROWS)), [drawing.text(name, 16) for name in names])
    pane.tick_params(axis="both", length=0, labelbottom=False)
    for spine in pane.spines.values():
        spine.set_visible(False)
    bar = drawing.figure.colorbar(
        ScalarMappable(scale, colors), ax=pane, orientation="horizontal", shrink=0.7, aspect=40, pad=0.02
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=COLOR["muted"], labelcolor=COLOR["text"], width=0.6)
    bar.set_label(drawing.text("log₁₀", 5), color=COLOR["muted"])
    return drawing.svg("strip", said)


def _columns(tensors: Sequence[TensorMeasure]) -> list[Sequence[TensorMeasure]]:
    """One tensor each, or several that follow each other."""
    size = -(-len(tensors) // MOST_COLUMNS)
    return [tensors[start : start + size] for start in range(0, len(tensors), size)]


def _worst(found: Sequence[float | None]) -> float | None:
    """Of several, the one that is farthest from 1: an average would hide it."""
    known = [each for each in found if each is not None]
    return max(known, key=_distance, default=None)


def _distance(item: float) -> float:
    """From 1; a zero among others is no news, and what is not finite is more than anything."""
    log = _log(item)
    return -1.0 if log is None or log == -math.inf else abs(log)


def _log(item: float | None) -> float | None:
    if item is None:
        return None
    if not math.isfinite(item):
        return math.inf
    return math.log10(item) if item > 0 else -math.inf


def _tip(column: Sequence[TensorMeasure], field: str, what: str) -> str:
    first = column[0]
    if len(column) > 1:
        return (
            f"{first.name} … {column[-1].name}: {what} {number(_worst([getattr(c, field) for c in column]))}"
        )
    told = (f"{first.name}: {what} {number(getattr(first, field))}", first.value, first.rule, first.source)
    return ", ".join(filter(None, told))
