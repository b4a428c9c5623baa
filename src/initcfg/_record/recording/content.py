"""What a region of memory holds, as far as it is known without looking: a Value, or nearly one.

Recorded operations transform it: a uniform tensor times two is another uniform tensor. What has no
name here is None, and whoever asked computes the numbers instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, ClassVar

import torch

from initcfg.values import Constant, Normal, TruncNormal, Uniform, Value


@dataclass(frozen=True)
class Erfinv:
    """``shift + scale · erfinv(U(low, high))``: a truncated normal before its last step, the clamp."""

    low: float
    high: float
    scale: float = 1.0
    shift: float = 0.0
    random: ClassVar[bool] = True

    def value(self) -> Value | None:
        """The distribution that it is: a normal, cut where U ends."""
        std = abs(self.scale) / math.sqrt(2.0)
        if not (-1.0 <= self.low < self.high <= 1.0) or std == 0.0:
            return None
        if self.low == -1.0 and self.high == 1.0:
            return Normal(self.shift, std)
        ends = [self._end(self.low), self._end(self.high)]
        return TruncNormal(self.shift, std, min(ends), max(ends))

    def clamped(self, low: float, high: float) -> Value | None:
        """After a clamp: known if that only mends what rounding did to the two ends."""
        std = abs(self.scale) / math.sqrt(2.0)
        if self.scale <= 0.0 or low > high:
            return None
        for bound, end in ((low, self.low), (high, self.high)):
            if abs(math.erf((bound - self.shift) / self.scale) - end) > 1e-6:
                return None
        return TruncNormal(self.shift, std, low, high)

    def _end(self, probability: float) -> float:
        if abs(probability) >= 1.0:
            return math.copysign(math.inf, probability)
        return self.shift + self.scale * NormalDist().inv_cdf((1.0 + probability) / 2.0) / math.sqrt(2.0)


Known = Value | Erfinv


def after(
    operation: str, known: Known, dtype: torch.dtype, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Known | None:
    """What ``known`` becomes by an elementwise operation, ``"mul"`` and such; None where that has no name."""
    transform = _TRANSFORMS.get(operation)
    if transform is None:
        return None
    try:
        found = transform(known, *args, **kwargs)
        if not args or not all(type(each) is float and -65504.0 <= each <= 65504.0 for each in args):
            # What torch refuses, it refuses here, too.
            getattr(torch, operation)(torch.zeros(1, dtype=dtype, device="cpu"), *args, **kwargs)
        if isinstance(known, Constant):
            with torch.no_grad():
                made = getattr(torch, operation)(
                    torch.full((1,), known.val, dtype=dtype, device="cpu"), *args, **kwargs
                )
            return _plain_constant(found, made)
        if found is None or found is known:
            return found
        return found if _finite(found) and is_kept(known, found, dtype) else None
    except (TypeError, ZeroDivisionError, OverflowError):
        # An argument that is not a number: a tensor, or an option such as rounding_mode.
        return None


def is_kept(known: Known, found: Known, dtype: torch.dtype) -> bool:
    """Whether rounding to a type leaves numbers that are random as said, and does not show in these.

    ``(torch.rand(9) + 1e4) - 1e4`` is not what it was before: in half precision it is 0.
    """
    limits = torch.finfo(dtype)
    reach, spread = _extent(known)
    after, wider = _extent(found)
    least = lost = limits.tiny * limits.eps
    if after * spread < 0.99 * reach * wider:
        # Nearer to zero, seen against how far apart they are: there the steps of the type would be finer.
        lost = max(lost, reach * limits.eps / 2.0)
    return after <= limits.max and lost <= spread / 64.0 and least <= wider / 64.0


def is_coarse(known: Known, dtype: torch.dtype) -> bool:
    """Whether random numbers of a type are so far from zero that its steps show."""
    reach, spread = _extent(known)
    return reach * torch.finfo(dtype).eps / 2.0 > spread / 64.0


def _extent(known: Known) -> tuple[float, float]:
    """How far from zero random numbers lie, and how far apart; of what has no ends, nearly all of them."""
    if isinstance(known, Uniform):
        return max(abs(known.a), abs(known.b)), known.b - known.a
    if isinstance(known, Erfinv):
        return abs(known.shift) + 4.0 * abs(known.scale), abs(known.scale)
    if isinstance(known, (Normal, TruncNormal)):
        return abs(known.mean) + 4.0 * known.std, known.std
    return 0.0, math.inf


def rounded(known: Constant, before: torch.dtype, dtype: torch.dtype) -> Constant | None:
    """A number that was held as one type, as another holds it; None if it has no place there."""
    return _plain_constant(known, torch.full((1,), known.val, dtype=before, device="cpu").to(dtype))


def _plain_constant(found: Known | None, made: torch.Tensor) -> Constant | None:
    """The number that a tensor holds: as it stands in the code, if that is the same to the tensor's type."""
    if made.numel() != 1 or made.is_complex():
        return None
    exact = made.item()
    if isinstance(found, Constant):
        meant = torch.full((1,), found.val, dtype=torch.float64, device="cpu").to(made.dtype).item()
        if meant == exact and math.copysign(1.0, meant) == math.copysign(1.0, exact):
            return found if math.isfinite(found.val) == math.isfinite(exact) else None
    return Constant(float(exact)) if math.isfinite(exact) else None


