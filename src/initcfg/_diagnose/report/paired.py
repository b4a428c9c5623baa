"""The pictures of two initializations side by side, each with its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from initcfg._plan.report.html import (
    COLOR,
    Drawing,
    Html,
    Wording,
    can_draw,
    framed,
    legend,
    logarithmic,
    number,
    plain_table,
    settings,
    together,
)

if TYPE_CHECKING:
    from initcfg._diagnose.comparison import DiagnosisComparison
    from initcfg._diagnose.facts import Diagnosis

# Color and dashes of each side: they differ without color, too.
_LOOKS = (("accent", "-", ""), ("theory", "--", " 4 2"))

Runs = Sequence[Sequence[float]]


def pictures_of_both(found: DiagnosisComparison, words: Wording) -> list[Html]:
    """The losses of every draw, and the signal by depth."""
    deep = all(len(each.measures.blocks) > 1 for _, each in sides(found))
    return [_losses(found, words), *([_depths(found, words)] if deep else [])]


def sides(found: DiagnosisComparison) -> Iterator[tuple[str, Diagnosis]]:
    """Both with their names; two of one name are told apart."""
    names = found.names
    if names[0] == names[1]:
        names = (f"A: {names[0]}", f"B: {names[1]}")
    yield from zip(names, (found.here, found.there), strict=True)


def ends(runs: Runs) -> float:
    return median(each[-1] if math.isfinite(each[-1]) else math.inf for each in runs)


def _losses(found: DiagnosisComparison, words: Wording) -> Html:
    """The losses of every draw, and their median."""
    both = [
        (name, runs)
        for (name, _), runs in zip(sides(found), (found.losses_here, found.losses_there), strict=True)
    ]
    said = words("losses said", optimizer=found.here.optimizer, lr=f"{found.here.lr:g}")

    def draw() -> Html:
        drawing = Drawing(250)
        pane = drawing.panes[0]
        first = [run[0] for _, runs in both for run in runs if math.isfinite(run[0])]
        finite = [each for _, runs in both for run in runs for each in run if math.isfinite(each)]
        # What diverges must not flatten the rest.
        top = min(max(finite, default=1.0), 1.5 * max([*first, 0.1]))
        for place, ((name, runs), (color, dashes, _)) in enumerate(zip(both, _LOOKS, strict=True)):
            for n, run in enumerate(runs):
                shown = [min(each, top) if math.isfinite(each) else top for each in run]
                pane.plot(
                    range(len(run)), shown, color=COLOR[color], linestyle=dashes, linewidth=0.6, alpha=0.6
                )
                dots = pane.scatter(
                    range(len(run)), shown, s=6, color=COLOR[color], linewidths=0, clip_on=False, zorder=3
                )
                drawing.tips(dots, f"draw-{place}-{n}", [_tip(name, n, each, words) for each in run])
            middle = [min(each, top) for each in _middles(runs)]
            pane.plot(range(len(middle)), middle, color=COLOR[color], linestyle=dashes, linewidth=2)
        pane.grid(axis="y", color=COLOR["line"], linewidth=0.6)
        pane.set_axisbelow(True)
        drawing.labels(pane, words("step"), words("the loss"))
        return drawing.svg("losses", said)

    rows = []
    for name, runs in both:
        rows += [
            (f"{name}, {words('draw')} {n + 1}", *map(number, (run[0], run[-1])))
            for n, run in enumerate(runs)
        ]
    steps = zip(*(_middles(runs) for _, runs in both), strict=False)
    middles = [(str(step), *map(number, each)) for step, each in enumerate(steps)]
    tables = together(
        (
            plain_table([words("draw"), words("at the start"), words("after steps")], rows, numbers=2),
            plain_table(
                [words("step"), *(f"{name} ({words('median')})" for name, _ in both)], middles, numbers=2
            ),
        )
    )
    return framed(words("losses"), said, _drawn(draw), tables, words, _key(found))


def _tip(name: str, draw: int, loss: float, words: Wording) -> str:
    return f"{name}, {words('draw')} {draw + 1}: {number(loss)}"


def _middles(runs: Runs) -> list[float]:
    """The median of each step, of a run that has ended: what it ended with."""
    longest = max(map(len, runs))
    whole = [[each if math.isfinite(each) else math.inf for each in run] for run in runs]
    return [median(run[min(step, len(run) - 1)] for run in whole) for step in range(longest)]


def _drawn(draw: Callable[[], Html]) -> Html | None:
    if not can_draw():
        return None
    with settings():
        return draw()


def _key(found: DiagnosisComparison) -> Html:
    looks = (f"s-{color}{dashes}" for color, _, dashes in _LOOKS)
    return legend(dict(zip(looks, (name for name, _ in sides(found)), strict=True)))


def _depths(found: DiagnosisComparison, words: Wording) -> Html:
    """The size of the signal behind each block, of both."""
    both = [(name, each.measures.blocks) for name, each in sides(found)]
    said = words("depths said")

    def draw() -> Html:
        drawing = Drawing(230)
        pane = drawing.panes[0]
        logarithmic(pane, [each.rms for _, blocks in both for each in blocks])
        low, high = pane.get_ylim()
        for place, ((name, blocks), (color, dashes, _)) in enumerate(zip(both, _LOOKS, strict=True)):
            shown = [min(max(each.rms, low), high) if math.isfinite(each.rms) else high for each in blocks]
            steps = range(1, len(shown) + 1)
            pane.plot(steps, shown, color=COLOR[color], linestyle=dashes, linewidth=1.4)
            dots = pane.scatter(steps, shown, s=12, color=COLOR[color], linewidths=0, clip_on=False, zorder=3)
            tips = [f"{name}, {each.name}: {number(each.rms)}" for each in blocks]
            drawing.tips(dots, f"depths-{place}", tips)
        drawing.labels(pane, words("block"), words("rms"))
        return drawing.svg("depths", said)

    rms = [{each.name: each.rms for each in blocks} for _, blocks in both]
    rows = [(name, *(number(each.get(name)) for each in rms)) for name in dict.fromkeys([*rms[0], *rms[1]])]
    table = plain_table([words("block"), *(name for name, _ in both)], rows, numbers=2)
    return framed(words("depth"), said, _drawn(draw), table, words, _key(found))
