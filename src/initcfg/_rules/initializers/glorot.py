"""Glorot's variance, counted otherwise: of the last two axes, exactly, or of a kernel seen as a matrix."""

from __future__ import annotations

import math
from typing import Any

from initcfg._rules.initializers.arguments import finite
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg._rules.initializers.formula_steps import Steps
from initcfg.errors import TensorError
from initcfg.values import Layout, Orthogonal, Uniform, Value


@INITIALIZERS.register_module(name="GCNGlorot")
class GCNGlorotInit(BaseInit):
    """U(-b, b) with b = √(6 / (rows + columns)), of the last two axes alone.

    What graph networks call Glorot: a stack of matrices along the first axes counts as so many matrices.
    From "Semi-Supervised Classification with Graph Convolutional Networks", Kipf & Welling 2017. Held to
    PyTorch Geometric, nn/inits.py.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Linear(128, 64), dict(type="GCNGlorot", layer="Linear"))["weight"].value)
        Uniform(a=-0.1768, b=0.1768)
    """

    def value(self, layout: Layout) -> Value:
        rows, columns = _last_two(layout)
        bound = math.sqrt(6.0 / (rows + columns)) if rows + columns else 0.0
        return Uniform(-bound, bound)


@INITIALIZERS.register_module(name="GlorotOrthogonal")
class GlorotOrthogonalInit(BaseInit):
    """Orthogonal, then scaled by √(scale / ((rows + columns) · its variance)): Glorot's variance, exactly.

    For message passing on molecules: "Directional Message Passing for Molecular Graphs" (DimeNet),
    Gasteiger, Groß & Günnemann 2020. Held to PyTorch Geometric, nn/inits.py.

    Args:
        scale: The variance times (rows + columns).

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> rule = dict(type="GlorotOrthogonal", layer="Linear")
        >>> print(initcfg.plan(nn.Linear(8, 4), rule)["weight"].value)
        Formula(Orthogonal(gain=1), var, mul, reciprocal, mul, sqrt, mul)
    """

    def __init__(self, scale: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = finite("scale", scale)

    def value(self, layout: Layout) -> Value:
        rows, columns = _last_two(layout)
        if math.prod(layout.shape) < 2:
            raise TensorError(
                f"A tensor of shape {layout.shape} has no variance to scale by.", fix="Exclude such tensors."
            )
        steps = Steps()
        drawn = steps.value(layout.shape, Orthogonal(1.0))
        variance = steps.call("mul.Scalar", steps.call("var", drawn), rows + columns)
        factor = steps.call("mul.Scalar", steps.call("reciprocal", variance), float(self.scale))
        return steps.result(steps.call("mul.Tensor", drawn, steps.call("sqrt", factor)))


@INITIALIZERS.register_module(name="FlatXavier")
class FlatXavierInit(BaseInit):
    """Xavier's uniform of a kernel as if it were a matrix: outputs by all that feeds one of them.

    For a convolution that cuts an image into patches, which is a matrix on each; vision transformers of MAE
    and DiT have it. Xavier of the kernel itself counts what an input feeds by each tap, which here is only
    one.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> patches = nn.Conv2d(3, 48, 4, stride=4)
        >>> print(initcfg.plan(patches, dict(type="FlatXavier", layer="Conv2d"))["weight"].value)
        Uniform(a=-0.25, b=0.25)
    """

    def value(self, layout: Layout) -> Value:
        shape = layout.shape
        if len(shape) < 2 or layout.groups != 1:
            raise TensorError(
                "FlatXavier is for matrices and for convolutions of one group.", fix="Exclude such tensors."
            )
        fans = shape[0] + math.prod(shape[1:])
        bound = math.sqrt(6.0 / fans) if fans else 0.0
        return Uniform(-bound, bound)


def _last_two(layout: Layout) -> tuple[int, int]:
    if len(layout.shape) < 2:
        raise TensorError("Glorot needs a tensor of two or more dimensions.", fix="Exclude such tensors.")
    return layout.shape[-2], layout.shape[-1]
