"""A diagnosis in the language of its page: its English sentences in Chinese; names stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from initcfg._diagnose.report.wording import CODES, LOSSES, PLACES, SIDES
from initcfg._diagnose.sentences import PHRASES, told
from initcfg._plan.report.html import value_text

if TYPE_CHECKING:
    from initcfg._diagnose.comparison import DiagnosisComparison
    from initcfg._diagnose.facts import Diagnosis, Finding, TensorMeasure

Item = TypeVar("Item", "Finding", "TensorMeasure")


def localized(diagnosis: Diagnosis, lang: str) -> Diagnosis:
    """The same diagnosis, for a page in this language."""
    if lang == "en":
        return diagnosis
    measures = diagnosis.measures
    tensors = tuple(_with_origin(each, lang) for each in measures.tensors)
    return replace(
        diagnosis,
        findings=tuple(_finding(each, lang) for each in diagnosis.findings),
        measures=replace(measures, tensors=tensors),
        batch=_phrase(diagnosis.batch, lang),
        loss=LOSSES.get(diagnosis.loss, diagnosis.loss),
    )


def both_localized(found: DiagnosisComparison, lang: str) -> DiagnosisComparison:
    """The same two, for a page in this language."""
    if lang == "en":
        return found
    names = (SIDES.get(found.names[0], found.names[0]), SIDES.get(found.names[1], found.names[1]))
    return replace(found, names=names, here=localized(found.here, lang), there=localized(found.there, lang))


def _finding(finding: Finding, lang: str) -> Finding:
    """What is of a newer version, or of one before its sentences had keys, stays as it is."""
    code = CODES.get(finding.code)
    remedy = told([finding.remedy], lang) if finding.remedy is not None else code.fix if code else None
    return replace(
        _with_origin(finding, lang),
        where=PLACES.get(finding.where or "the model", finding.where),
        text=(told(finding.said, lang) if finding.said else None) or finding.text,
        why=code.why if code else finding.why,
        fix=remedy or finding.fix,
    )


def _with_origin(item: Item, lang: str) -> Item:
    """What a rule gave, and the rule: with what is said between their names."""
    value = None if item.value is None else _phrase(item.value, lang)
    return replace(item, rule=None if item.rule is None else _phrase(item.rule, lang), value=value)


def _phrase(text: str, lang: str) -> str:
    read = PHRASES.read(text)
    if read is None:
        return value_text(text, lang)
    key, given = read
    return PHRASES.written(key, {name: value_text(item, lang) for name, item in given.items()}, lang)
