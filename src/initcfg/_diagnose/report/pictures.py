"""The five pictures of a diagnosis, each with its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from initcfg._diagnose.report.strip import strip
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
)

if TYPE_CHECKING:
    from initcfg._diagnose.facts import Diagnosis, Measures

# Sizes of what the layers of healthy models give.
_HEALTHY = (2.4e-5, 5.4)
_ENTROPY, _SHARE = 0.2, 0.5
_RATIOS = (1e-6, 1e-3, 0.3)
_LEVELS = (("good", "-"), ("warning", "-."))
_AT_DEPTH = ("stream", "activation", "gradient", "nonfinite")


def pictures(diagnosis: Diagnosis, words: Wording) -> list[Html]:
    """Those for which something was measured."""
    measures = diagnosis.measures
    made: list[tuple[bool, Callable[[Diagnosis, Wording], Html]]] = [
        (len(measures.blocks) > 1, _depth),
        (bool(measures.tensors), strip),
        (any(each.update_ratio is not None for each in measures.tensors), _updates),
        (bool(measures.attention or measures.units), _attention),
        (bool(measures.probe), _probe),
    ]
    return [draw(diagnosis, words) for there, draw in made if there]


def _drawn(draw: Callable[[], Html]) -> Html | None:
    if not can_draw():
        return None
    with settings():
        return draw()


def _clipped(found: Sequence[float | None], pane: Any) -> list[float]:
    """Numbers on a logarithmic axis: zero is at its bottom, what is no number at its top."""
    low, high = pane.get_ylim()
    return [
        math.nan if each is None else high if not math.isfinite(each) else min(max(each, low), high)
        for each in found
    ]


def _depth(diagnosis: Diagnosis, words: Wording) -> Html:
    measures, title, said = diagnosis.measures, words("depth"), words("depth said")
    before = [] if measures.entering is None else [(words("entering"), measures.entering, None)]
    lines = before + [(each.name, each.rms, each.gradient_rms) for each in measures.blocks]
    places = list(range(1 - len(before), len(lines) + 1 - len(before)))

    def draw() -> Html:
        drawing = Drawing(230)
        pane = drawing.panes[0]
        signals, gradients = [rms for _, rms, _ in lines], [gradient for _, _, gradient in lines]
        logarithmic(pane, [each for each in (*signals, *gradients) if each is not None])
        pane.axhspan(*_HEALTHY, color=COLOR["band"], linewidth=0, zorder=0)
        for name, numbers, color, dashes in (
            ("gradient", gradients, "theory", "--"),
            ("signal", signals, "accent", "-"),
        ):
            shown = _clipped(numbers, pane)
            pane.plot(places, shown, color=COLOR[color], linestyle=dashes, linewidth=1.4)
            dots = pane.scatter(
                places, shown, s=12, color=COLOR[color], linewidths=0, clip_on=False, zorder=3
            )
            tips = [
                f"{line[0]}: {words(name)} {number(each)}" for line, each in zip(lines, numbers, strict=True)
            ]
            drawing.tips(
                dots,
                f"depth-{name}",
                [tip for tip, each in zip(tips, numbers, strict=True) if each is not None],
            )
        for place, name, of_gradient in _offenders(diagnosis, [line[0] for line in lines], places):
            y = _clipped([(gradients if of_gradient else signals)[places.index(place)]], pane)[0]
            pane.scatter([place], [y], s=60, facecolors="none", edgecolors=COLOR["error"], zorder=4)
            late = place > (places[0] + places[-1]) / 2
            pane.annotate(
                drawing.text(name, 16),
                (place, y),
                xytext=(-7 if late else 7, 7),
                textcoords="offset points",
                ha="right" if late else "left",
                color=COLOR["error"],
                # Above the curves, on the color of the page.
                bbox={"facecolor": COLOR["page"], "edgecolor": "none", "pad": 1.5},
                zorder=5,
            )
        drawing.labels(pane, words("block"), words("rms"))
        return drawing.svg("depth", said)

    rows = [(name, number(rms), number(gradient)) for name, rms, gradient in lines]
    table = plain_table([words("block"), words("signal"), words("gradient")], rows, numbers=2)
    key = legend(
        {"s-accent": words("signal"), "s-theory 4 2": words("gradient"), "f-band": words("healthy band")}
    )
    return framed(title, said, _drawn(draw), table, words, key)


def _offenders(
    diagnosis: Diagnosis, names: Sequence[str], places: Sequence[int]
) -> list[tuple[int, str, bool]]:
    """The blocks that findings about depth name, or lie in; and whether it is their gradient."""
    found: dict[int, tuple[str, bool]] = {}
    for finding in diagnosis.findings:
        if finding.level == "info" or not finding.code.startswith(_AT_DEPTH) or not finding.where:
            continue
        for place, name in zip(places, names, strict=True):
            if f"{finding.where}.".startswith(f"{name}."):
                found.setdefault(place, (name, "gradient" in finding.code))
    return [(place, *each) for place, each in found.items()][:3]


def _updates(diagnosis: Diagnosis, words: Wording) -> Html:
    known = [each for each in diagnosis.measures.tensors if each.update_ratio is not None]
    title = words("updates")
    said = words("updates said", optimizer=diagnosis.optimizer, lr=f"{diagnosis.lr:g}")

    def draw() -> Html:
        step = -(-len(known) // 2000)
        some = known[::step]
        ratios = [each.update_ratio for each in some]
        drawing = Drawing(230)
        pane = drawing.panes[0]
        logarithmic(pane, [*_RATIOS, *(each for each in ratios if each)])
        for ratio, color in zip(_RATIOS, ("warning", "good", "error"), strict=True):
            pane.axhline(ratio, color=COLOR[color], linewidth=1, linestyle="--")
            pane.annotate(
                drawing.text(number(ratio), 5),
                (1, ratio),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color=COLOR[color],
            )
        off = [each is not None and not _RATIOS[0] <= each <= _RATIOS[2] for each in ratios]
        colors = [COLOR["error"] if each else COLOR["accent"] for each in off]
        dots = pane.scatter(
            range(1, len(some) + 1),
            _clipped(ratios, pane),
            s=11,
            c=colors,
            linewidths=0,
            clip_on=False,
            zorder=3,
        )
        drawing.tips(
            dots, "updates", [_told(each.name, each.update_ratio, each.value, each.rule) for each in some]
        )
        drawing.labels(pane, words("order"), words("update ratio"))
        return drawing.svg("updates", said)

    rows = [(each.name, each.value or "", number(each.update_ratio)) for each in known]
    table = plain_table([words("tensor"), words("value"), words("update ratio")], rows, numbers=1)
    return framed(title, said, _drawn(draw), table, words)


def _told(name: str, measured: float | None, value: str | None, rule: str | None) -> str:
    return ", ".join(filter(None, (f"{name}: {number(measured)}", value, rule)))


def _attention(diagnosis: Diagnosis, words: Wording) -> Html:
    measures = diagnosis.measures
    said = words("gap").join(
        words(key)
        for key, there in (("attention said", measures.attention), ("units said", measures.units))
        if there
    )
    rows = [
        (each.module, words("heads"), ", ".join(map(number, each.entropies))) for each in measures.attention
    ]
    rows += [(each.module, words(each.kind), number(each.share)) for each in measures.units]
    table = plain_table(
        [words("layer"), words("kind"), f"{words('entropy')} / {words('share')}"], rows, numbers=1
    )
    picture = _drawn(lambda: _attention_drawn(measures, words, said))
    return framed(words("attention and units"), said, picture, table, words)


def _attention_drawn(measures: Measures, words: Wording, said: str) -> Html:
    both = bool(measures.attention and measures.units)
    drawing = Drawing(300 if both else 200, rows=2 if both else 1)
    panes = iter(drawing.panes)
    if measures.attention:
        pane = next(panes)
        dots = [
            (place, entropy, f"{each.module}, {words('head')} {head}: {number(entropy)}")
            for place, each in enumerate(measures.attention, start=1)
            for head, entropy in enumerate(each.entropies)
        ]
        colors = [COLOR["error"] if entropy < _ENTROPY else COLOR["accent"] for _, entropy, _ in dots]
        marks = pane.scatter(
            [dot[0] for dot in dots],
            [dot[1] for dot in dots],
            s=14,
            c=colors,
            alpha=0.7,
            linewidths=0,
            clip_on=False,
        )
        drawing.tips(marks, "heads", [dot[2] for dot in dots])
        _shares(pane, _ENTROPY)
        drawing.labels(pane, words("layer"), words("entropy"))
    if measures.units:
        pane = next(panes)
        shares = [each.share for each in measures.units]
        colors = [COLOR["error"] if share > _SHARE else COLOR["bar"] for share in shares]
        places = range(1, len(shares) + 1)
        bars = pane.vlines(places, 0, shares, colors=colors, linewidth=max(1.5, min(9, 240 / len(shares))))
        tips = [f"{each.module}: {words(each.kind)} {number(each.share)}" for each in measures.units]
        drawing.tips(bars, "units", tips)
        # A share of none has no height, and is seen all the same.
        pane.scatter(places, shares, s=12, c=colors, linewidths=0, clip_on=False, zorder=3)
        _shares(pane, _SHARE)
        pane.set_xlim(0.4, len(shares) + 0.6)
        drawing.labels(pane, words("layer"), words("share"))
    return drawing.svg("attention", said)


def _shares(pane: Any, limit: float) -> None:
    pane.set_ylim(0, 1.05)
    pane.set_yticks([0, 0.5, 1])
    pane.axhline(limit, color=COLOR["error"], linewidth=1, linestyle="--")
    pane.grid(axis="y", color=COLOR["line"], linewidth=0.6)
    pane.set_axisbelow(True)


def _probe(diagnosis: Diagnosis, words: Wording) -> Html:
    measures = diagnosis.measures
    runs = measures.probe
    said = words("probe said", optimizer=diagnosis.optimizer)
    lines = {
        words(key): measures.numbers[name]
        for key, name in (("uniform guess", "log_classes"), ("label entropy", "label_entropy"))
        if name in measures.numbers
    }
    styles = (("muted", ":", " 1 2"), ("accent", "-", ""), ("theory", "--", " 4 2"))

    def draw() -> Html:
        drawing = Drawing(230)
        pane = drawing.panes[0]
        finite = [each for run in runs for each in run.losses if math.isfinite(each)]
        start = next(iter(finite), 1.0)
        # What diverges must not flatten the rest.
        top = min(max([*finite, *lines.values(), start], default=1.0), 1.5 * max(start, *lines.values(), 0.1))
        for run, (color, dashes, _) in zip(runs, styles * len(runs), strict=False):
            losses = [min(each, top) if math.isfinite(each) else top for each in run.losses]
            steps = range(len(losses))
            pane.plot(steps, losses, color=COLOR[color], linestyle=dashes, linewidth=1.4)
            dots = pane.scatter(
                steps, losses, s=10, color=COLOR[color], linewidths=0, clip_on=False, zorder=3
            )
            drawing.tips(dots, f"run-{run.lr:g}", [f"lr {run.lr:.3g}: {number(each)}" for each in run.losses])
        for (_, height), (color, dashes) in zip(lines.items(), _LEVELS, strict=False):
            pane.axhline(height, color=COLOR[color], linewidth=1, linestyle=dashes)
        pane.grid(axis="y", color=COLOR["line"], linewidth=0.6)
        pane.set_axisbelow(True)
        drawing.labels(pane, words("step"), words("the loss"))
        return drawing.svg("probe", said)

    longest = max(len(run.losses) for run in runs)
    titles = [words("step"), *(f"lr {run.lr:.3g}" for run in runs)]
    rows = [
        (str(step), *(number(run.losses[step]) if step < len(run.losses) else "" for run in runs))
        for step in range(longest)
    ]
    table = plain_table(titles, rows, numbers=len(runs))
    looks = {
        f"s-{color}{dashes}": f"lr {run.lr:.3g}"
        for run, (color, _, dashes) in zip(runs, styles, strict=False)
    }
    levels = [f"{name} = {number(height)}" for name, height in lines.items()]
    looks |= dict(zip(("s-good", "s-warning 6 2 1 2"), levels, strict=False))
    return framed(words("probe"), said, _drawn(draw), table, words, legend(looks))
