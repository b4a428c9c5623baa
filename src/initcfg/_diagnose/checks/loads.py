"""Checkpoints that the model's own code loads, and that it hardly takes anything from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from initcfg._diagnose.checks.evidence import Evidence
from initcfg._diagnose.facts import Finding
from initcfg._diagnose.sentences import Sentence, say
from initcfg._record import PartialLoad, partial_loads


def check_loads(evidence: Evidence) -> Iterator[Finding]:
    """A load with ``strict=False`` says nothing when no name fits."""
    for each in partial_loads(evidence.notes):
        finding = evidence.finding(
            "not-loaded",
            "",
            _said(each),
            measured=each.loaded / each.given,
            level="info" if each.loaded else "warning",
        )
        yield replace(finding, source=each.place)


def _said(load: PartialLoad) -> Sentence:
    given = {name: getattr(load, name) for name in ("place", "loaded", "given", "code", "kind", "stranger")}
    if load.lacking is None:
        return say("loads few", **given)
    return say("loads few of other names", **given, lacking=load.lacking)
