"""The page of two initializations side by side: the better one, every draw's losses, findings of both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from initcfg._diagnose.report.cards import cards, ordered, place_of, title_of, verdict
from initcfg._diagnose.report.localized import both_localized
from initcfg._diagnose.report.paired import ends, pictures_of_both, sides
from initcfg._diagnose.report.wording import WORDS
from initcfg._plan.report.html import (
    Html,
    Wording,
    can_draw,
    element,
    facts,
    law_cell,
    name_of,
    number,
    search_box,
    short_table,
    together,
    whole_page,
    wide_table,
    written,
)

if TYPE_CHECKING:
    from initcfg._diagnose.comparison import DiagnosisComparison
    from initcfg._diagnose.facts import Diagnosis, Finding, TensorMeasure

_TITLES = ("", "", "code", "where", "measured", "limit", "rule", "fix")


def comparison_page(found: DiagnosisComparison, path: str | Path | None = None, lang: str = "en") -> str:
    """A whole page for two initializations side by side."""
    words = Wording(lang, WORDS)
    found = both_localized(found, lang)
    missing = None if can_draw() else element("p", words("no pictures"), class_="muted")
    parts = [
        element("p", words("side by side"), class_="muted"),
        element("h1", told(found, words), class_=None if found.verdict == "noise" else "good"),
        element("p", chance_told(found, words)),
        _facts(found, words),
        element(
            "section",
            element("h2", words("losses")),
            missing,
            element("div", *pictures_of_both(found, words), class_="pictures"),
        ),
        element("section", element("h2", words("findings")), _findings(found, words)),
        *(
            element("section", element("h2", name), element("p", verdict(each, words), class_=_level(each)),
                    cards(each, words))
            for name, each in sides(found)
        ),
        element("section", element("h2", words("tensors")), _tensors(found, words)),
    ]  # fmt: skip
    return written(whole_page(words("side by side"), *parts, words=words), path)


def comparison_short(found: DiagnosisComparison) -> str:
    """A short form for notebooks."""
    words = Wording("en", WORDS)
    lines = [
        (
            name,
            each.level,
            f"{each.code}: {title_of(each, words)}",
            each.where,
            number(each.measured),
            number(each.threshold),
            " ".join(filter(None, (each.rule, each.source))),
            each.fix,
        )
        for name, side in sides(found)
        for each in ordered(side.findings)
    ]
    head = together(
        (element("div", element("b", told(found, words))), element("div", chance_told(found, words)))
    )
    return together((head, short_table(_TITLES, lines) if lines else None))


def _level(diagnosis: Diagnosis) -> str:
    return "error" if diagnosis.errors else "warning" if diagnosis.warnings else "good"


def told(found: DiagnosisComparison, words: Wording) -> str:
    """Which is better, with the losses that tell it."""
    (a, _), (b, _) = sides(found)
    losses = {"a": a, "b": b, "x": number(ends(found.losses_here)), "y": number(ends(found.losses_there))}
    if found.verdict == "noise":
        return words("noise", **losses)
    return words("better", better=a if found.verdict == "here" else b, **losses)


def chance_told(found: DiagnosisComparison, words: Wording) -> str:
    """What the rank test says."""
    said = words("by ranks", n=len(found.losses_here), chance=f"{found.chance:.1%}")
    return said if found.enough else f"{said}{words('gap')}{words('too few draws')}"


def _facts(found: DiagnosisComparison, words: Wording) -> Html:
    here = found.here
    lr = f"{here.lr:g}"
    starts = [number(each.measures.numbers.get("loss")) for _, each in sides(found)]
    return facts(
        {
            words("loss"): " / ".join(starts),
            words("after steps"): f"{number(ends(found.losses_here))} / {number(ends(found.losses_there))}",
            words("batch"): here.batch,
            words("optimizer"): here.optimizer,
            words("lr"): lr if here.lr_given else words("lr assumed", lr=lr),
            words("steps"): str(here.steps),
            words("draws"): str(len(found.losses_here)),
            words("dtype"): here.dtype,
        }
    )


def _findings(found: DiagnosisComparison, words: Wording) -> Html:
    """What was found in either, each with what it is on both sides."""
    (_, here), (_, there) = sides(found)
    names = [name for name, _ in sides(found)]
    both = [ordered(each.findings) for each in (here, there)]
    codes = dict.fromkeys(each.code for each in ordered([*both[0], *both[1]]))
    if not codes:
        return element("p", words("no findings"), class_="good")
    titles = {"w-tensor": words("finding"), "w-a": names[0], "w-b": names[1]}
    body = []
    for code in codes:
        of_code = [[each for each in side if each.code == code] for side in both]
        first = next(each for side in of_code for each in side)
        small = element("small", element("br"), element("code", code), class_="muted")
        head = element("th", title_of(first, words), small, scope="row", role="rowheader")
        cells = [
            element("td", _finding_cell(side, words), data_label=name, role="cell")
            for name, side in zip(names, of_code, strict=True)
        ]
        body.append(element("tr", head, *cells, role="row"))
    return wide_table("both", titles, body)


def _finding_cell(side: list[Finding], words: Wording) -> Html | str:
    if not side:
        return "–"
    each = side[0]
    place = name_of(place_of(each))
    more = words("and {n} further places", n=each.more) if each.more else None
    small = together((place, " " if more else None, more))
    return together(
        (
            element("b", words(each.level), class_=each.level),
            f" {number(each.measured)}" if each.measured is not None else None,
            element("small", element("br"), small, class_="muted"),
        )
    )


def _tensors(found: DiagnosisComparison, words: Wording) -> Html:
    """Every tensor of either, with what both give it."""
    names = [name for name, _ in sides(found)]
    both = [{each.name: each for each in side.measures.tensors} for _, side in sides(found)]
    titles = {"w-tensor": words("tensor"), "w-a": names[0], "w-b": names[1]}
    body = []
    for name in dict.fromkeys([*both[0], *both[1]]):
        pair = [side.get(name) for side in both]
        # Both over one range, so that the wider one looks wider.
        edges = [each.edges for each in pair if each is not None]
        over = min(low for low, _ in edges), max(high for _, high in edges)
        cells = [
            element("td", _tensor_cell(each, over, words), data_label=label, role="cell")
            for label, each in zip(names, pair, strict=True)
        ]
        head = element("th", name_of(name), scope="row", class_="n", role="rowheader")
        body.append(element("tr", head, *cells, role="row"))
    return together((search_box("tensors", words), wide_table("tensors", titles, body)))


def _tensor_cell(each: TensorMeasure | None, over: tuple[float, float], words: Wording) -> Html | str:
    if each is None:
        return "–"
    rule = " ".join(filter(None, (each.rule, f"({each.source})" if each.source else None)))
    size = f"{words('rms')} {number(each.weight_rms)}"
    measured = (each.edges, each.histogram) if each.histogram else None
    return together(
        (
            each.value or size,
            element("small", element("br"), size, class_="muted") if each.value else None,
            element("small", element("br"), name_of(rule), class_="muted") if rule else None,
            law_cell((), words, measured, over),
        )
    )