def _finite(known: Known) -> bool:
    """Whether an operation left numbers that can be drawn: no infinity, and no spread that is gone."""
    numbers = [item for item in vars(known).values() if isinstance(item, float)]
    if isinstance(known, TruncNormal):
        # One bound may be missing.
        numbers = [known.mean, known.std, *(bound for bound in (known.a, known.b) if not math.isinf(bound))]
    spread = getattr(known, "std", getattr(known, "scale", 1.0))
    return all(map(math.isfinite, numbers)) and spread != 0.0


def _affine(known: Known, scale: float, shift: float) -> Known | None:
    if isinstance(known, Constant):
        return Constant(known.val * scale + shift)
    if isinstance(known, Erfinv):
        return replace(known, scale=known.scale * scale, shift=known.shift * scale + shift)
    if isinstance(known, Normal):
        return Normal(known.mean * scale + shift, known.std * abs(scale))
    if isinstance(known, (Uniform, TruncNormal)):
        ends = (known.a * scale + shift, known.b * scale + shift)
        a, b = min(ends), max(ends)
        if isinstance(known, Uniform):
            # Times zero each keeps its sign.
            return Uniform(a, b) if scale else None
        return TruncNormal(known.mean * scale + shift, known.std * abs(scale), a, b)
    return known if scale == 1.0 and shift == 0.0 else None


def _clamped(known: Known, min: float | None = None, max: float | None = None) -> Known | None:
    low = -math.inf if min is None else _number(min)
    high = math.inf if max is None else _number(max)
    if isinstance(known, Erfinv):
        return known.clamped(low, high)
    if isinstance(known, Constant):
        return Constant(sorted((low, known.val, high))[1]) if low <= high else None
    if isinstance(known, (Uniform, TruncNormal)) and low <= known.a and known.b <= high:
        return known
    return None


def _number(number: Any) -> float:
    if isinstance(number, (int, float)):
        return float(number)
    raise TypeError(number)


_TRANSFORMS: dict[str, Callable[..., Known | None]] = {
    "mul": lambda known, factor: _affine(known, _number(factor), 0.0),
    "div": lambda known, divisor: _affine(known, 1.0 / _number(divisor), 0.0),
    "add": lambda known, other, *, alpha=1: _affine(known, 1.0, _number(other) * _number(alpha)),
    "sub": lambda known, other, *, alpha=1: _affine(known, 1.0, -_number(other) * _number(alpha)),
    "neg": lambda known: _affine(known, -1.0, 0.0),
    "erfinv": lambda known: Erfinv(known.a, known.b) if isinstance(known, Uniform) else None,
    "clamp": _clamped,
    "clamp_min": _clamped,
    "clamp_max": lambda known, high: _clamped(known, None, high),
}
