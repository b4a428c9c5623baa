"""The signal on its way forward, and its gradient on the way back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.checks.evidence import Evidence, least_gain, most_gain
from initcfg._diagnose.checks.units import scoring_layers
from initcfg._diagnose.facts import Finding
from initcfg._diagnose.measuring import LayerSeen
from initcfg._diagnose.sentences import say

_FEWEST = 3
_FIFTH = 5


def check_activations(evidence: Evidence) -> Iterator[Finding]:
    """Outputs of layers that are too large, or too small."""
    body = [each for each in evidence.seen.layers if each.kind != "Embedding" and math.isfinite(each.rms)]
    sizes = [each.rms for each in body if each.rms > 0]
    evidence.numbers["activation_largest"] = max(sizes, default=0.0)
    evidence.numbers["activation_smallest"] = min(sizes, default=0.0)
    high = CHECKS["activation-explodes"].threshold or 0
    large = [each for each in body if each.rms > high]
    if large:
        top = max(large, key=lambda each: each.rms)
        to_blame = most_gain(body[: body.index(top) + 1]) or top
        yield evidence.finding(
            "activation-explodes",
            large[0].name,
            say("grows there", rms=f"{large[0].rms:.3g}", largest=f"{top.rms:.3g}", module=top.name),
            measured=top.rms,
            tensors=evidence.weights_of(to_blame.name),
            more=len(large) - 1,
        )
    low = CHECKS["activation-vanishes"].threshold or 0
    small = [each for each in body if 0 < each.rms < low]
    if small:
        to_blame = least_gain(body[: body.index(small[0]) + 1]) or small[0]
        yield evidence.finding(
            "activation-vanishes",
            small[0].name,
            say("vanishes there", rms=f"{small[0].rms:.3g}"),
            measured=min(each.rms for each in small),
            tensors=evidence.weights_of(to_blame.name),
            more=len(small) - 1,
        )


def check_stream(evidence: Evidence) -> Iterator[Finding]:
    """How much the residual stream grows over the blocks."""
    seen = evidence.seen
    blocks = seen.blocks
    if len(blocks) < 2 or not seen.entering or not math.isfinite(blocks[-1].rms):
        return
    top = max(blocks, key=lambda each: each.rms)
    growth = top.rms / seen.entering
    evidence.numbers["stream_growth"] = growth
    if growth <= (CHECKS["stream-grows"].threshold or 0):
        return
    steps = [
        (each.rms - before, each)
        for before, each in zip([seen.entering, *(b.rms for b in blocks)], blocks, strict=False)
    ]
    jump = max(steps, key=lambda each: each[0])[1]
    read = bool(seen.readers) and all(seen.readers)
    added = all(each.ends_in_norm for each in blocks)
    harmless = read or added
    norms = [say("norms read")] if read else [say("norms add")] if added else []
    yield evidence.finding(
        "stream-grows",
        top.name,
        say("stream grows", count=len(blocks), growth=f"{growth:.3g}", module=jump.name),
        *norms,
        measured=growth,
        level="info" if harmless else None,
        tensors=evidence.weights_of(jump.largest_layer),
    )


def check_gradients(evidence: Evidence) -> Iterator[Finding]:
    """The gradient of the first fifth of the depth beside that of the last, and the norm of the whole."""
    seen = evidence.seen
    blocks = [(each.name, each.gradient_rms, each.whole_gradient) for each in seen.blocks]
    # Queries and keys have next to no gradient while heads look everywhere, which is no matter of depth.
    scoring = scoring_layers(seen)
    layers = [
        (each.name, each.usual_gradient, each.gradient_rms)
        for each in seen.layers
        if each.kind != "Embedding" and each.name not in scoring
    ]
    blocks, layers = ([each for each in path if _are_sizes(each[1:])] for path in (blocks, layers))
    known = blocks if len(blocks) >= _FEWEST else layers
    if len(known) >= _FEWEST:
        # Of the usual position and of all together: where a head reads one token, the last block has a
        # gradient at that one alone; and one row of padding may have a thousand times that of the others.
        usual, whole = [each[1] or 0.0 for each in known], [each[2] or 0.0 for each in known]
        ratios = [_depth_ratio(usual), _depth_ratio(whole)]
        ratio = min(ratios, key=lambda each: abs(math.log(each)))
        ratio = ratio if (ratios[0] > 1) == (ratios[1] > 1) else 1.0
        evidence.numbers["gradient_depth"] = math.log10(ratio) if ratio > 0 else -math.inf
        for code, beyond in (
            ("gradient-vanishes", ratio < (CHECKS["gradient-vanishes"].threshold or 0)),
            ("gradient-explodes", ratio > (CHECKS["gradient-explodes"].threshold or 0)),
        ):
            if beyond:
                by_zeros = code == "gradient-explodes" and bool(seen.zero_rows)
                tensors = _changing_most(evidence, seen.layers, shrinking=code == "gradient-vanishes")
                yield evidence.finding(
                    code,
                    known[0][0],
                    say("gradient beside", ratio=f"{ratio:.2g}"),
                    measured=ratio,
                    tensors=(_looked_up(evidence) or tensors) if by_zeros else tensors,
                    fix=say("zeros first") if by_zeros else None,
                )
    evidence.numbers["gradient_norm"] = evidence.gradient_norm
    limit = CHECKS["gradient-norm"].threshold or 0
    if math.isfinite(evidence.gradient_norm) and evidence.gradient_norm > limit:
        top = max(
            evidence.tensors.values(),
            key=lambda each: (each.gradient_rms or 0) * math.prod(each.shape) ** 0.5,
        )
        said = say("gradient norm is", norm=f"{evidence.gradient_norm:.3g}", tensor=top.name)
        last = seen.layers[-1] if seen.layers else None
        to_blame = most_gain(seen.layers) or last
        tensors = evidence.that_matters(evidence.weights_of(to_blame.name) if to_blame else ())
        yield evidence.finding(
            "gradient-norm",
            top.name,
            said,
            measured=evidence.gradient_norm,
            tensors=(_looked_up(evidence) or tensors) if seen.zero_rows else tensors,
            fix=say("zeros first") if seen.zero_rows else None,
        )


def _looked_up(evidence: Evidence) -> tuple[str, ...]:
    """The weights of the table whose rows of zeros the batch asked for."""
    name = next(iter(evidence.seen.padding), None)
    return () if name is None else evidence.weights_of(name)


def _are_sizes(sizes: Sequence[Any]) -> bool:
    return all(each is not None and 0 < each < math.inf for each in sizes)


def _depth_ratio(sizes: Sequence[float]) -> float:
    fifth = max(1, len(sizes) // _FIFTH)
    first, last = sorted(sizes[:fifth])[fifth // 2], sorted(sizes[-fifth:])[fifth // 2]
    return first / last


def _changing_most(evidence: Evidence, layers: list[LayerSeen], *, shrinking: bool) -> tuple[str, ...]:
    """The weight through which the gradient changes most on its way back."""
    known = [each for each in layers if each.usual_gradient and math.isfinite(each.usual_gradient)]
    pairs = list(itertools.pairwise(known))
    if not pairs:
        return ()

    def gain(pair: tuple[LayerSeen, LayerSeen]) -> float:
        before, after = pair
        return (before.usual_gradient or 1.0) / (after.usual_gradient or 1.0)

    _, through = min(pairs, key=gain) if shrinking else max(pairs, key=gain)
    return evidence.weights_of(through.name)


def check_norms(evidence: Evidence) -> Iterator[Finding]:
    """Positions that enter a norm as exact zeros."""
    zeros = evidence.seen.zero_rows
    if not zeros:
        return
    factor = math.prod(each.factor for each in zeros)
    how = f"{factor:.1e}" if math.isfinite(factor) else f"{zeros[0].factor:.0f}^{len(zeros)}"
    padding = evidence.seen.padding
    tensors: tuple[str, ...] = ()
    of, fix = [], None
    if padding:
        name, rows = next(iter(padding.items()))
        tensors = evidence.weights_of(name)
        named = tensors[0] if tensors else name
        of = [say("zeros of rows", rows=", ".join(map(str, rows[:3])), tensor=named)]
        row = evidence.seen.padding_indices.get(name)
        if row is not None and len(rows) == 1:
            of, fix = [say("zeros of padding", row=row, tensor=named)], say("no padding")
    yield evidence.finding(
        "zero-into-norm",
        zeros[0].module,
        say("zeros enter", share=f"{zeros[0].share:.1%}", norms=len(zeros), factor=how),
        *of,
        measured=zeros[0].share,
        tensors=tensors,
        fix=fix,
        more=len(zeros) - 1,
    )
