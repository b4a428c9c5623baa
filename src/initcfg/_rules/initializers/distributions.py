"""Initializers whose numbers are given, whatever the layer: Constant, Uniform, Normal, TruncNormal."""

from __future__ import annotations

import math
from typing import Any

from initcfg._rules.initializers.arguments import number, standard_deviation
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg.errors import ArgumentError, ArgumentValueError
from initcfg.values import Constant, Layout, Normal, TruncNormal, Uniform, Value


@INITIALIZERS.register_module(name="Constant")
class ConstantInit(BaseInit):
    """Every weight is ``val``.

    Args:
        val: The number.
        bias: See :class:`BaseInit`, as ``bias_prob`` and ``layer``.
    """

    def __init__(self, val: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val = number("val", val)

    def value(self, layout: Layout) -> Value:
        return Constant(float(self.val))


@INITIALIZERS.register_module(name="Uniform")
class UniformInit(BaseInit):
    """Weights from U(a, b).

    Args:
        a: Lower bound.
        b: Upper bound.
    """

    def __init__(self, a: float = 0, b: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a = number("a", a)
        self.b = number("b", b)
        if a > b:
            raise ArgumentValueError(
                f"The lower bound of {self} lies above the upper one.", fix="Exchange them."
            )

    def value(self, layout: Layout) -> Value:
        return Uniform(float(self.a), float(self.b))


@INITIALIZERS.register_module(name="Normal")
class NormalInit(BaseInit):
    """Weights from N(mean, std²).

    Args:
        mean: Mean.
        std: Standard deviation, at least 0.
    """

    def __init__(self, mean: float = 0, std: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = number("mean", mean)
        self.std = standard_deviation(std)

    def value(self, layout: Layout) -> Value:
        return Normal(float(self.mean), float(self.std))


@INITIALIZERS.register_module(name="TruncNormal")
class TruncNormalInit(BaseInit):
    """Weights from N(mean, std²) given that they lie in [a, b].

    ``a`` and ``b`` are absolute values, as in the original: std 0.02 with the default bounds ±2 cuts
    at 100 sigma, which is no cut at all (the plan says so). ``a_sigma`` and ``b_sigma`` are counted
    in standard deviations from the mean.

    Args:
        mean: Mean of the normal before truncation.
        std: Its standard deviation, at least 0.
        a: Lower bound; ``-inf`` for none.
        b: Upper bound; ``inf`` for none.
        a_sigma: Lower bound in sigmas, in place of ``a``; -2 if only ``b_sigma`` is given.
        b_sigma: Upper bound in sigmas, in place of ``b``; 2 if only ``a_sigma`` is given.
        preserve_std: Divide ``std`` by the standard deviation of the truncated unit normal, so that
            the weights themselves have ``std`` (Johnson, Kotz & Balakrishnan, "Continuous Univariate
            Distributions" vol. 1, 13.10.1). Needs bounds in sigmas.

    Example:
        >>> from initcfg import TruncNormalInit
        >>> from initcfg.values import Layout
        >>> print(TruncNormalInit(std=0.02, a_sigma=-2, b_sigma=2).value(Layout((3, 3))))
        TruncNormal(mean=0, std=0.02, a=-0.04, b=0.04)
    """

    def __init__(
        self,
        mean: float = 0,
        std: float = 1,
        a: float | None = None,
        b: float | None = None,
        *,
        a_sigma: float | None = None,
        b_sigma: float | None = None,
        preserve_std: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mean = number("mean", mean)
        self.std = standard_deviation(std)
        in_sigmas = a_sigma is not None or b_sigma is not None
        if in_sigmas and (a is not None or b is not None):
            raise ArgumentError(
                "TruncNormal takes its bounds in absolute values (a, b) or in sigmas (a_sigma, b_sigma), "
                "not both."
            )
        if preserve_std and not in_sigmas:
            raise ArgumentError(
                "preserve_std needs the bounds in sigmas: a_sigma and b_sigma.",
                fix="Give them, or leave it out.",
            )
        self.a = self.b = self.a_sigma = self.b_sigma = self.preserve_std = None
        if in_sigmas:
            self.a_sigma = low = number("a_sigma", -2 if a_sigma is None else a_sigma)
            self.b_sigma = high = number("b_sigma", 2 if b_sigma is None else b_sigma)
            self.preserve_std = preserve_std or None
        else:
            self.a = low = number("a", -2 if a is None else a)
            self.b = high = number("b", 2 if b is None else b)
        if math.isnan(low) or math.isnan(high):
            raise ArgumentValueError(f"A bound of {self} is not a number.", fix="Write a number.")
        if low > high:
            raise ArgumentValueError(
                f"The lower bound of {self} lies above the upper one.", fix="Exchange them."
            )
        if low == math.inf or high == -math.inf:
            raise ArgumentValueError(
                f"Nothing lies between the bounds of {self}.",
                fix="For no lower bound write -inf, for no upper one inf.",
            )
        self._low, self._high = float(low), float(high)

    def value(self, layout: Layout) -> Value:
        mean, std, low, high = float(self.mean), float(self.std), self._low, self._high
        if self.a_sigma is not None:
            if self.preserve_std:
                std /= _truncated_unit_std(low, high)
            # Infinity times a standard deviation of zero is no number.
            low, high = (bound if math.isinf(bound) else mean + bound * std for bound in (low, high))
        return TruncNormal(mean, std, low, high)

    def notes(self) -> list[str]:
        if self.a_sigma is not None or not self.std:
            return []
        low, high = ((bound - self.mean) / self.std for bound in (self._low, self._high))
        # float32 draws never pass 6.4 sigma, so such a bound is never met.
        if low < -6.4 and high > 6.4:
            return [
                f"the bounds a={self.a}, b={self.b} are absolute values, {-low:.0f} and {high:.0f} sigma "
                f"away at std={self.std}: they cut nothing. For ±2 sigma write a_sigma=-2, b_sigma=2."
            ]
        return []


def _truncated_unit_std(low: float, high: float) -> float:
    """Standard deviation of N(0, 1) given that it lies in [low, high]."""

    def density(x: float) -> float:
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if mass <= 0:
        raise ArgumentValueError(f"No mass of the normal lies between {low} and {high} sigma.")
    shift = (density(high) - density(low)) / mass
    at_low, at_high = (0.0 if math.isinf(bound) else bound * density(bound) for bound in (low, high))
    return math.sqrt(1 - (at_high - at_low) / mass - shift * shift)
