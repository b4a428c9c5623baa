"""The size of the first step beside that of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import Evidence
from initcfg._diagnose.facts import Finding
from initcfg._diagnose.sentences import say


def check_updates(evidence: Evidence) -> Iterator[Finding]:
    """Steps that erase an initialization, or do not move it."""
    known = {name: each.update for name, each in evidence.tensors.items() if each.update is not None}
    if not known:
        return
    top, middle = max(known, key=lambda name: known[name]), median(known.values())
    evidence.numbers |= {"update_largest": known[top], "update_median": middle}
    high = CHECKS["update-too-large"].threshold or 0
    beyond = [name for name, update in known.items() if update > high]
    if beyond:
        said = say("step beside the weights", lr=f"{evidence.lr:g}", ratio=f"{known[top]:.2g}")
        yield evidence.finding(
            "update-too-large", top, said, measured=known[top], tensors=(top,), more=len(beyond) - 1
        )
    if middle < (CHECKS["update-too-small"].threshold or 0):
        said = say("median step", lr=f"{evidence.lr:g}", ratio=f"{middle:.1e}")
        yield evidence.finding("update-too-small", "", said, measured=middle)
