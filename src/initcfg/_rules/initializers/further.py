"""Initializers that the original does not have: those of torch.nn.init, and of other frameworks."""

from __future__ import annotations

import math
from typing import Any

from initcfg._rules.initializers.original import BaseInit, _number, _std
from initcfg._rules.initializers.registry import INITIALIZERS
from initcfg.errors import ArgumentError, TensorError
from initcfg.values import (
    Dirac,
    Eye,
    Layout,
    Normal,
    Orthogonal,
    Sparse,
    TruncNormal,
    Uniform,
    Value,
    shape_problem,
)

# Standard deviation of N(0, 1) between ±2, as JAX and Keras write it.
_STD_WITHIN_TWO = 0.87962566103423978

_MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
_DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")


@INITIALIZERS.register_module(name="Orthogonal")
class OrthogonalInit(BaseInit):
    """Matrices with QᵀQ = gain² · 1, or QQᵀ = gain² · 1 if there are fewer rows than columns.

    A deep linear network of such matrices keeps every length, forward and backward; from "Exact
    solutions to the nonlinear dynamics of learning in deep linear neural networks", Saxe, McClelland &
    Ganguli 2013. Q is uniformly distributed (Haar): the orthogonal factor of a matrix of N(0, 1), where
    the triangular one has a positive diagonal (Mezzadri 2006).

    Axis 0 of a tensor counts the rows, and all others together the columns, as in torch. The parts of a
    fused weight (the gates of an LSTM, the projections of an attention layer) are orthogonal each; so
    are the matrices along ``batch_axis``, with the rows along ``out_axis``.

    Args:
        gain: Length of the orthogonal rows or columns; or the name of the function that follows, whose
            gain :func:`torch.nn.init.calculate_gain` knows: ``"relu"``, ``"tanh"``.
        a: Negative slope, for ``gain="leaky_relu"`` alone; torch's 0.01 by default.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.Linear(4, 4), dict(type="Orthogonal", layer="Linear", gain="relu"))
        >>> print(plan["weight"].value)
        Orthogonal(gain=1.414)
    """

    def __init__(self, gain: float | str = 1, a: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = gain
        self.a = None if a is None else _finite("a", a)
        if a is not None and gain != "leaky_relu":
            raise ArgumentError("a is the slope of gain='leaky_relu', and has no meaning for another gain.")
        self._gain = _gain(gain, a) if isinstance(gain, str) else _finite("gain", gain)

    def value(self, layout: Layout) -> Value:
        rows, stack = (0,), ()
        if layout.out_axis is not None:
            # Fans check the axes.
            layout.fans()
            rank = len(layout.shape)
            rows = tuple(sorted(axis % rank for axis in layout.out_axis))
            stack = tuple(sorted(axis % rank for axis in layout.batch_axis))
        return _possible(
            Orthogonal(self._gain, rows, stack),
            layout,
            "Exclude such tensors, or give them a rule of their own (Constant, Normal, ...).",
        )


@INITIALIZERS.register_module(name="Sparse")
class SparseInit(BaseInit):
    """Weights from N(0, std²), of which ceil(sparsity · rows) in each column are zero.

    A column holds what one input sends out: each input reaches the same number of units, few of them,
    so that units neither saturate nor resemble each other; from "Deep learning via Hessian-free
    optimization", Martens 2010, section 5. For matrices (Linear, Embedding) alone.

    Args:
        sparsity: Share of zeros, from 0 to 1.
        std: Standard deviation of the others, at least 0.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.Linear(2, 10), dict(type="Sparse", layer="Linear", sparsity=0.8))
        >>> print(plan["weight"].value)
        Sparse(sparsity=0.8, std=0.01)
    """

    def __init__(self, sparsity: float, std: float = 0.01, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sparsity = _number("sparsity", sparsity)
        if not 0 <= sparsity <= 1:
            raise ArgumentError(f"sparsity is a share from 0 to 1, not {sparsity!r}.")
        self.std = _std(std)

    def value(self, layout: Layout) -> Value:
        return _possible(
            Sparse(float(self.sparsity), float(self.std)),
            layout,
            "Name the layers that have matrices, such as layer='Linear'.",
        )


@INITIALIZERS.register_module(name="Dirac")
class DiracInit(BaseInit):
    """A convolution that hands its input on: 1 where input and output channel agree, at the center.

    With stride 1 and "same" padding the layer is the identity, as far as there are channels;
    "DiracNets", Zagoruyko & Komodakis 2017. In each group of output channels, channel d takes input
    channel d of that group.

    Args:
        groups: Number of groups; by default those of the convolution. (torch's ``dirac_`` takes 1.)

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.Conv2d(4, 4, 3, padding=1, groups=2), dict(type="Dirac", layer="Conv2d"))
        >>> print(plan["weight"].value)
        Dirac(groups=2)
    """

    def __init__(self, groups: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if groups is not None and (not isinstance(groups, int) or isinstance(groups, bool) or groups < 1):
            raise ArgumentError(f"groups must be a whole number from 1 on, not {groups!r}.")
        self.groups = groups

    def value(self, layout: Layout) -> Value:
        fix = "Name convolutions, such as layer='Conv2d'; the identity of a Linear is type='Identity'."
        if 3 <= len(layout.shape) <= 5:
            fix = "Leave out groups: by default they are the convolution's own."
        return _possible(Dirac(layout.groups if self.groups is None else self.groups), layout, fix)


@INITIALIZERS.register_module(name=["Identity", "Eye"])
class IdentityInit(BaseInit):
    """Matrices with ``gain`` on the diagonal, and zero elsewhere.

    The layer hands its input on, as far as there are units. In the recurrent weights of a network of
    rectifiers it remembers: "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
    Le, Jaitly & Hinton 2015. The gates of a recurrent layer are identities each. For matrices alone.

    Args:
        gain: The number on the diagonal.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.LSTM(3, 4), dict(type="Identity", layer="LSTM"))
        >>> print(plan["weight_hh_l0"].value)
        4 × Eye(gain=1)
    """

    def __init__(self, gain: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = _finite("gain", gain)

    def value(self, layout: Layout) -> Value:
        return _possible(
            Eye(float(self.gain)),
            layout,
            "Name layers that have matrices, such as layer='Linear'; for convolutions there is Dirac.",
        )


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
        if _finite("scale", scale) <= 0:
            raise ArgumentError(f"A variance is above 0, but scale is {scale!r}.")
        self.scale = scale
        self.mode = _one_of("mode", mode, _MODES)
        self.distribution = _one_of("distribution", distribution, _DISTRIBUTIONS)

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
        self.distribution = _one_of("distribution", distribution, _DISTRIBUTIONS)

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
    std = math.sqrt(scale / fan) if fan else 0.0
    if distribution == "uniform":
        bound = math.sqrt(3.0) * std
        return Uniform(-bound, bound)
    if distribution == "normal":
        return Normal(0.0, std)
    std /= _STD_WITHIN_TWO
    return TruncNormal(0.0, std, -2.0 * std, 2.0 * std)


def _possible(value: Value, layout: Layout, fix: str) -> Value:
    found = shape_problem(value, layout.shape)
    if found is not None:
        raise TensorError(f"{value} cannot be made: {found}.", fix=fix)
    return value


def _gain(nonlinearity: str, a: float | None) -> float:
    from torch.nn.init import calculate_gain

    try:
        return float(calculate_gain(nonlinearity, a))  # type: ignore[arg-type]
    except ValueError as error:
        raise ArgumentError(
            f"gain={nonlinearity!r} names no function: {error}.",
            fix="Give a number, or a name such as 'relu', 'tanh', 'selu' or 'linear'.",
        ) from error


def _finite(name: str, number: Any) -> float:
    converted = float(_number(name, number))
    if not math.isfinite(converted):
        raise ArgumentError(f"{name} must be finite, not {number!r}.")
    return converted


def _one_of(name: str, given: Any, known: tuple[str, ...]) -> str:
    if given not in known:
        raise ArgumentError(
            f"{name} must be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}, not {given!r}."
        )
    return given
