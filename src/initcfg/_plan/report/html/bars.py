"""Small histograms beside a name: bars for the weights, a line for what the value says."""

from __future__ import annotations

import math
from collections.abc import Sequence

from initcfg._plan.report.html.densities import BINS, Law, edges_of, histogram
from initcfg._plan.report.html.elements import Html, element
from initcfg._plan.report.html.wording import Wording

_HEIGHT = 20
# How far apart numbers are that are the same in float32, and one that was rounded to bfloat16.
_LAST_BIT, _ROUNDED = 1e-6, 4e-3

Measured = tuple[tuple[float, float], Sequence[int]]
"""The ends of a histogram of weights, and the number in each bin."""


def law_cell(
    found: Sequence[Law],
    words: Wording,
    measured: Measured | None = None,
    ends: tuple[float, float] | None = None,
) -> Html | None:
    """The histogram of a tensor: from the weights, from theory, or both over each other.

    ``ends`` are those of it and another one that it is compared with.
    """
    if measured is not None and not sum(measured[1]):
        measured = None
    if not found and measured is None:
        return None
    low, high, bins = _axis(found, measured, ends)
    shapes = []
    said = words("from {a} to {b}", a=number(low), b=number(high))
    if measured is not None:
        shapes.append((_spread(measured, low, high, bins), "f-bar"))
    theory = histogram(found, low, high, bins) if found else ()
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


def _axis(
    found: Sequence[Law], measured: Measured | None, ends: tuple[float, float] | None
) -> tuple[float, float, int]:
    """From where to where the picture goes, and in how many bins.

    Around a single number they are odd, so that it stands in the middle of one: rounding must not move the
    weights and the theory apart.
    """
    low, high = ends or (measured[0] if measured is not None else edges_of(found))
    if _one_number(low, high, _LAST_BIT) and found:
        # Of weights that are all the same, the value may say something else: that must be seen.
        wide = min(low, *(law.low for law in found)), max(high, *(law.high for law in found))
        if not _one_number(*wide, _ROUNDED):
            return *wide, BINS
    if _one_number(low, high, _LAST_BIT):
        return low - (abs(low) or 1.0), high + (abs(high) or 1.0), BINS + 1
    return low, high, BINS


def _one_number(low: float, high: float, near: float) -> bool:
    return high - low <= near * max(abs(low), abs(high))


def _spread(measured: Measured, low: float, high: float, bins: int) -> tuple[float, ...]:
    """The share of the weights in each bin of the picture, whose ends may be other than their own."""
    (start, end), counts = measured
    total, width, shares = sum(counts), (high - low) / bins, [0.0] * bins
    if (start, end, len(counts)) == (low, high, bins):
        return tuple(each / total for each in counts)
    if _one_number(start, end, _LAST_BIT):
        shares[_bin(start, low, width, bins)] = 1.0
        return tuple(shares)
    step = (end - start) / len(counts)
    for place, count in enumerate(counts):
        left, right = start + place * step, start + (place + 1) * step
        for each in range(_bin(left, low, width, bins), _bin(right, low, width, bins) + 1):
            common = min(right, low + (each + 1) * width) - max(left, low + each * width)
            shares[each] += count / total * max(common, 0.0) / step
    return tuple(shares)


def _bin(place: float, low: float, width: float, bins: int) -> int:
    return min(max(math.floor((place - low) / width), 0), bins - 1)


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
