"""Initializers of networks that take coordinates: SIREN's layers, Fourier features, hash grids."""

from __future__ import annotations

import math
from typing import Any

from initcfg._rules.initializers.arguments import positive
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg.errors import ArgumentError
from initcfg.values import Layout, Normal, Uniform, Value


@INITIALIZERS.register_module(name="SIRENLayer")
class SIRENLayerInit(BaseInit):
    """A layer of a network of sines: U(±√(6 / fan_in) / ω), and the first one U(±1 / fan_in).

    What goes into each sine then has variance 1, whatever the depth; from "Implicit Neural Representations
    with Periodic Activation Functions", Sitzmann et al. 2020 (2006.09661). Held to vsitzmann/siren,
    modules.py. The scheme ``SIREN`` does a whole network.

    Args:
        omega: The factor ω before each sine.
        first: Whether it is the first layer.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Linear(64, 64), dict(type="SIRENLayer", layer="Linear"))["weight"].value)
        Uniform(a=-0.01021, b=0.01021)
    """

    def __init__(self, omega: float = 30, first: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.omega = positive("omega", omega)
        if not isinstance(first, bool):
            raise ArgumentError(
                f"first must be True or False, not {first!r}.", fix="Write first=True, or leave it out."
            )
        self.first = first

    def value(self, layout: Layout) -> Value:
        fan_in, _ = layout.fans()
        if not fan_in:
            return Uniform(0.0, 0.0)
        bound = 1.0 / fan_in if self.first else math.sqrt(6.0 / fan_in) / self.omega
        return Uniform(-bound, bound)


@INITIALIZERS.register_module(name="FourierFeatures")
class FourierFeaturesInit(BaseInit):
    """The frequencies B of random Fourier features, N(0, σ²): coordinates x become cos 2πBx and sin 2πBx.

    A small σ smooths, a large one follows noise; images of 256 pixels ask for about 10. B is mostly a buffer,
    and is not trained: name it by ``buffer=``. From "Fourier Features Let Networks Learn High Frequency
    Functions in Low Dimensional Domains", Tancik et al. 2020 (2006.10739).

    Args:
        sigma: Standard deviation of the frequencies.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> model = nn.Module()
        >>> model.register_buffer("B", torch.zeros(64, 2))
        >>> print(initcfg.plan(model, dict(type="FourierFeatures", buffer="B")).buffers["B"].value)
        Normal(mean=0, std=10)
    """

    def __init__(self, sigma: float = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sigma = positive("sigma", sigma)

    def value(self, layout: Layout) -> Value:
        return Normal(0.0, self.sigma)


@INITIALIZERS.register_module(name="HashGrid")
class HashGridInit(BaseInit):
    """The table of a multiresolution hash encoding: U(±1e-4).

    So small that the network starts out ignorant of where it is, and not zero, so that it can learn; from
    "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", Müller et al. 2022
    (2201.05989), section 4.

    Args:
        bound: The bound.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Embedding(16, 2), dict(type="HashGrid", layer="Embedding"))["weight"].value)
        Uniform(a=-0.0001, b=0.0001)
    """

    def __init__(self, bound: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bound = positive("bound", bound)

    def value(self, layout: Layout) -> Value:
        return Uniform(-self.bound, self.bound)
