"""The input, and the loss at the start."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import Evidence, most_gain
from initcfg._diagnose.facts import Finding, Level
from initcfg._diagnose.measuring import LayerSeen, LossSeen
from initcfg._diagnose.sentences import say

_FEW = 0.02
_MEANS = 3
_CALM_INPUT = 10.0
# Of the targets' own spread: closer is no chance.
_ALREADY = 1e-4
_BINARY = "binary_cross_entropy_with_logits"


def check_input(evidence: Evidence) -> Iterator[Finding]:
    """The batch itself."""
    high = CHECKS["input-scale"].threshold or 0
    for mean, std in evidence.inputs:
        if std > high or std < _FEW or abs(mean) > _MEANS * std:
            said = say("input has", mean=f"{mean:.3g}", std=f"{std:.3g}")
            yield evidence.finding("input-scale", "", said, measured=std)
            return


def check_loss(evidence: Evidence) -> Iterator[Finding]:
    """The loss beside that of a guess, and whether the output sees the input."""
    seen, numbers = evidence.seen, evidence.numbers
    found = seen.main_loss
    if found is not None and found.log_classes is not None:
        guess = found.log_classes
        excess = found.value - guess
        numbers |= {"log_classes": guess, "logit_std": found.logit_std, "loss_excess": excess}
        if found.label_entropy is not None:
            numbers["label_entropy"] = found.label_entropy
        if found.beyond is not None:
            low, high = found.beyond
            said = say("targets go", loss=found.name, low=f"{low:g}", high=f"{high:g}")
            yield evidence.finding("target-range", "", said, measured=high if high > 1 else low)
            return
        yield from _too_low(evidence, found)
        limit = max(CHECKS["initial-loss"].threshold or 0, guess / 4)
        if math.isfinite(excess) and excess > limit:
            yield _initial_loss(evidence, found.value, guess, found.logit_std, limit)
        yield from _prior(evidence, found.label_entropy, guess, excess, found.name)
    yield from _is_the_target(evidence)
    yield from _input_lost(evidence)


def _too_low(evidence: Evidence, found: LossSeen) -> Iterator[Finding]:
    """A loss that weights which nobody has trained cannot have."""
    loss, value = evidence.seen.loss, found.value
    if len(evidence.seen.losses) == 1 and loss > 0:
        count = next((each for each in found.samples if each > 1 and _near(value, loss * each)), None)
        if count is not None:
            said = say("divided again", loss=f"{loss:.4g}", count=count, name=found.name, mean=f"{value:.4g}")
            yield evidence.finding("loss-too-low", "", said, measured=value - loss, level="info")
            return
    floor = found.floor
    if floor is None or evidence.loaded:
        return
    limit = max(CHECKS["loss-too-low"].threshold or 0, floor / 4)
    if floor - value > limit:
        numbers = {"loss": f"{value:.4g}", "floor": f"{floor:.4g}"}
        said = say("too low", **numbers) if evidence.fresh else say("too low unless trained", **numbers)
        level: Level | None = None if evidence.fresh else "info"
        yield evidence.finding("loss-too-low", "", said, measured=floor - value, threshold=limit, level=level)


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4)


def _is_the_target(evidence: Evidence) -> Iterator[Finding]:
    """Distances: an output that is the target already."""
    seen = evidence.seen
    if len(seen.distances) != 1 or seen.losses or evidence.loaded:
        return
    value, spread = seen.distances[0]
    if spread > 0 and value < _ALREADY * spread:
        said = say("already the target", loss=f"{value:.2g}", spread=f"{spread:.2g}")
        yield evidence.finding("loss-too-low", "", said, measured=spread - value, threshold=0, level="info")


def head(evidence: Evidence) -> LayerSeen | None:
    """The layer that gave the logits; the last that ran where that cannot be told."""
    layers, found = evidence.seen.layers, evidence.seen.main_loss
    own = [each for each in layers if found is not None and each.name == found.layer]
    return own[-1] if own else layers[-1] if layers else None


def _initial_loss(evidence: Evidence, loss: float, guess: float, spread: float, limit: float) -> Finding:
    last = head(evidence)
    to_blame = last
    if last is not None and last.entering is not None and last.entering > _CALM_INPUT:
        # The output is large because what enters the last layer is.
        to_blame = most_gain(evidence.seen.layers[: evidence.seen.layers.index(last)]) or last
    innocent = evidence.weights_of(to_blame.name) if to_blame else ()
    tensors = evidence.that_matters(innocent, but=last.name if last and to_blame is not last else "")
    moved = bool(set(tensors) - set(innocent))
    tied = tensors and (
        sum(name == tensors[0] for name in evidence.canonical.values()) > 1
        # Looked up as a table, and multiplied by without a module.
        or tensors[0] in evidence.seen.looked_up
        or (last is not None and last.name == tensors[0] and _is_table(evidence, tensors[0]))
    )
    fix = say("quiet what enters") if to_blame is not last else None
    if moved:
        one = evidence.tensors[tensors[0]]
        smaller = (one.pull or 0) > 0
        fix = say("start it smaller", tensor=one.name) if smaller else say("start it larger", tensor=one.name)
    elif tied:
        fix = say("embedding is the head")
    return evidence.finding(
        "initial-loss",
        tensors[0] if moved else last.name if last else "",
        say("starts high", loss=f"{loss:.4g}", guess=f"{guess:.4g}", std=f"{spread:.3g}"),
        measured=loss - guess,
        threshold=limit,
        tensors=tensors,
        fix=fix,
    )


def _is_table(evidence: Evidence, name: str) -> bool:
    """Whether a parameter is that of an embedding."""
    module = evidence.tensors[name].module
    return any(each.name == module and each.kind == "Embedding" for each in evidence.seen.layers)


def _prior(
    evidence: Evidence, entropy: float | None, guess: float, excess: float, loss: str
) -> Iterator[Finding]:
    limit = CHECKS["class-prior"].threshold or 0
    if entropy is None or guess - entropy <= limit or excess < -0.1:
        return
    last = head(evidence)
    if evidence.seen.main_loss is not None and evidence.seen.main_loss.layer is None:
        # Several heads, or none: a layer that merely ran last is not blamed.
        last = None
    tensors = evidence.weights_of(last.name, biases=True) if last else ()
    biases = tuple(each for each in tensors if len(evidence.tensors[each].shape) == 1)
    if not biases and loss != _BINARY:
        # Without a bias there is nowhere to say it.
        return
    lower = guess - entropy
    said = say("labels have", entropy=f"{entropy:.3g}", guess=f"{guess:.3g}", lower=f"{lower:.2g}")
    yield evidence.finding("class-prior", last.name if last else "", said, measured=lower, tensors=biases)


def _is_lost(layer: LayerSeen, limit: float) -> bool:
    return layer.rms == 0 or (layer.varies is not None and layer.varies < limit)


def _input_lost(evidence: Evidence) -> Iterator[Finding]:
    seen = evidence.seen
    found = seen.main_loss
    varies = found.varies if found is not None and found.varies is not None else seen.output_varies
    if varies is None:
        return
    evidence.numbers["output_varies"] = varies
    limit = CHECKS["input-lost"].threshold or 0
    if varies >= limit:
        return
    lost = next((each for each in seen.layers if _is_lost(each, limit)), None)
    place = lost or head(evidence)
    if lost is not None and lost.entering == 0:
        # What enters it is zero already: it is a layer before it, whose units are all dead perhaps.
        before = seen.layers[: seen.layers.index(lost)]
        dead = {each.layer for each in seen.units if each.kind == "relu" and each.share == 1}
        place = next((each for each in before if each.name in dead), before[-1] if before else lost)
    yield evidence.finding(
        "input-lost",
        place.name if place else "",
        say("output differs", share=f"{varies:.1e}"),
        measured=varies,
        tensors=evidence.weights_of(place.name) if place else (),
    )
