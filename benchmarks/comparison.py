"""Two fillings of one tensor beside each other: by what its value says of it.

Of a random value: whether two fillings come from one distribution, as p-values. Of all others: whether
they are the same, exactly. Nothing here decides whether a p-value is small: one among tens of thousands
is, and who sees them all decides (:func:`rejected`).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.stats
import torch
from scipy.special import gammaln

# What a distribution is told by: below these many elements, nothing.
FEWEST = 8
# From these many elements on, mean and spread are compared, too; and p-values are all but continuous.
MANY = 1000
# Kolmogorov-Smirnov looks at so many elements of a tensor, mean and spread at so many.
SAMPLE = 20_000
MOMENTS = 100_000
# Entries of an orthogonal matrix are nearly independent if there are more than these.
ORTHOGONAL = 64
# The level of a whole run.
ALPHA = 0.01
PLAIN = ("Uniform", "Normal", "TruncNormal")
SAME = ("Constant", "Dirac", "Eye")


@dataclass(frozen=True)
class Test:
    """One p-value.

    Args:
        tensor: The tensor, and the slice of it if there are several.
        of: ``"KS"``, ``"mean"`` or ``"spread"``.
        p: The p-value.
        uniform: A number that is uniform on [0, 1] if all is well; None where the numbers are few or not
            independent. It is the p-value, smeared over the step below it where there are steps.
    """

    tensor: str
    of: str
    p: float
    uniform: float | None


@dataclass
class Findings:
    """What the comparisons of a model's tensors found.

    Attributes:
        tests: All p-values.
        slices: How many tensors, or slices of one, have p-values.
        exact: How many must be the same, and are looked at bit by bit or by a property.
        wrong: What is not as it must be, in words.
        skipped: How many were too small for a distribution to show.
    """

    tests: list[Test] = field(default_factory=list)
    slices: int = 0
    exact: int = 0
    wrong: list[str] = field(default_factory=list)
    skipped: int = 0

    def check(self, name: str, holds: bool, what: str) -> None:
        """Note something that must hold."""
        self.exact += 1
        if not holds:
            self.wrong.append(f"{name}: {what}")


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor, in a row."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same bytes."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one.numel() == 0 or torch.equal(bits(one), bits(other))


def compare(
    found: Findings, name: str, value: Any, ours: torch.Tensor, theirs: torch.Tensor, copy: bool = False
) -> None:
    """Compare two fillings of a tensor that have the value ``value``.

    Args:
        found: Where the findings go.
        name: What the tensor is called.
        value: An :class:`initcfg.values.Value`; not symbolic ones are left alone.
        ours: One filling.
        theirs: The other.
        copy: Whether the numbers are those of another tensor, so that their p-values are, too.
    """
    kind = value.kind
    if ours.numel() == 0:
        return
    if kind in ("Keep", "Computed", "Opaque", "FromCheckpoint"):
        found.skipped += 1
    elif kind == "Parts":
        begin = 0
        for size, part in zip(value.sizes, value.values, strict=True):
            here, there = (each.narrow(value.dim, begin, size) for each in (ours, theirs))
            compare(found, f"{name}[{begin}:{begin + size}]", part, here, there, copy)
            begin += size
        found.check(name, begin == ours.shape[value.dim], "the parts do not fill it")
    elif kind == "PaddingRow":
        row = value.index % ours.shape[0]
        zero = not ours[row].any() and not theirs[row].any()
        found.check(f"{name}[{row}]", bool(zero), "the padding row is not zero")
        here, there = (torch.cat([each[:row], each[row + 1 :]]) for each in (ours, theirs))
        compare(found, name, value.value, here, there, copy)
    elif kind == "CopyOf":
        compare(found, name, value.value, ours, theirs, copy=True)
    elif kind == "Orthogonal":
        for each, whose in ((ours, "ours"), (theirs, "the library's")):
            worst = _off_orthogonal(each, value)
            found.check(name, worst < 1e-3, f"{whose} is not orthogonal, by {worst:.2g}")
        if ours.numel() > ORTHOGONAL:
            _distribution(found, name, ours, theirs, fair=False, moments=False)
        else:
            found.skipped += 1
    elif kind == "Sparse":
        zeros = math.ceil(value.sparsity * ours.shape[0])
        for each, whose in ((ours, "ours"), (theirs, "the library's")):
            found.check(
                name,
                bool(((each == 0).sum(0) == zeros).all()),
                f"{whose} has not {zeros} zeros in each column",
            )
        _distribution(found, name, ours[ours != 0], theirs[theirs != 0], fair=False)
    elif kind == "Formula" and value.random:
        # Elements that come from fewer draws are not independent, and the test is for those that are.
        draws = min(_draws(value, ours.numel()), SAMPLE)
        _distribution(found, name, ours, theirs, fair=False, moments=draws >= ours.numel(), most=draws)
    elif value.random:
        _distribution(found, name, ours, theirs, fair=kind in PLAIN and not copy)
    else:
        same = torch.equal(ours, theirs) or same_bits(ours, theirs)
        found.check(name, same, f"{value} is not what the library has")


def _draws(value: Any, elements: int) -> int:
    """How many numbers a formula draws, at most as many as it has elements."""
    drawn = 0
    for kind, *rest in value.instructions:
        if kind == "draw" or (kind == "fill" and len(rest) == 3):
            return elements
        if kind == "value" and len(rest) == 4:
            drawn += math.prod(rest[0])
    return min(drawn, elements)


def _off_orthogonal(tensor: torch.Tensor, value: Any) -> float:
    """How far the products of its rows, or columns, are from gain² times the identity."""
    columns = [axis for axis in range(tensor.dim()) if axis not in (*value.stack, *value.rows)]
    stacked = math.prod(tensor.shape[axis] for axis in value.stack)
    height = math.prod(tensor.shape[axis] for axis in value.rows)
    matrix = tensor.detach().double().permute(*value.stack, *value.rows, *columns)
    matrix = matrix.reshape(stacked, height, -1)
    if matrix.shape[1] > matrix.shape[2]:
        matrix = matrix.mT
    meant = value.gain**2 * torch.eye(matrix.shape[1], dtype=torch.float64)
    return float((matrix @ matrix.mT - meant).abs().max()) / max(value.gain**2, 1.0)


def _distribution(
    found: Findings,
    name: str,
    ours: torch.Tensor,
    theirs: torch.Tensor,
    fair: bool,
    moments: bool = True,
    most: int = SAMPLE,
) -> None:
    """Two-sample Kolmogorov-Smirnov; of many elements mean and spread, too."""
    if min(ours.numel(), theirs.numel(), most) < FEWEST:
        found.skipped += 1
        return
    one, other = (sample(each, most) for each in (ours, theirs))
    found.slices += 1
    p, beyond = kolmogorov_smirnov(one, other)
    chance = np.random.default_rng(zlib.crc32(one.tobytes())).random()
    fair = fair and one.size > MANY
    found.tests.append(Test(name, "KS", p, beyond + chance * (p - beyond) if fair else None))
    if moments and min(one.size, other.size) >= MANY:
        one, other = (sample(each, MOMENTS) for each in (ours, theirs))
        found.tests.extend(Test(name, of, p, p if fair else None) for of, p in _moments(one, other))


def kolmogorov_smirnov(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The two-sample p-value, exactly, and that of the next larger statistic.

    Of two samples of n the statistic is a multiple h / n, and with c(k) = (2n)! / (n - k)! (n + k)! its
    distribution is P(D >= h / n) = 2 (c(h) - c(2h) + c(3h) - ...) / c(0).
    """
    size = one.size
    if size != other.size:
        p = float(scipy.stats.ks_2samp(one, other, method="asymp").pvalue)
        return p, p
    one, other = np.sort(one), np.sort(other)
    every = np.concatenate([one, other])
    apart = np.searchsorted(one, every, "right") - np.searchsorted(other, every, "right")
    steps = int(np.abs(apart).max())

    def beyond(steps: int) -> float:
        if steps == 0:
            return 1.0
        moved = np.arange(steps, size + 1, steps, dtype=np.float64)
        logarithms = 2 * gammaln(size + 1) - gammaln(size - moved + 1) - gammaln(size + moved + 1)
        signs = np.where(np.arange(moved.size) % 2 == 0, 2.0, -2.0)
        return float(np.clip(np.sum(signs * np.exp(logarithms)), 0.0, 1.0))

    return beyond(steps), beyond(steps + 1)


