"""Numbers that are not finite, or will not be in half precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import Evidence, most_gain
from initcfg._diagnose.facts import Finding
from initcfg._diagnose.measuring import Broken

_BF16_STEP = 2.0**-9
_FLOAT16_ENDS = 65504
_MULTIPLIES = {"linear", "@", "conv1d", "conv2d", "conv3d", "bmm", "mm", "addmm", "einsum", "baddbmm"}


def check_finite(evidence: Evidence) -> Iterator[Finding]:
    """Weights, activations, the loss and the gradient."""
    seen = evidence.seen
    broken = [name for name, each in evidence.tensors.items() if not each.finite]
    if broken:
        text = f"{broken[0]} holds NaN or infinity."
        yield evidence.finding(
            "nonfinite-weight", broken[0], text, tensors=tuple(broken), more=len(broken) - 1, measured=1
        )
    began = evidence.broken
    if evidence.bad_batch is not None and not broken and (began is None or began.given):
        # Whatever it reaches is broken for it, and no weight is to blame.
        yield evidence.finding("nonfinite-input", "", evidence.bad_batch, measured=math.nan)
        return
    if seen.broken:
        name, kind = seen.broken[0]
        own = evidence.weights_of(name)
        before = [each for each in seen.layers if math.isfinite(each.rms)]
        to_blame = most_gain([*before, *(each for each in seen.layers if each.name == name)])
        tensors = tuple(broken) or own or (evidence.weights_of(to_blame.name) if to_blame else ())
        text = f"The first output that is not finite is that of {name or 'the model'} ({kind})."
        fix = None
        if not broken and evidence.broken is not None:
            text, tensors, fix = _where_it_began(evidence, evidence.broken, text, tensors)
        yield evidence.finding(
            "nonfinite-activation",
            name,
            text,
            tensors=tensors,
            more=len(seen.broken) - 1,
            measured=math.inf,
            fix=fix,
        )
    elif not math.isfinite(seen.loss):
        text, tensors, fix = f"The loss is {seen.loss}.", tuple(broken), None
        if not broken and evidence.broken is not None:
            text, tensors, fix = _where_it_began(evidence, evidence.broken, text, tensors)
        yield evidence.finding("nonfinite-loss", "", text, measured=seen.loss, tensors=tensors, fix=fix)
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


def _where_it_began(
    evidence: Evidence, began: Broken, text: str, tensors: tuple[str, ...]
) -> tuple[str, tuple[str, ...], str | None]:
    """What is said where the function is known that gave the first number that is not finite."""
    place = f" at {began.place}" if began.place else ""
    if began.given:
        text = f"{text} What enters {began.function}{place} is not finite already."
        return text, tensors, "Look at the batch: it holds NaN or infinity."
    known = [name for name in began.parameters if name in evidence.tensors]
    zeros = [name for name in known if evidence.tensors[name].rms == 0]
    text = f"{text} It comes from {began.function}{place}{_with(zeros or known)}."
    if zeros:
        return text, (*zeros, *(name for name in known if name not in zeros)), "Start it away from zero."
    if known:
        return text, tuple(known), None
    own = tensors if began.function in _MULTIPLIES else ()
    return text, own, None if own else "Keep what enters that function within what it is defined for."


def _with(names: Sequence[str]) -> str:
    return f", which {names[0]} enters" if names else ""


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
        beyond = ": there it is infinite on this very batch" if far > _FLOAT16_ENDS else ""
        yield evidence.finding(
            "fp16-overflow",
            top.name,
            f"The largest number there is {far:.4g}; float16 ends at {_FLOAT16_ENDS}{beyond}.",
            measured=far,
            level="error" if beyond else None,
            tensors=evidence.weights_of(to_blame.name),
        )
    tiny = sum(each.tiny_gradients for each in evidence.tensors.values())
    total = sum(each.gradients for each in evidence.tensors.values())
    share = tiny / total if total else 0.0
    evidence.numbers["float16_underflow"] = share
    if share > (CHECKS["fp16-underflow"].threshold or 0):
        text = f"{share:.0%} of the gradients are below 6e-8, which float16 rounds to 0."
        yield evidence.finding("fp16-underflow", "", text, measured=share)
