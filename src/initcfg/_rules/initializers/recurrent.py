"""Initializers of gates and states: biases of an LSTM's gates, rings, state spaces."""

from __future__ import annotations

import math
from typing import Any, Literal

from initcfg._rules.initializers.arguments import finite, one_of, positive, whole_number
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg._rules.initializers.formula_steps import Steps, view
from initcfg.errors import ArgumentValueError, TensorError
from initcfg.values import Constant, Layout, Parts, Uniform, Value


@INITIALIZERS.register_module(name="GateBias")
class GateBiasInit(BaseInit):
    """A bias of several gates: ``val`` for one of them, 0 for the others.

    The gates of torch's LSTM are input, forget, cell, output; those of its GRU reset, update, new. An LSTM
    has two biases, which add up: the scheme ``LSTMForget`` sees to both. From "An Empirical Exploration of
    Recurrent Network Architectures", Jozefowicz, Zaremba & Sutskever 2015: a forget gate starts open.

    Args:
        val: The number.
        gate: Which gate, counted from 0.
        gates: How many there are.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.LSTM(3, 5), dict(type="GateBias", param="bias_ih_l0"))
        >>> print(plan["bias_ih_l0"].value)
        [Constant(0) | Constant(1) | Constant(0)]
    """

    def __init__(self, val: float = 1.0, gate: int = 1, gates: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val = finite("val", val)
        self.gates = whole_number("gates", gates)
        self.gate = whole_number("gate", gate, 0)
        if gate >= gates:
            raise ArgumentValueError(f"Of {gates} gates, counted from 0, there is no number {gate}.")

    def resolve(self, layout: Layout) -> Value:
        """The whole bias, whose gates are not alike."""
        size = gate_size(layout, self.gates, type(self).__name__)
        sizes = (self.gate * size, size, (self.gates - 1 - self.gate) * size)
        values = (Constant(0.0), Constant(self.val), Constant(0.0))
        kept = [(length, each) for length, each in zip(sizes, values, strict=True) if length]
        return Parts(0, tuple(length for length, _ in kept), tuple(each for _, each in kept))


@INITIALIZERS.register_module(name="ChronoBias")
class ChronoBiasInit(BaseInit):
    """An LSTM's bias for memories of up to T steps: ln U(1, T - 1) for the forget gate, minus that for input.

    From "Can recurrent neural networks warp time?", Tallec & Ollivier 2018 (1804.11188): a gate with that
    bias forgets after as many steps. The scheme ``Chrono`` sets the LSTM's other bias to zero, too.

    Args:
        t_max: T, the longest dependency that is expected, above 2.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.LSTM(3, 5), dict(type="ChronoBias", t_max=784, param="bias_ih_l0"))
        >>> print(plan["bias_ih_l0"].value)
        Formula(Uniform(a=1, b=783), log, neg, full, cat)
    """

    def __init__(self, t_max: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.t_max = finite("t_max", t_max)
        if self.t_max <= 2:
            raise ArgumentValueError(f"t_max is a number of steps above 2, not {t_max!r}.")

    def resolve(self, layout: Layout) -> Value:
        """The whole bias: two of its gates have the same numbers."""
        size = gate_size(layout, 4, "Chrono")
        steps = Steps()
        forget = steps.call("log", steps.value((size,), Uniform(1.0, self.t_max - 1.0)))
        given = steps.call("neg", forget)
        others = steps.call("full", [2 * size], 0.0)
        return steps.result(steps.call("cat", [given, forget, others]))


@INITIALIZERS.register_module(name="RGLRU")
class RGLRUInit(BaseInit):
    """The decay of a real-gated linear recurrent unit, even in the area of a ring: a = softplus⁻¹(-½ ln u).

    u is from U(min_rad², max_rad²), so that exp(-softplus(a)) lies between the radii. For the parameter
    ``a_param`` of Griffin's and Hawk's units; from "Griffin", De et al. 2024 (2402.19427), and the LRU,
    Orvieto et al. 2023. Held to google-deepmind/recurrentgemma, torch/layers.py.

    Args:
        min_rad: The smaller radius, above 0.
        max_rad: The larger, below 1.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> model = nn.Module()
        >>> model.a_param = nn.Parameter(torch.zeros(1000))
        >>> _ = initcfg.init_weights(model, dict(type="RGLRU", param="a_param"))
        >>> kept = torch.exp(-nn.functional.softplus(model.a_param))
        >>> bool(kept.min() > 0.9), bool(kept.max() < 0.999)
        (True, True)
    """

    def __init__(self, min_rad: float = 0.9, max_rad: float = 0.999, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_rad, self.max_rad = finite("min_rad", min_rad), finite("max_rad", max_rad)
        if not 0 < self.min_rad <= self.max_rad < 1:
            raise ArgumentValueError(f"The radii lie between 0 and 1, the smaller one first, unlike {self}.")
        if self.max_rad > 1 - 1e-6:
            raise ArgumentValueError(f"max_rad is too near to 1 for float32: {max_rad!r}.")

    def value(self, layout: Layout) -> Value:
        steps = Steps()
        area = steps.value(layout.shape, Uniform(self.min_rad**2 + 1e-8, self.max_rad**2 + 1e-8))
        decay = steps.call("neg", steps.call("mul.Scalar", steps.call("log", area), 0.5))
        return steps.result(steps.call("log", steps.call("expm1", decay)))


@INITIALIZERS.register_module(name="HiPPO")
class HiPPOInit(BaseInit):
    """The matrix A of a memory of polynomials, or its B: what a state space remembers its input by.

    LegS: A[n, k] is -√(2n + 1) √(2k + 1) below the diagonal, -(n + 1) on it, 0 above. LegT: that product up
    to the diagonal, and above it times (-1)^(n - k). B[n] is √(2n + 1). From "HiPPO: Recurrent Memory with
    Optimal Polynomial Projections", Gu et al. 2020 (2008.07669), theorems 1 and 2; LegS as state-spaces/s4
    has it, hippo/hippo.py.

    Args:
        measure: ``"legs"`` (all of the past) or ``"legt"`` (a window of it).
        what: ``"A"`` or ``"B"``; a B may have the shape (N,) or (N, 1).

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> linear = nn.Linear(3, 3, bias=False)
        >>> _ = initcfg.init_weights(linear, dict(type="HiPPO", param="weight"))
        >>> [[round(number, 4) for number in row] for row in linear.weight.tolist()]
        [[-1.0, 0.0, 0.0], [-1.7321, -2.0, 0.0], [-2.2361, -3.873, -3.0]]
    """

    def __init__(self, measure: str = "legs", what: str = "A", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measure = one_of("measure", measure, ("legs", "legt"))
        self.what = one_of("what", what, ("A", "B"))

    def value(self, layout: Layout) -> Value:
        shape = layout.shape
        count = shape[0] if shape else 0
        fits = shape == (count, count) if self.what == "A" else shape in ((count,), (count, 1))
        if not fits or not count:
            raise TensorError(
                f"{self.what} of HiPPO is {'a square matrix' if self.what == 'A' else 'a column'}, "
                f"not of shape {shape}.",
                fix="Name the state's own tensors by param=.",
            )
        steps = Steps()
        roots = steps.call(
            "sqrt", steps.call("arange.start_step", 1, 2 * count + 1, 2, dtype="torch.float32")
        )
        if self.what == "B":
            return steps.result(view(roots, shape, [1] * len(shape)))
        product = steps.call("mul.Tensor", view(roots, [count, 1], [1, 1]), view(roots, [1, count], [0, 1]))
        if self.measure == "legt":
            signs = steps.numbers([(-1.0) ** at for at in range(count)])
            turned = steps.call("mul.Tensor", product, view(signs, [count, 1], [1, 1]))
            above = steps.call("triu", steps.call("mul.Tensor", turned, signs), 1)
            whole = steps.call("add.Tensor", steps.call("tril", product), above)
            return steps.result(steps.call("rsub.Scalar", whole, 0))
        below = steps.call("tril", product, -1)
        diagonal = steps.call("diag_embed", steps.call("arange.start", 1, count + 1, dtype="torch.float32"))
        return steps.result(steps.call("rsub.Scalar", steps.call("add.Tensor", below, diagonal), 0))


@INITIALIZERS.register_module(name="S4DImaginary")
class S4DImaginaryInit(BaseInit):
    """πn for the n-th state of each channel: the imaginary parts of S4D-Lin, A = -½ + iπn.

    From "On the Parameterization and Initialization of Diagonal State Space Models", Gu et al. 2022
    (2206.11893). Held to state-spaces/s4, s4d.py. The scheme ``S4DLin`` sets the other tensors, too.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> model = nn.Module()
        >>> model.A_imag = nn.Parameter(torch.zeros(2, 3))
        >>> _ = initcfg.init_weights(model, dict(type="S4DImaginary", param="A_imag"))
        >>> (model.A_imag[0] / torch.pi).tolist()
        [0.0, 1.0, 2.0]
    """

    def value(self, layout: Layout) -> Value:
        steps = Steps()
        count = steps.call("arange", _states(layout), dtype="torch.float32")
        one = steps.call("mul.Scalar", count, math.pi)
        return steps.result(steps.call("repeat", one, [*layout.shape[:-1], 1]))


@INITIALIZERS.register_module(name="StateDecay")
class StateDecayInit(BaseInit):
    """``A_log`` of a Mamba layer: ln 1 to ln N in each channel; of Mamba-2, one for each head, ln U(1, 16).

    From "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", Gu & Dao 2023 (2312.00752).
    Held to state-spaces/mamba, mamba_simple.py and mamba2.py. The scheme ``Mamba`` does whole models.

    Args:
        low: The smallest decay, where there is one for each head.
        high: The largest.
        heads: Where there is one for each head: ``"drawn"``; or ``"counted"``, ln 1 to ln H, as transformers
            has it.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> model = nn.Module()
        >>> model.A_log = nn.Parameter(torch.zeros(2, 4))
        >>> _ = initcfg.init_weights(model, dict(type="StateDecay", param="A_log"))
        >>> [round(number, 4) for number in model.A_log.exp()[1].tolist()]
        [1.0, 2.0, 3.0, 4.0]
    """

    def __init__(
        self,
        low: float = 1.0,
        high: float = 16.0,
        heads: Literal["drawn", "counted"] = "drawn",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.low, self.high = positive("low", low), positive("high", high)
        self.heads = one_of("heads", heads, ("drawn", "counted"))
        if low > high:
            raise ArgumentValueError(f"The smallest decay of {self} lies above the largest.")

    def value(self, layout: Layout) -> Value:
        steps = Steps()
        if len(layout.shape) == 1 and self.heads == "drawn":
            return steps.result(steps.call("log", steps.value(layout.shape, Uniform(self.low, self.high))))
        count = steps.call("arange.start", 1, _states(layout) + 1, dtype="torch.float32")
        if len(layout.shape) == 1:
            return steps.result(steps.call("log", count))
        return steps.result(steps.call("repeat", steps.call("log", count), [*layout.shape[:-1], 1]))


@INITIALIZERS.register_module(name="StepSize")
class StepSizeInit(BaseInit):
    """The bias at which softplus gives a step size from exp U(ln dt_min, ln dt_max), at least ``floor``.

    softplus⁻¹(dt) = dt + ln(1 - exp(-dt)). For ``dt_proj.bias`` and ``dt_bias`` of Mamba's layers; held to
    state-spaces/mamba, mamba_simple.py.

    Args:
        dt_min: The smallest step.
        dt_max: The largest.
        floor: Smaller steps are made this long.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> linear = nn.Linear(4, 1000)
        >>> _ = initcfg.init_weights(linear, dict(type="StepSize", param="bias"))
        >>> steps = nn.functional.softplus(linear.bias)
        >>> bool(steps.min() > 0.00099), bool(steps.max() < 0.1001)
        (True, True)
    """

    def __init__(self, dt_min: float = 1e-3, dt_max: float = 0.1, floor: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dt_min, self.dt_max = positive("dt_min", dt_min), positive("dt_max", dt_max)
        self.floor = positive("floor", floor)
        if dt_min > dt_max:
            raise ArgumentValueError(f"The smallest step of {self} lies above the largest.")

    def value(self, layout: Layout) -> Value:
        steps = Steps()
        exponent = steps.value(layout.shape, Uniform(math.log(self.dt_min), math.log(self.dt_max)))
        step = steps.call("clamp", steps.call("exp", exponent), self.floor)
        less = steps.call("neg", steps.call("expm1", steps.call("neg", step)))
        return steps.result(steps.call("add.Tensor", step, steps.call("log", less)))


@INITIALIZERS.register_module(name="Spaced")
class SpacedInit(BaseInit):
    """Evenly spaced numbers from ``start`` to ``end`` along the last axis, the same in every row.

    The biases of forget gates of xLSTM's matrix memory go from 3 to 6 over the heads; from "xLSTM: Extended
    Long Short-Term Memory", Beck et al. 2024 (2405.04517). Held to NX-AI/xlstm, blocks/mlstm/cell.py.

    Args:
        start: The first.
        end: The last.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> linear = nn.Linear(2, 4)
        >>> _ = initcfg.init_weights(linear, dict(type="Spaced", param="bias", start=3, end=6))
        >>> linear.bias.tolist()
        [3.0, 4.0, 5.0, 6.0]
    """

    def __init__(self, start: float, end: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start, self.end = finite("start", start), finite("end", end)

    def value(self, layout: Layout) -> Value:
        steps = Steps()
        row = steps.call("linspace", self.start, self.end, _states(layout))
        return steps.result(steps.call("repeat", row, [*layout.shape[:-1], 1]))


@INITIALIZERS.register_module(name="ForgetCurve")
class ForgetCurveInit(BaseInit):
    """The bias of xLSTM's scalar memory: forget gates from 5 down to -7 over a head's channels, others 0.

    Of channel j of D: 5 - 12·(j / (D - 1))^(0.3 + 1.3·r), where r goes from 0 to 1 over the blocks. The axes
    are the heads, the gates (input, forget, cell, output), and the channels of a head, or all in one. From
    "xLSTM: Extended Long Short-Term Memory", Beck et al. 2024 (2405.04517). Held to NX-AI/xlstm,
    blocks/slstm/cell.py. The scheme ``xLSTM`` does a whole model.

    Args:
        ratio: r, from 0 for the first block to 1 for the last.
        heads: Number of heads, for a bias with one axis.
        gates_first: Whether such a bias has the heads of one gate after the other, as without CUDA.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> model = nn.Module()
        >>> model.bias = nn.Parameter(torch.ones(2, 4, 3))
        >>> _ = initcfg.init_weights(model, dict(type="ForgetCurve", param="bias", ratio=0.5))
        >>> [[round(number, 2) for number in row] for row in model.bias[1].tolist()]
        [[0.0, 0.0, 0.0], [5.0, -1.21, -7.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(
        self, ratio: float = 0.0, heads: int | None = None, gates_first: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.ratio = finite("ratio", ratio)
        if not 0 <= self.ratio <= 1:
            raise ArgumentValueError(f"ratio goes from 0 to 1 over the blocks, and is not {ratio!r}.")
        self.heads = None if heads is None else whole_number("heads", heads)
        self.gates_first = bool(gates_first)

    def value(self, layout: Layout) -> Value:
        shape = layout.shape
        flat = len(shape) == 1 and self.heads is not None and shape[0] % (4 * self.heads) == 0
        if not flat and (len(shape) != 3 or shape[1] != 4):
            raise TensorError(
                f"ForgetCurve is for biases of 4 gates, of shape (heads, 4, channels), not {shape}.",
                fix="Name the cell's own bias, param='*slstm_cell._bias_'; of one axis, say heads=.",
            )
        heads = self.heads or 1 if flat else shape[0]
        channels = shape[-1] // (4 * heads) if flat else shape[-1]
        steps = Steps()
        count = steps.call("arange", channels, dtype="torch.float32")
        share = steps.call("div.Scalar", count, max(channels - 1, 1))
        fallen = steps.call("pow.Tensor_Scalar", share, 0.3 + 1.3 * self.ratio)
        row = steps.call("rsub.Scalar", steps.call("mul.Scalar", fallen, 12.0), 5)
        # Of what is not negative: a product with a negative number would be -0.
        none = steps.call("mul.Scalar", share, 0.0)
        if flat and self.gates_first:
            row, none = (steps.call("repeat", each, [heads]) for each in (row, none))
            heads = 1
        gates = steps.call("cat", [none, row, none, none])
        every = steps.call("repeat", gates, [heads])
        return steps.result(every if flat else view(every, shape, [4 * channels, channels, 1]))


def gate_size(layout: Layout, gates: int, name: str) -> int:
    """Length of a gate's part of a bias."""
    if len(layout.shape) != 1 or layout.shape[0] % gates:
        raise TensorError(
            f"{name} is for a bias of {gates} gates, not for a tensor of shape {layout.shape}.",
            fix="Name the recurrent layer's bias: param='*.bias_ih_l*'.",
        )
    return layout.shape[0] // gates


def _states(layout: Layout) -> int:
    if not layout.shape:
        raise TensorError("It is for tensors with an axis.", fix="Exclude single numbers.")
    return layout.shape[-1]