def _moments(one: np.ndarray, other: np.ndarray) -> list[tuple[str, float]]:
    """P-values of the difference of the means, and of the logarithms of the standard deviations.

    KS hardly sees a scale: 5 % in the standard deviation of a normal moves its distribution function by
    0.012, which among 20,000 numbers is nothing. The spread of so many shows it by seven sigmas.
    """
    deviations = [each.std() for each in (one, other)]
    if min(deviations) == 0 or not np.isfinite(deviations).all():
        return []
    apart = (one.mean() - other.mean()) / math.hypot(
        *(deviation / math.sqrt(each.size) for deviation, each in zip(deviations, (one, other), strict=True))
    )
    # A sample variance has a relative variance of (kurtosis - 1) / n; the logarithm of its root, a quarter.
    kurtosis = [
        float(np.mean(((each - each.mean()) / deviation) ** 4))
        for deviation, each in zip(deviations, (one, other), strict=True)
    ]
    errors = [
        math.sqrt(max(fourth - 1, 0.0) / (4 * each.size))
        for fourth, each in zip(kurtosis, (one, other), strict=True)
    ]
    # Of two points with the same weight each, the spread has no error at all.
    wider = math.log(deviations[0] / deviations[1]) / max(math.hypot(*errors), 1e-12)
    return [(of, math.erfc(abs(z) / math.sqrt(2))) for of, z in (("mean", apart), ("spread", wider))]


def sample(tensor: torch.Tensor, most: int) -> np.ndarray:
    """At most ``most`` different elements: one of each of as many stretches, always the same ones."""
    flat = tensor.detach().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    if flat.numel() > most:
        # Stretches of whole elements: one that two shared could be taken twice, and p-values would be small.
        edges = np.arange(most + 1) * flat.numel() // most
        places = edges[:-1] + (np.random.default_rng(0).random(most) * np.diff(edges)).astype(np.int64)
        flat = flat[torch.from_numpy(places)]
    return flat.double().numpy()


def rejected(p_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Which hypotheses Holm's procedure rejects, at the level ``alpha`` for all of them together."""
    order = np.argsort(p_values, kind="stable")
    result = [False] * len(order)
    for step, place in enumerate(order):
        if p_values[place] > alpha / (len(order) - step):
            break
        result[int(place)] = True
    return result


def uniformity(p_values: Sequence[float]) -> float:
    """The p-value of p-values being uniform: one-sample Kolmogorov-Smirnov."""
    return float(scipy.stats.kstest(np.asarray(p_values), "uniform").pvalue)
