"""Units and heads: dead, saturated, sharp, alike."""

from __future__ import annotations

import re
from collections.abc import Iterator

from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import Evidence
from initcfg._diagnose.facts import Finding
from initcfg._diagnose.measuring import Seen
from initcfg._diagnose.sentences import say

_SCORES = re.compile(
    r"(^|[._])(q|k|query|key|qk|qkv|kv|in)([._]|_?proj|$)|attn|attention|Wqkv", re.IGNORECASE
)
_NO_SCORES = re.compile(r"(^|[._])(v|value|o|out|c_proj|proj|dense)(_proj|_lin)?$", re.IGNORECASE)


def check_units(evidence: Evidence) -> Iterator[Finding]:
    """Activation functions."""
    for code, kinds in (("dead-relu", ("relu",)), ("saturated", ("tanh", "sigmoid"))):
        limit = CHECKS[code].threshold or 0
        own = [each for each in evidence.seen.units if each.kind in kinds]
        if not own:
            continue
        top = max(own, key=lambda each: each.share)
        evidence.numbers[code.replace("-", "_")] = top.share
        beyond = [each for each in own if each.share > limit]
        if not beyond:
            continue
        share = f"{top.share:.0%}"
        said = (
            say("units are dead", share=share)
            if code == "dead-relu"
            else say("units are saturated", share=share, kind=top.kind)
        )
        tensors = evidence.weights_of(top.layer, biases=True)
        if code == "dead-relu":
            # A bias that is far below zero is what kills them.
            low = [
                each
                for each in tensors
                if len(evidence.tensors[each].shape) == 1 and evidence.tensors[each].mean < -0.5
            ]
            tensors = (*low, *(each for each in tensors if each not in low))
        yield evidence.finding(
            code,
            top.module or top.layer,
            said,
            measured=top.share,
            tensors=tensors,
            more=len(beyond) - 1,
        )


def scoring_layers(seen: Seen) -> set[str]:
    """The layers that make the scores of an attention, alone or with its values."""
    return {
        layer
        for heads in seen.heads
        for layer in heads.layers
        if _SCORES.search(layer) and not _NO_SCORES.search(layer)
    }


def check_attention(evidence: Evidence) -> Iterator[Finding]:
    """The sharpest head."""
    heads = evidence.seen.heads
    if not heads:
        return
    sharpest = min(heads, key=lambda each: min(each.entropies))
    measured = min(sharpest.entropies)
    evidence.numbers["attention_entropy"] = measured
    limit = CHECKS["attention-collapsed"].threshold or 0
    if measured >= limit:
        return
    beyond = [each for each in heads if min(each.entropies) < limit]
    asked = [each for each in sharpest.layers if _SCORES.search(each) and not _NO_SCORES.search(each)]
    tensors = tuple(
        name for each in asked or sharpest.layers or (sharpest.module,) for name in evidence.weights_of(each)
    )
    yield evidence.finding(
        "attention-collapsed",
        sharpest.module,
        say("head looks", share=f"{measured:.2f}"),
        measured=measured,
        tensors=tensors,
        more=len(beyond) - 1,
    )


def check_symmetry(evidence: Evidence) -> Iterator[Finding]:
    """Layers whose rows are equal."""
    limit = CHECKS["symmetric-units"].threshold or 0
    alike = [each for each in evidence.tensors.values() if (each.equal_rows or 0) > limit]
    if alike:
        first = alike[0]
        said = say("rows are equal", share=f"{first.equal_rows:.0%}")
        names = tuple(each.name for each in alike)
        yield evidence.finding(
            "symmetric-units", first.name, said, measured=first.equal_rows, tensors=names, more=len(alike) - 1
        )
