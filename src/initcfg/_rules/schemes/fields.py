"""Schemes of networks of coordinates: SIREN and FINER; and of learned splines, KAN."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from initcfg._rules.initializers import INITIALIZERS, finite, positive, whole_number
from initcfg._rules.schemes.scheme import Scheme
from initcfg.errors import ArgumentError


@INITIALIZERS.register_module(name="SIREN")
class SIREN(Scheme):
    """A network of sines: the first layer U(±1 / fan_in), others U(±√(6 / fan_in) / ω), biases torch's own.

    From "Implicit Neural Representations with Periodic Activation Functions", Sitzmann et al. 2020
    (2006.09661). Held to vsitzmann/siren, modules.py.

    Args:
        omega: The factor ω before each sine.
        first: ``"auto"``, the first linear layer of the module; or a glob of its weight.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 64), nn.Linear(64, 64))
        >>> plan = initcfg.plan(model, dict(type="SIREN", omega=30))
        >>> print(plan["0.weight"].value, plan["1.weight"].value)
        Uniform(a=-0.5, b=0.5) Uniform(a=-0.01021, b=0.01021)
    """

    family = "coordinates"
    paper = "Sitzmann et al. 2020"

    def __init__(self, omega: float = 30, first: str = "auto") -> None:
        self.omega = positive("omega", omega)
        if not isinstance(first, str):
            raise ArgumentError(f"first must be 'auto' or a glob of a weight, not {first!r}.")
        self.first = first

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return self._recipe("" if self.first == "auto" else self.first)

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`."""
        if self.first != "auto":
            return self.recipe()
        layers = (name for name, module in owner.named_modules() if isinstance(module, nn.Linear))
        name = next(layers, None)
        return self._recipe("" if name is None else f"{name}.weight".lstrip("."))

    def _recipe(self, first: str) -> list[dict[str, Any]]:
        rest = dict(type="SIRENLayer", layer="Linear", omega=self.omega, bias=dict(type="TorchDefault"))
        if not first:
            return [rest]
        return [rest, dict(type="SIRENLayer", omega=self.omega, first=True, param=first)]


@INITIALIZERS.register_module(name="FINER")
class FINER(SIREN):
    """SIREN, with the first layer's bias from U(±k): variable frequencies sin(ω(|x| + 1)x) need a wide one.

    From "FINER: Flexible Spectral-bias Tuning in Implicit Neural Representation by Variable-periodic
    Activation Functions", Liu et al. 2024 (2312.02434). Held to liuzhen0212/FINER, models.py.

    Args:
        omega: The factor ω before each sine.
        first_bias_scale: k.
        first: As for ``SIREN``.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 64), nn.Linear(64, 64))
        >>> print(initcfg.plan(model, dict(type="FINER", first_bias_scale=10))["0.bias"].value)
        Uniform(a=-10, b=10)
    """

    paper = "Liu et al. 2024"

    def __init__(self, omega: float = 30, first_bias_scale: float = 20, first: str = "auto") -> None:
        super().__init__(omega, first)
        self.first_bias_scale = positive("first_bias_scale", first_bias_scale)

    def _recipe(self, first: str) -> list[dict[str, Any]]:
        rules = super()._recipe(first)
        if first:
            k = self.first_bias_scale
            bias = first.removesuffix("weight") + "bias"
            rules.append(dict(type="Uniform", a=-k, b=k, param=bias))
        return rules


@INITIALIZERS.register_module(name="KAN")
class KAN(Scheme):
    """Kolmogorov-Arnold networks: splines through small noise, and base weights of Kaiming's uniform, a = √5.

    ``base_weight`` and ``spline_scaler`` are U(±√(6 / ((1 + 5·scale²)·fan_in))), ``spline_weight`` is
    ``SplineNoise``. Of pykan's layers ``coef`` is the same noise; its other scales stay as they are. From
    "KAN: Kolmogorov-Arnold Networks", Liu et al. 2024 (2404.19756). Held to Blealtan/efficient-kan, kan.py.

    Args:
        grid: Number of intervals of the grid.
        order: Of the splines.
        noise: Of the splines at the knots of the grid.
        base: Of the base weights: the slope for Kaiming's is √5 · base.
        spline: Of the splines' own scales, likewise.

    Example:
        >>> from initcfg._rules.schemes.fields import KAN
        >>> KAN(grid=8).recipe()[0]
        {'type': 'SplineNoise', 'grid': 8, 'order': 3, 'scale': 0.1, 'param': ['*spline_weight', '*.coef']}
    """

    family = "coordinates"
    paper = "Liu et al. 2024"

    def __init__(
        self, grid: int = 5, order: int = 3, noise: float = 0.1, base: float = 1.0, spline: float = 1.0
    ) -> None:
        self.grid, self.order = whole_number("grid", grid), whole_number("order", order)
        self.noise, self.spline = finite("noise", noise), finite("spline", spline)
        self.slope = math.sqrt(5) * finite("base", base)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        drawn = dict(type="Kaiming", mode="fan_in", nonlinearity="leaky_relu", distribution="uniform")
        noise = dict(type="SplineNoise", grid=self.grid, order=self.order, scale=self.noise)
        return [
            dict(noise, param=["*spline_weight", "*.coef"]),
            dict(drawn, a=self.slope, param="*base_weight"),
            dict(drawn, a=math.sqrt(5) * self.spline, param="*spline_scaler"),
        ]
