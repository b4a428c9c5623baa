"""The page of a diagnosis: the verdict, the findings, the pictures, and every tensor of the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from initcfg._diagnose.report.cards import cards, ordered, title_of, verdict
from initcfg._diagnose.report.localized import localized
from initcfg._diagnose.report.pictures import pictures
from initcfg._diagnose.report.wording import WORDS
from initcfg._plan.report.html import (
    Html,
    TensorRow,
    Wording,
    can_draw,
    element,
    facts,
    number,
    plain_table,
    plan_tensors,
    short_table,
    tensor_table,
    together,
    whole_page,
    written,
)
from initcfg.values import Keep

if TYPE_CHECKING:
    from initcfg._diagnose.facts import Diagnosis, TensorMeasure

_MINUTES_FROM = 120
_TITLES = ("", "code", "where", "measured", "limit", "rule", "fix")


def diagnosis_page(diagnosis: Diagnosis, path: str | Path | None = None, lang: str = "en") -> str:
    """A whole page for a diagnosis."""
    words = Wording(lang, WORDS)
    diagnosis = localized(diagnosis, lang)
    title = words("diagnosis")
    level = "error" if diagnosis.errors else "warning" if diagnosis.warnings else "good"
    drawn = pictures(diagnosis, words)
    missing = None if can_draw() or not drawn else element("p", words("no pictures"), class_="muted")
    parts = [
        element("p", title, class_="muted"),
        element("h1", verdict(diagnosis, words), class_=level),
        diagnosis_facts(diagnosis, words),
        element("section", element("h2", words("findings")), cards(diagnosis, words)),
        element(
            "section", element("h2", words("pictures")), missing, element("div", *drawn, class_="pictures")
        )
        if drawn
        else None,
        element("p", words("trained"), class_="muted") if diagnosis.measures.probe else None,
        _tensors(diagnosis, words),
        _numbers(diagnosis, words),
    ]
    return written(whole_page(title, *parts, words=words), path)


def diagnosis_facts(diagnosis: Diagnosis, words: Wording) -> Html:
    """What was diagnosed, and how."""
    numbers = diagnosis.measures.numbers
    lr = f"{diagnosis.lr:g}"
    said: dict[str, object] = {
        words("loss"): number(numbers["loss"]) if "loss" in numbers else None,
        words("log classes"): number(numbers["log_classes"]) if "log_classes" in numbers else None,
        words("batch"): diagnosis.batch,
        words("the loss"): diagnosis.loss,
        words("optimizer"): diagnosis.optimizer,
        words("lr"): lr if diagnosis.lr_given else words("lr assumed", lr=lr),
        words("steps"): str(diagnosis.steps),
        words("dtype"): diagnosis.dtype,
        words("seed"): str(diagnosis.seed),
        words("seconds"): duration(diagnosis.seconds, words),
    }
    if diagnosis.plan is not None:
        said[words("digest")] = element("code", diagnosis.plan.digest[:16])
    return facts(said)


def duration(seconds: float, words: Wording) -> str:
    """Seconds, or minutes where there are many."""
    if seconds < _MINUTES_FROM:
        return words("{n} s", n=f"{seconds:.3g}")
    return words("{n} min", n=f"{seconds / 60:.3g}" if seconds < 6000 else f"{seconds / 60:,.0f}")


def _tensors(diagnosis: Diagnosis, words: Wording) -> Html | None:
    """Every tensor of the plan, or of the model where there is none."""
    tensors = diagnosis.measures.tensors
    measured = {each.name: (each.edges, each.histogram) for each in tensors if each.histogram}
    if diagnosis.plan is not None:
        return plan_tensors(diagnosis.plan, words, measured)
    if not tensors:
        return None
    rows = [_row(each) for each in tensors]
    return element("section", element("h2", words("tensors")), tensor_table(rows, words))


def _row(each: TensorMeasure) -> TensorRow:
    measured = (each.edges, each.histogram) if each.histogram else None
    return TensorRow(
        each.name,
        each.shape,
        "",
        Keep(),
        each.rule or "",
        each.source,
        measured=measured,
        text=each.value or "",
    )


def _numbers(diagnosis: Diagnosis, words: Wording) -> Html | None:
    found = diagnosis.measures.numbers
    if not found:
        return None
    table = plain_table(
        [words("number"), ""], [(name, number(item)) for name, item in found.items()], numbers=1
    )
    return element("details", element("summary", words("all numbers")), table)


def diagnosis_short(diagnosis: Diagnosis) -> str:
    """A short form for notebooks."""
    words = Wording("en", WORDS)
    lines = [
        (
            each.level,
            f"{each.code}: {title_of(each, words)}",
            each.where,
            number(each.measured),
            number(each.threshold),
            " ".join(filter(None, (each.rule, each.source))),
            each.fix,
        )
        for each in ordered(diagnosis.findings)
    ]
    head = element("div", element("b", verdict(diagnosis, words)))
    return together((head, short_table(_TITLES, lines) if lines else None))
