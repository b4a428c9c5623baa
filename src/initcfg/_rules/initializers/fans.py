"""Initializers whose variance comes from the fans: Xavier, Kaiming, VarianceScaling, LeCun."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from initcfg._rules.initializers.arguments import finite, gain_of, number, one_of
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg.errors import ArgumentValueError, TensorError
from initcfg.values import Layout, Normal, Parts, TruncNormal, Uniform, Value, scaled

# Standard deviation of N(0, 1) between ±2, as JAX and Keras write it.
_STD_WITHIN_TWO = 0.87962566103423978

_DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")


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
        self.gain = number("gain", gain)
        self.distribution = one_of("distribution", distribution, ("normal", "uniform"))

    def value(self, layout: Layout) -> Value:
        fan_in, fan_out = layout.fans()
        return _spread(self.distribution, self.gain * math.sqrt(2.0 / float(fan_in + fan_out)))


@INITIALIZERS.register_module(name="FusedXavier")
class FusedXavierInit(XavierInit):
    """Queries, keys and values of torch's attention, which are one matrix: Xavier's uniform, each by itself.

    A rule's ``scale`` multiplies the values alone, as ``DeepNorm`` and ``TFixup`` have it.

    Args:
        gain: Factor on the standard deviation.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> rule = dict(type="FusedXavier", param="in_proj_weight", scale="1/2")
        >>> print(initcfg.plan(nn.MultiheadAttention(6, 2), rule)["in_proj_weight"].value)
        [Uniform(a=-0.7071, b=0.7071) | Uniform(a=-0.7071, b=0.7071) | Uniform(a=-0.3536, b=0.3536)]
    """

    def __init__(self, gain: float = 1, **kwargs: Any) -> None:
        super().__init__(gain, "uniform", **kwargs)

    def arguments(self) -> dict[str, Any]:
        """See the base."""
        return {"gain": self.gain}

    def resolve(self, layout: Layout) -> Value:
        """See the base: three parts, and nothing else."""
        if len(layout.parts) != 3:
            raise TensorError(
                "FusedXavier is for the fused matrix of torch.nn.MultiheadAttention: of others nobody knows "
                "which rows are the values.",
                fix="Split it into queries, keys and values; or take a scheme that scales no values.",
            )
        return super().resolve(layout)

    def with_scale(self, value: Value, factor: float, layout: Layout, divisor: float) -> Value:
        """See the base: the values are the last of the three."""
        assert isinstance(value, Parts)
        size = (value.sizes[-1], *layout.shape[1:])
        values = scaled(value.values[-1], factor, size, divisor=divisor)
        return replace(value, values=(*value.values[:-1], values))


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
        self.a = number("a", a)
        # torch takes any case.
        one_of("mode", mode.lower() if isinstance(mode, str) else mode, ("fan_in", "fan_out"))
        self.mode = mode
        self.nonlinearity = nonlinearity
        self.distribution = one_of("distribution", distribution, ("normal", "uniform"))
        self._gain = gain_of("nonlinearity", nonlinearity, a)

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
        self, *, bias: float = 0, bias_prob: float | None = None, layer: str | list[str] | None = None
    ) -> None:
        super().__init__(1, "fan_in", "leaky_relu", "uniform", bias=bias, bias_prob=bias_prob, layer=layer)


@INITIALIZERS.register_module(name="VarianceScaling")
class VarianceScalingInit(BaseInit):
    """Weights of variance scale / fan, as in JAX and Keras.

    The mother of the others: Xavier is ``scale=1, mode='fan_avg'``, Kaiming for rectifiers ``scale=2``,
    LeCun ``scale=1, mode='fan_in'``. A truncated normal is cut at ±2 standard deviations of the normal
    before the cut, which is made wider (divided by 0.8796...) so that the weights have the variance.

    Args:
        scale: Factor on the variance, above 0.
        mode: ``"fan_in"``, ``"fan_out"``, ``"fan_avg"`` (their mean) or ``"fan_geo_avg"`` (√ of their
            product).
        distribution: ``"truncated_normal"``, ``"normal"`` or ``"uniform"`` (bounds ±√3 standard
            deviations).

    Example:
        >>> from initcfg import INITIALIZERS
        >>> from initcfg.values import Layout
        >>> VarianceScaling = INITIALIZERS.get("VarianceScaling")
        >>> print(VarianceScaling(2.0, "fan_in", "normal").value(Layout((3, 8))))
        Normal(mean=0, std=0.5)
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if finite("scale", scale) <= 0:
            raise ArgumentValueError(f"A variance is above 0, but scale is {scale!r}.")
        self.scale = scale
        self.mode = one_of("mode", mode, ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"))
        self.distribution = one_of("distribution", distribution, _DISTRIBUTIONS)

    def value(self, layout: Layout) -> Value:
        return _scaled(layout, self.scale, self.mode, self.distribution)


@INITIALIZERS.register_module(name="LeCun")
class LeCunInit(BaseInit):
    """Weights of variance 1 / fan_in.

    Keeps the variance of what a linear or a self-normalizing (SELU) layer hands on; from "Efficient
    BackProp", LeCun, Bottou, Orr & Müller 1998, section 4.6, and Klambauer et al. 2017. The same as
    VarianceScaling with its defaults.

    Args:
        distribution: ``"truncated_normal"``, ``"normal"`` or ``"uniform"``, as in VarianceScaling.

    Example:
        >>> from initcfg import INITIALIZERS
        >>> from initcfg.values import Layout
        >>> print(INITIALIZERS.get("LeCun")("normal").value(Layout((3, 4))))
        Normal(mean=0, std=0.5)
    """

    def __init__(self, distribution: str = "truncated_normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.distribution = one_of("distribution", distribution, _DISTRIBUTIONS)

    def value(self, layout: Layout) -> Value:
        return _scaled(layout, 1.0, "fan_in", self.distribution)


def _scaled(layout: Layout, scale: float, mode: str, distribution: str) -> Value:
    fan_in, fan_out = layout.fans()
    fan = {
        "fan_in": float(fan_in),
        "fan_out": float(fan_out),
        "fan_avg": (fan_in + fan_out) / 2.0,
        "fan_geo_avg": math.sqrt(fan_in * fan_out),
    }[mode]
    # An empty tensor has nothing to fill; any number will do.
    return _spread(distribution, math.sqrt(scale / fan) if fan else 0.0)


def _spread(distribution: str, std: float) -> Value:
    """A distribution around 0 of standard deviation ``std``."""
    if distribution == "normal":
        return Normal(0.0, std)
    if distribution == "uniform":
        bound = math.sqrt(3.0) * std
        return Uniform(-bound, bound)
    std /= _STD_WITHIN_TWO
    return TruncNormal(0.0, std, -2.0 * std, 2.0 * std)
