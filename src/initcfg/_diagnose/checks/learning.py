"""Whether parameters have gradients, and whether the loss falls."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import Evidence
from initcfg._diagnose.facts import Finding
from initcfg._diagnose.sentences import say

_LAST = 3


def check_parameters(evidence: Evidence) -> Iterator[Finding]:
    """Parameters that are not used, that have no gradient, or that have one later."""
    if not math.isfinite(evidence.seen.loss):
        return
    trained = [each for each in evidence.tensors.values() if each.trained]
    unused = tuple(each.name for each in trained if not each.used)
    if unused:
        yield evidence.finding(
            "unused-parameter",
            unused[0],
            say("not in the loss", n=f"{len(unused):,}"),
            measured=len(unused),
            tensors=unused,
            more=len(unused) - 1,
        )
    if evidence.alive is None:
        return
    zero = [each.name for each in trained if each.used and each.zero_gradient]
    dead = tuple(name for name in zero if name not in evidence.alive)
    if dead:
        yield evidence.finding(
            "dead-parameter",
            dead[0],
            say("gradient is zero", n=f"{len(dead):,}"),
            measured=len(dead),
            tensors=_to_blame(evidence, dead),
            more=len(dead) - 1,
        )
    later = tuple(name for name in zero if name in evidence.alive)
    if later:
        said = say("gradient comes later", n=f"{len(later):,}")
        yield evidence.finding(
            "starts-later", later[0], said, measured=len(later), tensors=later, more=len(later) - 1
        )


def _to_blame(evidence: Evidence, dead: tuple[str, ...]) -> tuple[str, ...]:
    """The weights of a layer whose units are all dead; else what is zero itself."""
    units = [each.layer for each in evidence.seen.units if each.kind == "relu" and each.share == 1]
    own = [name for layer in units[:1] for name in evidence.weights_of(layer) if name in dead]
    return (*own, *(name for name in _zeros_first(evidence, dead) if name not in own))


def _zeros_first(evidence: Evidence, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are zero themselves: what they are multiplied with has no gradient for that."""
    zeros = [name for name in names if evidence.tensors[name].rms == 0]
    return (*zeros, *(name for name in names if name not in zeros))


def check_probe(evidence: Evidence) -> Iterator[Finding]:
    """The loss over a few steps on the one batch."""
    run = next((each for each in evidence.probe if each.lr == evidence.lr), None)
    if run is None or not run.losses or not math.isfinite(run.losses[0]):
        return
    first, last, steps = run.losses[0], run.losses[-1], len(run.losses) - 1
    went = say("loss went", lr=f"{run.lr:g}", first=f"{first:.4g}", last=f"{last:.4g}", n=f"{steps:,}")
    evidence.numbers["probe_last"] = last
    if not math.isfinite(last):
        yield evidence.finding("probe-diverges", "", went, measured=last, level="error")
        return
    if steps < 1:
        return
    limit = CHECKS["probe-diverges"].threshold or 1
    # A loss that is nearly 0 at the start grows by any step.
    if min(run.losses[-_LAST:]) > max(first * limit, first + 0.01):
        yield evidence.finding("probe-diverges", "", went, measured=last / first if first else math.inf)
        return
    guess = evidence.numbers.get("log_classes", 1.0)
    least = (CHECKS["probe-stalls"].threshold or 0) * max(1.0, guess)
    fall = first - min(run.losses)
    if fall < least:
        # A loss that falls each time is slow, and not at rest: a small factor on the logits does that.
        slow = fall > least / 20 and all(b <= a for a, b in zip(run.losses, run.losses[1:], strict=False))
        yield evidence.finding(
            "probe-stalls",
            "",
            went,
            *([say("falls slowly")] if slow else []),
            measured=fall,
            threshold=least,
            level="info" if slow else None,
        )
