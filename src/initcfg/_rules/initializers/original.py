"""The initializers: from their arguments and a tensor's layout to a Value.

They carry the names, arguments and defaults of the original system. None of them touches a tensor;
calling one on a module (``KaimingInit(layer="Conv2d")(module)``), as the original allows, goes
through the same plan as everything else.
"""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from initcfg._model import doors
from initcfg._rules.initializers.registry import INITIALIZERS
from initcfg.errors import ArgumentError
from initcfg.values import Constant, Layout, Normal, PaddingRow, Parts, TruncNormal, Uniform, Value

if TYPE_CHECKING:
    from torch import nn


def bias_init_with_prob(prior_prob: float) -> float:
    """The bias at which a sigmoid gives ``prior_prob``: -log((1 - p) / p).

    From "Focal Loss for Dense Object Detection", Lin et al. 2017, section 3.3: a classifier that
    starts out sure of the background does not drown in it.

    Raises:
        ArgumentError: ``prior_prob`` is not strictly between 0 and 1.

    Example:
        >>> from initcfg import bias_init_with_prob
        >>> round(bias_init_with_prob(0.01), 4)
        -4.5951
    """
    if not 0 < prior_prob < 1:
        raise ArgumentError(
            f"A prior probability lies strictly between 0 and 1, but bias_prob is {prior_prob!r}.",
            fix="Detectors use 0.01.",
        )
    # NumPy's logarithm, as the original: the same double, to the last bit.
    return float(-np.log((1 - prior_prob) / prior_prob))


