"""Findings as cards: what it is, a ruler with the number, why it matters, the rule, and what mends it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from initcfg._diagnose.mend_text import mend_text
from initcfg._diagnose.report.wording import CODES
from initcfg._plan.report.html import Html, Wording, element, is_chinese, name_of, number, together

if TYPE_CHECKING:
    from initcfg._diagnose.facts import Diagnosis, Finding

LEVELS = ("error", "warning", "info")
_LEFT, _RIGHT = 20.0, 380.0
_LONGEST = 100


def verdict(diagnosis: Diagnosis, words: Wording) -> str:
    """The outcome in a line: how many of what, the first of them, and its cause."""
    counted = (("{n} errors", diagnosis.errors), ("{n} warnings", diagnosis.warnings))
    counts = words("and").join(words(key, n=len(found)) for key, found in counted if found)
    worst = next(iter(ordered(diagnosis.findings)), None)
    if worst is None or not counts:
        return words("nothing wrong")
    first = title_of(worst, words)
    if worst.measured is not None and worst.threshold is not None:
        numbers = {"measured": number(worst.measured), "limit": number(worst.threshold)}
        first = words("with numbers", title=first, **numbers)
    said = words("verdict", counts=counts, first=words("and").join((first, _short(place_of(worst)))))
    if worst.value is None:
        return said
    what = " ".join(_short(each) for each in (*worst.tensors[:1], worst.value))
    rule = " ".join(filter(None, (worst.rule, f"({worst.source})" if worst.source else None)))
    cause = words("cause", value=what, rule=_short(rule)) if rule else words("cause value", value=what)
    return words("then", first=said, second=cause)


def place_of(finding: Finding) -> str:
    """Where it is: a module, a tensor, or what else there is."""
    return finding.where or "the model"


def _short(text: str) -> str:
    """A name that a line has room for."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """The worst first."""
    return sorted(findings, key=lambda each: LEVELS.index(each.level))


def title_of(finding: Finding, words: Wording) -> str:
    """What a code is called."""
    said = CODES.get(finding.code)
    return finding.code if said is None else said.title[words.lang == "zh"]


def cards(diagnosis: Diagnosis, words: Wording) -> Html:
    """A card for each finding, the worst first."""
    if not diagnosis.findings:
        return element("p", words("no findings"), class_="good")
    return element(
        "ul", *(_card(each, diagnosis, words) for each in ordered(diagnosis.findings)), class_="cards"
    )


def _card(finding: Finding, diagnosis: Diagnosis, words: Wording) -> Html:
    more = words("and {n} further places", n=finding.more) if finding.more else None
    place = together((element("span", name_of(place_of(finding)), class_="n"), " ", more))
    parts = [
        element("p", f"{words(finding.level)} · ", element("code", finding.code), class_="tag"),
        element("h3", title_of(finding, words)),
        element("p", place, class_="muted"),
        _said("p", finding.text, words),
        ruler(finding, words),
        _titled("why it matters", finding.why, words),
        _rule(finding, words),
        _titled("what mends it", finding.fix, words),
        _mend(finding, diagnosis, words),
    ]
    return element("li", *parts, class_=f"card {finding.level}")


def _said(name: str, text: str, words: Wording) -> Html:
    """A sentence; what has no Chinese one is of another version, and said to be English."""
    english = words.lang != "en" and not is_chinese(text)
    return element(name, text, lang="en" if english else None)


def _titled(title: str, text: str, words: Wording) -> Html | None:
    if not text:
        return None
    return element("p", element("b", words("title:", title=words(title))), _said("span", text, words))


def _rule(finding: Finding, words: Wording) -> Html | None:
    if finding.rule is None and finding.value is None:
        return None
    tensor = finding.tensors[0] if finding.tensors else ""
    given = words("gives {tensor} {value}", tensor=tensor, value=finding.value or "")
    source = f" ({finding.source})" if finding.source else ""
    rule = element("code", name_of(finding.rule)) if finding.rule else None
    said = together((rule, source, " ", given))
    return element("p", element("b", words("title:", title=words("given by"))), said)


def _mend(finding: Finding, diagnosis: Diagnosis, words: Wording) -> Html | None:
    if not finding.mend:
        return None
    line = mend_text(finding, diagnosis)
    said = words("at this rate" if "lr" in finding.mend else "append")
    return together((element("p", said, class_="muted"), element("pre", element("code", line))))


def ruler(finding: Finding, words: Wording) -> Html | None:
    """The number on a line, beside its limit and the range of healthy models."""
    if finding.measured is None:
        return None
    measured, limit, healthy = finding.measured, finding.threshold, finding.healthy or ()
    known = [each for each in (measured, limit, *healthy) if each is not None and math.isfinite(each)]
    place = _scale(known)
    said = CODES.get(finding.code)
    what = finding.code if said is None else said.number[words.lang == "zh"]
    label = words("ruler", what=what, measured=number(measured), limit=number(limit))
    line = f'<line x1="{_LEFT:g}" x2="{_RIGHT:g}" y1="26" y2="26" class="s-muted"/>'
    marks = [Html(line)]
    if healthy and all(map(math.isfinite, healthy)):
        a, b = (place(each) for each in healthy)
        box = (
            f'<rect x="{a:.1f}" y="20" width="{max(b - a, 2):.1f}" height="12" rx="3" class="f-band s-good"/>'
        )
        marks.append(Html(box))
        label += "; " + words("healthy range", a=number(healthy[0]), b=number(healthy[1]))
    if limit is not None and math.isfinite(limit):
        x = place(limit)
        marks.append(Html(f'<path d="M{x:.1f} 16v20" stroke-width="2" class="s-muted"/>'))
        marks.append(_text(x, 47, f"{words('limit')} {number(limit)}", "f-muted"))
    x = place(measured)
    color = finding.level
    marks.append(Html(f'<circle cx="{x:.1f}" cy="26" r="5" class="f-{color}"/>'))
    marks.append(_text(x, 12, number(measured), f"f-{color}", bold=True))
    picture = element("svg", *marks, class_="ruler", viewBox="0 0 400 52", role="img", aria_label=label)
    told = [element("small", what, class_="muted")]
    if healthy:
        a, b = map(number, healthy)
        told += [element("small", f" · {words('healthy range', a=a, b=b)}", class_="good")]
    return element("div", picture, *told)


def _scale(known: Sequence[float]):
    """From numbers to places: by their logarithms where they are far apart."""
    positive = [each for each in known if each > 0]
    small = min(positive, default=1.0)
    far = bool(positive) and all(each >= 0 for each in known) and max(positive) > 20 * small

    def shown(x: float) -> float:
        if not far:
            return x
        return math.log10(max(x, small / 10))

    ends = [shown(each) for each in known] or [0.0]
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - 1, high + 1
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin

    def place(x: float) -> float:
        if math.isnan(x) or x == math.inf:
            return _RIGHT
        if x == -math.inf:
            return _LEFT
        return _LEFT + (shown(x) - low) / (high - low) * (_RIGHT - _LEFT)

    return place


def _text(x: float, y: float, text: str, class_: str, *, bold: bool = False) -> Html:
    anchor = "start" if x < 90 else "end" if x > 310 else "middle"
    x = max(x - 8, 2) if anchor == "start" else min(x + 8, 398) if anchor == "end" else x
    weight = "600" if bold else None
    return element(
        "text", text, x=f"{x:.1f}", y=y, text_anchor=anchor, font_size="12", font_weight=weight, class_=class_
    )
