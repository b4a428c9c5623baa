"""Initializers that give a whole matrix or kernel its form: Orthogonal, Sparse, Dirac, Identity."""

from __future__ import annotations

from typing import Any

from initcfg._rules.initializers.arguments import (
    channels_first,
    finite,
    gain_of,
    number,
    possible,
    standard_deviation,
)
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg.errors import ArgumentError, ArgumentValueError
from initcfg.values import Dirac, Eye, Layout, Orthogonal, Sparse, Value


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
        self.a = None if a is None else finite("a", a)
        if a is not None and gain != "leaky_relu":
            raise ArgumentError(
                "a is the slope of gain='leaky_relu', and has no meaning for another gain.",
                fix="Leave it out.",
            )
        self._gain = gain_of("gain", gain, a) if isinstance(gain, str) else finite("gain", gain)

    def value(self, layout: Layout) -> Value:
        rows, stack = (0,), ()
        if layout.out_axis is not None:
            # Fans check the axes.
            layout.fans()
            rank = len(layout.shape)
            rows = tuple(sorted(axis % rank for axis in layout.out_axis))
            stack = tuple(sorted(axis % rank for axis in layout.batch_axis))
        return possible(
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
        self.sparsity = number("sparsity", sparsity)
        if not 0 <= sparsity <= 1:
            raise ArgumentValueError(f"sparsity is a share from 0 to 1, not {sparsity!r}.")
        self.std = standard_deviation(std)

    def value(self, layout: Layout) -> Value:
        return possible(
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
            raise ArgumentError(
                f"groups must be a whole number from 1 on, not {groups!r}.", fix="Write 1, or more."
            )
        self.groups = groups

    def value(self, layout: Layout) -> Value:
        channels_first(layout, "Dirac")
        fix = "Name convolutions, such as layer='Conv2d'; the identity of a Linear is type='Identity'."
        if 3 <= len(layout.shape) <= 5:
            fix = "Leave out groups: by default they are the convolution's own."
        return possible(Dirac(layout.groups if self.groups is None else self.groups), layout, fix)


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
        self.gain = finite("gain", gain)

    def value(self, layout: Layout) -> Value:
        return possible(
            Eye(float(self.gain)),
            layout,
            "Name layers that have matrices, such as layer='Linear'; for convolutions there is Dirac.",
        )