class BaseInit:
    """Base of the initializers, and of yours: give it a :meth:`value` and register it.

    Args:
        bias: What biases are filled with.
        bias_prob: Probability that a sigmoid at that bias gives; wins over ``bias``.
        layer: Class name, or list of them, of the modules that are meant, when the initializer is
            called on a module directly. In a rule, ``layer`` belongs to the rule.

    Example:
        >>> import initcfg
        >>> from initcfg import INITIALIZERS, BaseInit
        >>> from initcfg.values import Normal
        >>> @INITIALIZERS.register_module(name="FanSum", force=True)
        ... class FanSumInit(BaseInit):
        ...     def value(self, layout):
        ...         fan_in, fan_out = layout.fans()
        ...         return Normal(0.0, (fan_in + fan_out) ** -0.5)
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Linear(3, 6), dict(type="FanSum", layer="Linear"))["weight"].value)
        Normal(mean=0, std=0.3333)
    """

    # Whether it asks for the layout's default, what torch's own layer does.
    asks_default: ClassVar[bool] = False
    # Whether biases are filled by it too, and not with the number ``bias``.
    fills_bias: bool = False

    def __init__(
        self,
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: str | list[str] | None = None,
    ) -> None:
        bias = _number("bias", bias)
        if bias_prob is not None and not isinstance(bias_prob, float):
            raise ArgumentError(f"bias_prob must be a float, not {bias_prob!r}.")
        if layer is not None and not isinstance(layer, (str, list)):
            raise ArgumentError(f"layer must be a class name or a list of them, not {layer!r}.")
        self.bias = bias if bias_prob is None else bias_init_with_prob(bias_prob)
        self.layer = layer
        self._values: dict[Layout, Value] = {}

    def value(self, layout: Layout) -> Value:
        """What a tensor of this layout is filled with."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """The arguments of the weight, by name, as the ledger and JSON show them."""
        return {
            name: item
            for name, item in vars(self).items()
            if not name.startswith("_") and name not in ("bias", "layer") and item is not None
        }

    def notes(self) -> list[str]:
        """Remarks on arguments that cannot do what they seem to."""
        return []

    def resolve(self, layout: Layout) -> Value:
        """:meth:`value`, part by part where the tensor is fused, and remembered."""
        found = self._values.get(layout)
        if found is None:
            found = self._values[layout] = self._resolve(layout)
        return found

    def _resolve(self, layout: Layout) -> Value:
        if layout.parts:
            values = tuple(self._checked(self.value(layout.part(size))) for size in layout.parts)
            if len(set(values)) == 1 and isinstance(values[0], Constant):
                return values[0]
            return Parts(0, layout.parts, values)
        value = self._checked(self.value(layout))
        if layout.padding_index is not None and value != Constant(0.0):
            return PaddingRow(layout.padding_index, value)
        return value

    def _checked(self, value: Any) -> Value:
        if not isinstance(value, Value):
            raise ArgumentError(
                f"{type(self).__name__}.value gives {value!r}, which is no value of initcfg.values."
            )
        return value

    def __call__(self, module: nn.Module) -> None:
        """Initialize ``module`` now, as the original does."""
        doors.call_initializer(self, module)

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={item!r}" for name, item in self.arguments().items())
        return f"{type(self).__name__}({inner})"


@INITIALIZERS.register_module(name="Constant")
class ConstantInit(BaseInit):
    """Every weight is ``val``.

    Args:
        val: The number.
        bias: See :class:`BaseInit`, as ``bias_prob`` and ``layer``.
    """

    def __init__(self, val: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val = _number("val", val)

    def value(self, layout: Layout) -> Value:
        return Constant(float(self.val))


@INITIALIZERS.register_module(name="Normal")
class NormalInit(BaseInit):
    """Weights from N(mean, std²).

    Args:
        mean: Mean.
        std: Standard deviation, at least 0.
    """

    def __init__(self, mean: float = 0, std: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = _number("mean", mean)
        self.std = _std(std)

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
        a: Lower bound.
        b: Upper bound.
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
        self.mean = _number("mean", mean)
        self.std = _std(std)
        in_sigmas = a_sigma is not None or b_sigma is not None
        if in_sigmas and (a is not None or b is not None):
            raise ArgumentError(
                "TruncNormal takes its bounds in absolute values (a, b) or in sigmas (a_sigma, b_sigma), "
                "not both."
            )
        if preserve_std and not in_sigmas:
            raise ArgumentError("preserve_std needs the bounds in sigmas: a_sigma and b_sigma.")
        self.a: float | None
        self.b: float | None
        self.a_sigma = self.b_sigma = self.preserve_std = None
        if in_sigmas:
            self.a = self.b = None
            self.a_sigma = _number("a_sigma", -2 if a_sigma is None else a_sigma)
            self.b_sigma = _number("b_sigma", 2 if b_sigma is None else b_sigma)
            self.preserve_std = preserve_std or None
        else:
            self.a = _number("a", -2 if a is None else a)
            self.b = _number("b", 2 if b is None else b)
        if self._bounds()[0] > self._bounds()[1]:
            raise ArgumentError(f"The lower bound of {self} lies above the upper one.")

    def _bounds(self) -> tuple[float, float]:
        if self.a_sigma is not None and self.b_sigma is not None:
            return self.a_sigma, self.b_sigma
        assert self.a is not None and self.b is not None
        return self.a, self.b

    def value(self, layout: Layout) -> Value:
        mean, std = float(self.mean), float(self.std)
        low, high = (float(bound) for bound in self._bounds())
        if self.a_sigma is not None:
            if self.preserve_std:
                std /= truncated_unit_std(low, high)
            low, high = mean + low * std, mean + high * std
        return TruncNormal(mean, std, low, high)

    def notes(self) -> list[str]:
        if self.a_sigma is not None or not self.std:
            return []
        low, high = ((bound - self.mean) / self.std for bound in self._bounds())
        # float32 draws never pass 6.4 sigma, so such a bound is never met.
        if low < -6.4 and high > 6.4:
            return [
                f"the bounds a={self.a}, b={self.b} are absolute values, {-low:.0f} and {high:.0f} sigma "
                f"away at std={self.std}: they cut nothing. For ±2 sigma write a_sigma=-2, b_sigma=2."
            ]
        return []


def truncated_unit_std(low: float, high: float) -> float:
    """Standard deviation of N(0, 1) given that it lies in [low, high]."""

    def density(x: float) -> float:
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if mass <= 0:
        raise ArgumentError(f"No mass of the normal lies between {low} and {high} sigma.")
    shift = (density(high) - density(low)) / mass
    return math.sqrt(1 - (high * density(high) - low * density(low)) / mass - shift * shift)


@INITIALIZERS.register_module(name="Uniform")
class UniformInit(BaseInit):
    """Weights from U(a, b).

    Args:
        a: Lower bound.
        b: Upper bound.
    """

    def __init__(self, a: float = 0, b: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a = _number("a", a)
        self.b = _number("b", b)
        if a > b:
            raise ArgumentError(f"The lower bound of {self} lies above the upper one.")

    def value(self, layout: Layout) -> Value:
        return Uniform(float(self.a), float(self.b))


@INITIALIZERS.register_module(name="Xavier")
class XavierInit(BaseInit):
    """Weights of variance gain² · 2 / (fan_in + fan_out).

    Keeps the variance of activations and of gradients about equal from layer to layer; from
    "Understanding the difficulty of training deep feedforward neural networks", Glorot & Bengio 2010.

    Args:
        gain: Factor on the standard deviation.
        distribution: ``"normal"`` or ``"uniform"`` (bounds ±sqrt(3) standard deviations).
    """

    def __init__(self, gain: float = 1, distribution: str = "normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = _number("gain", gain)
        self.distribution = _distribution(distribution)

    def value(self, layout: Layout) -> Value:
        fan_in, fan_out = layout.fans()
        return _spread(self.distribution, self.gain * math.sqrt(2.0 / float(fan_in + fan_out)))


@INITIALIZERS.register_module(name="Kaiming")
class KaimingInit(BaseInit):
    """Weights of standard deviation gain(nonlinearity, a) / sqrt(fan).

    Keeps the variance through a deep stack of rectifiers; from "Delving Deep into Rectifiers", He et
    al. 2015. The gain is :func:`torch.nn.init.calculate_gain`'s.

    Args:
        a: Negative slope of the rectifier that follows; used with ``"leaky_relu"`` alone.
        mode: ``"fan_in"`` (variance kept forward) or ``"fan_out"`` (backward).
        nonlinearity: Name of the function that follows, as in ``torch.nn.functional``.
        distribution: ``"normal"`` or ``"uniform"`` (bounds ±sqrt(3) standard deviations).
    """

    def __init__(
        self,
        a: float = 0,
        mode: str = "fan_out",
        nonlinearity: str = "relu",
        distribution: str = "normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        from torch.nn.init import calculate_gain

        self.a = _number("a", a)
        if not isinstance(mode, str) or mode.lower() not in ("fan_in", "fan_out"):
            raise ArgumentError(f"mode must be 'fan_in' or 'fan_out', not {mode!r}.")
        self.mode = mode
        self.nonlinearity = nonlinearity
        self.distribution = _distribution(distribution)
        try:
            self._gain = calculate_gain(nonlinearity, a)  # type: ignore[arg-type]
        except ValueError as error:
            raise ArgumentError(f"nonlinearity={nonlinearity!r} is not supported: {error}.") from error

    def value(self, layout: Layout) -> Value:
        fan_in, fan_out = layout.fans()
        fan = fan_in if self.mode.lower() == "fan_in" else fan_out
        # torch leaves an empty tensor alone; any number will do.
        return _spread(self.distribution, self._gain / math.sqrt(fan) if fan else 0.0)


@INITIALIZERS.register_module(name="Caffe2Xavier")
class Caffe2XavierInit(KaimingInit):
    """What Caffe2 calls Xavier: U(-b, b) with b = sqrt(3 / fan_in).

    The same as Kaiming with a=1, mode fan_in, leaky_relu and the uniform distribution.
    """

    def __init__(
        self,
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: str | list[str] | None = None,
    ) -> None:
        fixed: dict[str, Any] = {"mode": "fan_in", "nonlinearity": "leaky_relu", "distribution": "uniform"}
        super().__init__(a=1, **fixed, bias=bias, bias_prob=bias_prob, layer=layer)


def _spread(distribution: str, std: float) -> Value:
    if distribution == "normal":
        return Normal(0.0, std)
    bound = math.sqrt(3.0) * std
    return Uniform(-bound, bound)


def _number(name: str, number: Any) -> float:
    if not isinstance(number, numbers.Real):
        raise ArgumentError(f"{name} must be a number, not {number!r}.")
    try:
        converted = float(number)
    except OverflowError as error:
        raise ArgumentError(f"{name} is beyond what a float can hold.") from error
    return number if isinstance(number, (int, float)) else converted


def _std(std: Any) -> float:
    if _number("std", std) < 0 or math.isnan(std):
        raise ArgumentError(f"A standard deviation is not negative, but std is {std}.")
    return std


def _distribution(distribution: Any) -> str:
    if distribution not in ("uniform", "normal"):
        raise ArgumentError(f"distribution must be 'uniform' or 'normal', not {distribution!r}.")
    return distribution
