"""Numbers that are not finite, or will not be in half precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import Evidence, most_gain
from initcfg._diagnose.facts import Finding
from initcfg._diagnose.measuring import Broken
from initcfg._diagnose.sentences import Sentence, say

_BF16_STEP = 2.0**-9
_FLOAT16_ENDS = 65504
_MULTIPLIES = {"linear", "@", "conv1d", "conv2d", "conv3d", "bmm", "mm", "addmm", "einsum", "baddbmm"}


def check_finite(evidence: Evidence) -> Iterator[Finding]:
    """Weights, activations, the loss and the gradient."""
    seen = evidence.seen
    broken = [name for name, each in evidence.tensors.items() if not each.finite]
    if broken:
        yield evidence.finding(
            "nonfinite-weight",
            broken[0],
            say("weight holds", tensor=broken[0]),
            tensors=tuple(broken),
            more=len(broken) - 1,
            measured=len(broken),
        )
    began = evidence.broken
    if evidence.bad_batch is not None and not broken and (began is None or began.given):
        # Whatever it reaches is broken for it, and no weight is to blame.
        count = int(evidence.bad_batch.given["n"])
        yield evidence.finding("nonfinite-input", "", evidence.bad_batch, measured=count)
        return
    if seen.broken:
        name, kind = seen.broken[0]
        own = evidence.weights_of(name)
        before = [each for each in seen.layers if math.isfinite(each.rms)]
        to_blame = most_gain([*before, *(each for each in seen.layers if each.name == name)])
        tensors = tuple(broken) or own or (evidence.weights_of(to_blame.name) if to_blame else ())
        said = say("first output", module=name, kind=kind) if name else say("output of the model", kind=kind)
        began_in, fix = (), None
        if not broken and evidence.broken is not None:
            began_in, tensors, fix = _where_it_began(evidence, evidence.broken, tensors)
        yield evidence.finding(
            "nonfinite-activation",
            name,
            said,
            *began_in,
            tensors=tensors,
            more=len(seen.broken) - 1,
            measured=len(seen.broken),
            fix=fix,
        )
    elif not math.isfinite(seen.loss):
        began_in, tensors, fix = (), tuple(broken), None
        if not broken and evidence.broken is not None:
            began_in, tensors, fix = _where_it_began(evidence, evidence.broken, tensors)
        said = say("loss is", loss=seen.loss)
        yield evidence.finding(
            "nonfinite-loss", "", said, *began_in, measured=seen.loss, tensors=tensors, fix=fix
        )
    if math.isfinite(seen.loss) and not math.isfinite(evidence.gradient_norm):
        bad = [
            name
            for name, each in evidence.tensors.items()
            if each.gradient_rms is not None and not math.isfinite(each.gradient_rms)
        ]
        yield evidence.finding(
            "nonfinite-gradient",
            bad[0] if bad else "",
            say("norm is", loss=f"{seen.loss:.4g}", norm=evidence.gradient_norm),
            measured=evidence.gradient_norm,
            more=max(len(bad) - 1, 0),
        )


def _where_it_began(
    evidence: Evidence, began: Broken, tensors: tuple[str, ...]
) -> tuple[tuple[Sentence, ...], tuple[str, ...], Sentence | None]:
    """What is said besides where the function is known that gave the first number that is not finite."""
    function, place = began.function, began.place
    if began.given:
        said = (
            say("enters broken at", function=function, place=place)
            if place
            else say("enters broken", function=function)
        )
        return (said,), tensors, say("mend the batch")
    known = [name for name in began.parameters if name in evidence.tensors]
    zeros = [name for name in known if evidence.tensors[name].rms == 0]
    said = (_comes_from(function, place, zeros or known),)
    if zeros:
        return said, (*zeros, *(name for name in known if name not in zeros)), say("away from zero")
    if known:
        return said, tuple(known), None
    own = tensors if function in _MULTIPLIES else ()
    return said, own, None if own else say("within its domain")


def _comes_from(function: str, place: str | None, entering: Sequence[str]) -> Sentence:
    if entering and place:
        return say("comes from at with", function=function, place=place, tensor=entering[0])
    if entering:
        return say("comes from with", function=function, tensor=entering[0])
    if place:
        return say("comes from at", function=function, place=place)
    return say("comes from", function=function)


def check_half_precision(evidence: Evidence) -> Iterator[Finding]:
    """What overflows, underflows or rounds away."""
    if evidence.dtype == "float16":
        yield from _float16(evidence)
    if evidence.stored == "bfloat16":
        known = [(name, each.update) for name, each in evidence.tensors.items() if each.update is not None]
        lost = [name for name, update in known if update < _BF16_STEP]
        limit = CHECKS["bf16-no-update"].threshold or 0
        if known and len(lost) > limit * len(known):
            share = len(lost) / len(known)
            said = say("rounds away", n=len(lost), all=len(known))
            yield evidence.finding("bf16-no-update", lost[0], said, measured=share, more=len(lost) - 1)


def _float16(evidence: Evidence) -> Iterator[Finding]:
    limit = CHECKS["fp16-overflow"].threshold or 0
    layers = evidence.seen.layers
    top = max(layers, key=lambda each: max(each.largest, each.input_largest), default=None)
    if top is not None and max(top.largest, top.input_largest) > limit:
        far = max(top.largest, top.input_largest)
        first = next(each for each in layers if max(each.largest, each.input_largest) > limit)
        before = layers[: layers.index(first) + 1]
        to_blame = most_gain(before) or first
        beyond = far > _FLOAT16_ENDS
        numbers = {"largest": f"{far:.4g}", "end": _FLOAT16_ENDS}
        yield evidence.finding(
            "fp16-overflow",
            top.name,
            say("beyond the end", **numbers) if beyond else say("near the end", **numbers),
            measured=far,
            level="error" if beyond else None,
            tensors=evidence.weights_of(to_blame.name),
        )
    tiny = sum(each.tiny_gradients for each in evidence.tensors.values())
    total = sum(each.gradients for each in evidence.tensors.values())
    share = tiny / total if total else 0.0
    evidence.numbers["float16_underflow"] = share
    if share > (CHECKS["fp16-underflow"].threshold or 0):
        said = say("below the least", share=f"{share:.0%}")
        yield evidence.finding("fp16-underflow", "", said, measured=share)
