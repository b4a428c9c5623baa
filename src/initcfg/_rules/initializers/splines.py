"""Initializers of splines that a network learns: Kolmogorov-Arnold networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from initcfg._rules.initializers.arguments import finite, whole_number
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg._rules.initializers.formula_steps import Steps, view
from initcfg.errors import TensorError
from initcfg.values import Layout, Uniform, Value


@INITIALIZERS.register_module(name="SplineNoise")
class SplineNoiseInit(BaseInit):
    """Coefficients of B-splines that pass through noise: at each knot of the grid U(±scale / (2·grid)).

    The last axis holds the ``grid + order`` coefficients of each spline: those of least length that give the
    noise. For ``spline_weight`` and ``coef`` of Kolmogorov-Arnold networks; from "KAN: Kolmogorov-Arnold
    Networks", Liu et al. 2024 (2404.19756). Held to Blealtan/efficient-kan, kan.py, and KindXiaoming/pykan,
    KANLayer.py. The scheme ``KAN`` does a whole network.

    Args:
        grid: Number of intervals.
        order: Of the splines.
        scale: Of the noise.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> model = nn.Module()
        >>> model.spline_weight = nn.Parameter(torch.zeros(16, 8, 5 + 3))
        >>> _ = initcfg.init_weights(model, dict(type="SplineNoise", param="spline_weight"))
        >>> bool(0 < model.spline_weight.abs().max() < 0.05)
        True
    """

    def __init__(self, grid: int = 5, order: int = 3, scale: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid, self.order = whole_number("grid", grid), whole_number("order", order)
        self.scale = finite("scale", scale)

    def value(self, layout: Layout) -> Value:
        shape, count = layout.shape, self.grid + self.order
        if len(shape) != 3 or shape[-1] != count:
            raise TensorError(
                f"SplineNoise is for splines of {self.grid} + {self.order} coefficients on the last of three "
                f"axes, not for a tensor of shape {shape}.",
                fix="Say the network's own numbers: grid=5, order=3.",
            )
        splines, knots = shape[0] * shape[1], self.grid + 1
        bound = abs(self.scale) / (2 * self.grid)
        steps = Steps()
        noise = steps.value((splines, knots), Uniform(-bound, bound))
        # From the numbers at the knots to the coefficients of least length.
        through = np.linalg.pinv(spline_values(self.grid, self.order))
        turned = view(steps.numbers(through.T.ravel().tolist()), [knots, count], [count, 1])
        made = steps.call("mm", noise, turned)
        return steps.result(view(made, list(shape), [shape[1] * count, count, 1]))


def spline_values(grid: int, order: int) -> np.ndarray:
    """What each B-spline of the grid is at each of its knots: one row for a knot.

    Example:
        >>> from initcfg._rules.initializers.splines import spline_values
        >>> spline_values(2, 1).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    knots = np.arange(-order, grid + order + 1, dtype=np.float64)
    at = np.arange(grid + 1, dtype=np.float64)[:, None]
    found = ((at >= knots[:-1]) & (at < knots[1:])).astype(np.float64)
    # By Cox and de Boor.
    for degree in range(1, order + 1):
        rising = (at - knots[: -degree - 1]) / degree
        falling = (knots[degree + 1 :] - at) / degree
        found = rising * found[:, :-1] + falling * found[:, 1:]
    return found
