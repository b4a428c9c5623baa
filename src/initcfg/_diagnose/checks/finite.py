"""Numbers that are not finite, or will not be in half precision."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import Evidence, most_gain
from initcfg._diagnose.facts import Finding

_BF16_STEP = 2.0**-9


def check_finite(evidence: Evidence) -> Iterator[Finding]:
    """Weights, activations, the loss and the gradient."""
    seen = evidence.seen
    broken = [name for name, each in evidence.tensors.items() if not each.finite]
    if broken:
        text = f"{broken[0]} holds NaN or infinity."
        yield evidence.finding(
            "nonfinite-weight", broken[0], text, tensors=tuple(broken), more=len(broken) - 1, measured=1
        )
    if seen.broken:
        name, kind = seen.broken[0]
        own = evidence.weights_of(name)
        before = [each for each in seen.layers if math.isfinite(each.rms)]
        to_blame = most_gain([*before, *(each for each in seen.layers if each.name == name)])
        tensors = tuple(broken) or own or (evidence.weights_of(to_blame.name) if to_blame else ())
        text = f"The first output that is not finite is that of {name or 'the model'} ({kind})."
        yield evidence.finding(
            "nonfinite-activation", name, text, tensors=tensors, more=len(seen.broken) - 1, measured=math.inf
        )
    elif not math.isfinite(seen.loss):
        yield evidence.finding("nonfinite-loss", "", f"The loss is {seen.loss}.", measured=seen.loss)
    if math.isfinite(seen.loss) and not math.isfinite(evidence.gradient_norm):
        bad = [
            name
            for name, each in evidence.tensors.items()
            if each.gradient_rms is not None and not math.isfinite(each.gradient_rms)
        ]
        text = f"The loss is {seen.loss:.4g}, and the norm of the gradient {evidence.gradient_norm}."
        yield evidence.finding(
            "nonfinite-gradient",
            bad[0] if bad else "",
            text,
            measured=evidence.gradient_norm,
            more=max(len(bad) - 1, 0),
        )


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
            text = f"The first step of {len(lost)} of {len(known)} tensors is less than 2⁻⁹ of their weights."
            yield evidence.finding("bf16-no-update", lost[0], text, measured=share, more=len(lost) - 1)


def _float16(evidence: Evidence) -> Iterator[Finding]:
    limit = CHECKS["fp16-overflow"].threshold or 0
    layers = evidence.seen.layers
    top = max(layers, key=lambda each: max(each.largest, each.input_largest), default=None)
    if top is not None and max(top.largest, top.input_largest) > limit:
        far = max(top.largest, top.input_largest)
        first = next(each for each in layers if max(each.largest, each.input_largest) > limit)
        before = layers[: layers.index(first) + 1]
        to_blame = most_gain(before) or first
        yield evidence.finding(
            "fp16-overflow",
            top.name,
            f"The largest number there is {far:.4g}; float16 ends at 65504.",
            measured=far,
            tensors=evidence.weights_of(to_blame.name),
        )
    tiny = sum(each.tiny_gradients for each in evidence.tensors.values())
    total = sum(each.gradients for each in evidence.tensors.values())
    share = tiny / total if total else 0.0
    evidence.numbers["float16_underflow"] = share
    if share > (CHECKS["fp16-underflow"].threshold or 0):
        text = f"{share:.0%} of the gradients are below 6e-8, which float16 rounds to 0."
        yield evidence.finding("fp16-underflow", "", text, measured=share)
