"""Small histograms beside a name: bars for the weights, a line for what the value says."""

from __future__ import annotations

from collections.abc import Sequence

from initcfg._plan.report.html.densities import BINS, Law, edges_of, histogram
from initcfg._plan.report.html.elements import Html, element
from initcfg._plan.report.html.wording import Wording

_HEIGHT = 20

Measured = tuple[tuple[float, float], Sequence[int]]
"""The ends of a histogram of weights, and the number in each bin."""


def law_cell(
    found: Sequence[Law],
    words: Wording,
    measured: Measured | None = None,
    ends: tuple[float, float] | None = None,
) -> Html | None:
    """The histogram of a tensor: from the weights, from theory, or both over each other.

    ``ends`` are those of another one that it is compared with.
    """
    if not found and measured is None:
        return None
    low, high = measured[0] if measured is not None else ends or edges_of(found)
    if not low < high:
        low, high = low - (abs(low) or 1.0), high + (abs(high) or 1.0)
    shapes = []
    said = words("from {a} to {b}", a=number(low), b=number(high))
    if measured is not None and sum(measured[1]):
        total = sum(measured[1])
        shapes.append((tuple(each / total for each in measured[1]), "f-bar"))
    theory = histogram(found, low, high, len(measured[1]) if measured is not None else BINS) if found else ()
    if any(theory):
        shapes.append((theory, "s-theory" if shapes else "f-theory s-theory thin"))
    top = max((max(shares) for shares, _ in shapes), default=0.0)
    if not top:
        return None
    drawn = [_path(shares, top, kind) for shares, kind in shapes]
    of = words("weights and theory" if len(shapes) > 1 else "weights" if measured is not None else "theory")
    picture = element(
        "svg",
        *drawn,
        class_="h",
        viewBox=f"0 0 {2 * len(shapes[0][0])} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=words("histogram ({of}), {said}", of=of, said=said),
    )
    ends_shown = (element("span", number(end)) for end in (low, high))
    return element("div", picture, element("small", *ends_shown), class_="law")


def _path(shares: Sequence[float], top: float, kind: str) -> Html:
    """Steps from bin to bin; a bin with anything in it is seen."""
    heights = [0 if not share else max(1, round(share / top * _HEIGHT)) for share in shares]
    path, before = f"M0 {_HEIGHT}", 0
    for height in heights:
        path += (f"V{_HEIGHT - height}" if height != before else "") + "h2"
        before = height
    if kind.startswith("f"):
        return element("path", d=f"{path}V{_HEIGHT}z", class_=kind)
    return element(
        "path", d=path, class_=kind, fill="none", stroke_width="1.5", vector_effect="non-scaling-stroke"
    )


def number(item: float | None) -> str:
    """A number in a few digits.

    Example:
        >>> from initcfg._plan.report.html.bars import number
        >>> number(-0.0833333), number(123456.0), number(float("nan"))
        ('−0.0833', '1.23e5', 'nan')
    """
    if item is None:
        return "–"
    text = f"{item:.3g}"
    mantissa, e, exponent = text.partition("e")
    return (mantissa + (f"e{int(exponent)}" if e else "")).replace("-", "−")
