"""Published forms of matrices and kernels: at the center tap, by blocks, or repeated for a later layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from initcfg._rules.initializers.arguments import channels_first, finite, one_of, possible, whole_number
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg._rules.initializers.formula_steps import Steps, view
from initcfg.errors import ArgumentError, TensorError
from initcfg.values import Constant, Eye, Hadamard, Layout, Orthogonal, Parts, Repeat, Value

_CONVOLUTIONS = "Name convolutions, such as layer='Conv2d'."


@INITIALIZERS.register_module(name="DeltaOrthogonal")
class DeltaOrthogonalInit(BaseInit):
    """Convolutions whose center tap is orthogonal, WᵀW = gain² · 1, and whose other taps are zero.

    A deep plain convolutional network of them keeps the length of its signals, so that 10,000 layers train;
    from "Dynamical Isometry and a Mean Field Theory of CNNs", Xiao et al. 2018 (1806.05393). Held to
    ``jax.nn.initializers.delta_orthogonal``: there are no more input than output channels, and the center
    of k taps is number (k - 1) // 2. With groups, the taps of each group are orthogonal.

    Args:
        gain: Length of the orthogonal columns.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.Conv1d(2, 4, 3), dict(type="DeltaOrthogonal", layer="Conv1d"))
        >>> print(plan["weight"].value)
        [Constant(0) | Orthogonal(gain=1) | Constant(0)]
    """

    def __init__(self, gain: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = finite("gain", gain)

    def value(self, layout: Layout) -> Value:
        channels_first(layout, "DeltaOrthogonal")
        shape = _grouped(layout)
        if len(shape) < 3 or shape[1] > shape[0]:
            raise TensorError(
                f"DeltaOrthogonal is for convolutions with no more input than output channels, not {shape}.",
                fix=_CONVOLUTIONS,
            )
        return _by_group(at_center(Orthogonal(self.gain), shape), layout)


@INITIALIZERS.register_module(name="SUO")
class SUOInit(BaseInit):
    """Scaled uniform orthogonal: orthogonal of length gain · max(1, √(fan_out / fan_in)).

    The scale keeps the size of a signal whether a layer widens or narrows; convolutions have it at the center
    tap. For networks without norms and shortcuts, with transformed activations (DKS, TAT): "Rapid training
    of deep neural networks without skip connections or normalization layers using Deep Kernel Shaping",
    Martens et al. 2021 (2110.01765). Held to google-deepmind/dks, parameter_sampling_functions.py.

    Args:
        gain: Factor on all.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Linear(64, 128), dict(type="SUO", layer="Linear"))["weight"].value)
        Orthogonal(gain=1.414)
    """

    def __init__(self, gain: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = finite("gain", gain)

    def value(self, layout: Layout) -> Value:
        shape = _grouped(layout)
        if layout.out_axis is not None or len(shape) == 2:
            fan_in, fan_out = layout.fans()
            rows = (0,) if layout.out_axis is None else tuple(axis % len(shape) for axis in layout.out_axis)
            stack = tuple(axis % len(shape) for axis in layout.batch_axis)
            gain = self.gain * max(1.0, math.sqrt(fan_out / fan_in) if fan_in else 1.0)
            return possible(Orthogonal(gain, rows, stack), layout, "Name matrices and convolutions.")
        if len(shape) < 2:
            raise TensorError("SUO is for matrices and convolutions.", fix="Name them by layer=.")
        outputs, inputs = (shape[1], shape[0]) if layout.transposed else shape[:2]
        gain = self.gain * max(1.0, math.sqrt(outputs / inputs) if inputs else 1.0)
        return _by_group(at_center(Orthogonal(gain), shape), layout)


@INITIALIZERS.register_module(name="LooksLinear")
class LooksLinearInit(BaseInit):
    """[[W, -W], [-W, W]] with W orthogonal: a network of rectifiers that is linear at the start.

    Each unit has a mirror image, and the rectified pair adds up to a linear function, so that gradients do
    not shatter in a deep network without shortcuts; from "The Shattered Gradients Problem", Balduzzi et al.
    2017 (1702.08591), section 5. The first layer is [W; -W], the last [W, -W].

    Args:
        place: ``"hidden"``, ``"first"`` or ``"last"``.
        gain: Length of W's orthogonal rows or columns.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Linear(8, 8), dict(type="LooksLinear", layer="Linear"))["weight"].value)
        Formula(Orthogonal(gain=1), neg, cat, neg, cat)
    """

    def __init__(self, place: str = "hidden", gain: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.place = one_of("place", place, ("hidden", "first", "last"))
        self.gain = finite("gain", gain)

    def value(self, layout: Layout) -> Value:
        channels_first(layout, "LooksLinear")
        shape = list(layout.shape)
        axes = {"hidden": (0, 1), "first": (0,), "last": (1,)}[self.place]
        if len(shape) < 2 or any(shape[axis] % 2 for axis in axes):
            raise TensorError(
                f"LooksLinear needs even numbers of the units that it mirrors, and this is {tuple(shape)}.",
                fix="Give such layers a rule of their own.",
            )
        for axis in axes:
            shape[axis] //= 2
        steps = Steps()
        made = steps.value(shape, Orthogonal(self.gain))
        for axis in axes:
            made = steps.call("cat", [made, steps.call("neg", made)], axis)
        return steps.result(made)


@INITIALIZERS.register_module(name="BlockOrthogonal")
class BlockOrthogonalInit(BaseInit):
    """Orthogonal block by block: for matrices that stand for several, side by side.

    As in allennlp's ``block_orthogonal``. The gates and projections that initcfg knows (``LSTM``, ``GRU``,
    ``MultiheadAttention``) are orthogonal each by themselves under type="Orthogonal".

    Args:
        sizes: Length of the blocks along each axis: ``[rows, columns]``.
        gain: Length of the orthogonal rows or columns.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> rule = dict(type="BlockOrthogonal", layer="Linear", sizes=[4, 4])
        >>> print(initcfg.plan(nn.Linear(4, 12), rule)["weight"].value)
        3 × Orthogonal(gain=1)
    """

    def __init__(self, sizes: Sequence[int], gain: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(sizes, (list, tuple)):
            raise ArgumentError(f"sizes is a list of the block's length along each axis, not {sizes!r}.")
        self.sizes = [whole_number("sizes", each) for each in sizes]
        self.gain = finite("gain", gain)

    def value(self, layout: Layout) -> Value:
        shape = layout.shape
        if len(shape) != len(self.sizes) or any(
            full % size for full, size in zip(shape, self.sizes, strict=True)
        ):
            raise TensorError(
                f"A tensor of shape {shape} is not made of blocks of {tuple(self.sizes)}.",
                fix="Give sizes= that divide the tensor's, or exclude it.",
            )
        value: Value = Orthogonal(self.gain)
        for axis in reversed(range(len(shape))):
            size, count = self.sizes[axis], shape[axis] // self.sizes[axis]
            value = value if count == 1 else Parts(axis, (size,) * count, (value,) * count)
        return possible(value, layout, "Name matrices and convolutions.")


@INITIALIZERS.register_module(name="ICNR")
class ICNRInit(BaseInit):
    """A convolution before ``nn.PixelShuffle`` that starts as an enlargement without a checkerboard.

    Each kernel of a smaller convolution, ``scale``² times in a row: the order in which PixelShuffle takes
    channels, so that all pixels of a square are alike. (Copies that repeat the whole block instead have
    another order, and the checkerboard.) From "Checkerboard artifact free sub-pixel convolution", Aitken et
    al. 2017 (1707.02937).

    Args:
        scale: The upscale factor of the PixelShuffle.
        base: The initializer of the smaller convolution.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> rule = dict(type="ICNR", layer="Conv2d", scale=2, base=dict(type="Normal", std=0.02))
        >>> print(initcfg.plan(nn.Conv2d(8, 16, 3), rule)["weight"].value)
        Normal(mean=0, std=0.02), each 4 times along 0
    """

    def __init__(
        self, scale: int = 2, base: Mapping[str, Any] = {"type": "Kaiming", "mode": "fan_in"}, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.scale = whole_number("scale", scale)
        self.base = dict(base) if isinstance(base, Mapping) else base
        made = INITIALIZERS.build(self.base) if isinstance(base, Mapping) and "type" in base else None
        if not isinstance(made, BaseInit):
            raise ArgumentError(
                f"base is the initializer of the smaller convolution, not {base!r}.",
                fix="Write base=dict(type='Kaiming', mode='fan_in').",
            )
        self._base = made

    def value(self, layout: Layout) -> Value:
        channels_first(layout, "ICNR")
        times, shape = self.scale**2, layout.shape
        if len(shape) != 4 or layout.transposed or shape[0] % times:
            raise TensorError(
                f"ICNR with scale={self.scale} is for two-dimensional convolutions whose output channels are "
                f"a multiple of {times}, not for {shape}.",
                fix="Name the convolution before the PixelShuffle, and give its upscale factor.",
            )
        smaller = replace(layout, shape=(shape[0] // times, *shape[1:]))
        return Repeat(0, times, self._base.value(smaller))


@INITIALIZERS.register_module(name="Bilinear")
class BilinearInit(BaseInit):
    """A transposed convolution that enlarges by bilinear interpolation, each channel by itself.

    The outer product of two triangles, 1 - |i - c| / ⌈k / 2⌉, from channel i to channel i, zero elsewhere;
    from "Fully Convolutional Networks for Semantic Segmentation", Long, Shelhamer & Darrell 2015. Held to
    wkentaro/pytorch-fcn, fcn32s.py. Stride s takes a kernel of 2s - s % 2.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> up = nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1, bias=False)
        >>> _ = initcfg.init_weights(up, dict(type="Bilinear", layer="ConvTranspose2d"))
        >>> up.weight[0, 0, 0].tolist()
        [0.0625, 0.1875, 0.1875, 0.0625]
    """

    def value(self, layout: Layout) -> Value:
        channels_first(layout, "Bilinear")
        shape = layout.shape
        depthwise = len(shape) > 1 and shape[1] == 1 and layout.groups == shape[0]
        if len(shape) < 3 or not (layout.groups == 1 or depthwise):
            raise TensorError(
                f"Bilinear is for convolutions of one group, or one per channel, not for {shape}.",
                fix="Name transposed convolutions: layer='ConvTranspose2d'.",
            )
        steps = Steps()
        channels = steps.call("full", [shape[0], 1], 1.0) if depthwise else steps.call("eye.m", *shape[:2])
        made = view(channels, [*shape[:2], *[1] * (len(shape) - 2)], [shape[1], 1, *[0] * (len(shape) - 2)])
        for axis in range(2, len(shape)):
            taps = [1] * len(shape)
            taps[axis] = shape[axis]
            row = view(steps.numbers(_triangle(shape[axis])), taps, [int(size > 1) for size in taps])
            made = steps.call("mul.Tensor", made, row)
        return steps.result(made)


@INITIALIZERS.register_module(name="ZerO")
class ZerOInit(BaseInit):
    """No randomness: identities where a layer keeps or narrows, parts of a Hadamard matrix where it widens.

    A layer of m outputs and n inputs has 1 on its diagonal if m ≤ n; otherwise rows and columns of the
    Hadamard matrix of order 2^k, k = ⌈log₂ m⌉, divided by 2^(k/2). Convolutions have that at the center tap.
    For residual networks, whose last layer of each branch is zero besides: "ZerO Initialization:
    Initializing Neural Networks with only Zeros and Ones", Zhao, Schäfer & Anandkumar 2022 (2110.12661).
    Held to the notebook of jiaweizzhao/ZerO-initialization.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 16))
        >>> plan = initcfg.plan(model, dict(type="ZerO", layer="Linear"))
        >>> print(plan["0.weight"].value, plan["1.weight"].value)
        Eye(gain=1) Hadamard(gain=0.25)
    """

    def value(self, layout: Layout) -> Value:
        channels_first(layout, "ZerO")
        shape = layout.shape
        if len(shape) < 2 or layout.batch_axis:
            raise TensorError("ZerO is for matrices and convolutions.", fix="Name them by layer=.")
        outputs, inputs = shape[:2]
        if layout.transposed or layout.in_axis == (0,):
            outputs, inputs = inputs, outputs
        order = max(outputs - 1, 0).bit_length()
        value: Value = Eye(1.0) if outputs <= inputs else Hadamard(2.0 ** (-order / 2))
        if len(shape) == 2:
            return value
        steps = Steps()
        made = steps.value(shape[:2], value)
        made = view(made, [*shape[:2], *[1] * (len(shape) - 2)], [shape[1], 1, *[0] * (len(shape) - 2)])
        for axis in range(2, len(shape)):
            # Zeros before and after the center, along one axis after the other.
            size = shape[axis]
            pads = [0, 0] * (len(shape) - 1 - axis) + [size // 2, size - 1 - size // 2]
            made = steps.call("constant_pad_nd", made, pads, 0.0)
        return steps.result(made)


def at_center(value: Value, shape: Sequence[int]) -> Value:
    """A kernel of this shape that has ``value`` at its center tap, and zero at the others."""
    for axis in reversed(range(2, len(shape))):
        size, middle = shape[axis], (shape[axis] - 1) // 2
        sizes, values = (middle, 1, size - 1 - middle), (Constant(0.0), value, Constant(0.0))
        kept = [(length, each) for length, each in zip(sizes, values, strict=True) if length > 0]
        if len(kept) > 1:
            value = Parts(axis, tuple(length for length, _ in kept), tuple(each for _, each in kept))
    return value


def _grouped(layout: Layout) -> tuple[int, ...]:
    """The shape of the kernels of one group."""
    return (layout.shape[0] // layout.groups, *layout.shape[1:]) if layout.shape else ()


def _by_group(value: Value, layout: Layout) -> Value:
    """The kernels of all groups, each alike."""
    if layout.groups == 1:
        return value
    return Parts(0, (layout.shape[0] // layout.groups,) * layout.groups, (value,) * layout.groups)


def _triangle(size: int) -> list[float]:
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    return [1 - abs(at - center) / factor for at in range(size)]
