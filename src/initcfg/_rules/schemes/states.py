"""Schemes of recurrent models and state spaces: gates of an LSTM, S4, Mamba, RetNet, xLSTM."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import nn

from initcfg._model import block_of
from initcfg._rules.initializers import (
    INITIALIZERS,
    finite,
    one_of,
    positive,
    standard_deviation,
    whole_number,
)
from initcfg._rules.schemes.language import LINEAR, NORMS
from initcfg._rules.schemes.scheme import Scheme

_LSTM = ["LSTM", "LSTMCell"]


@INITIALIZERS.register_module(name="LSTMForget")
class LSTMForget(Scheme):
    """The bias of an LSTM's forget gate 1, the other gates' 0, both of torch's biases together.

    torch's LSTM has two biases, which add up: setting both to 1 would make 2. Only that: a rule before it
    fills the matrices. From "An Empirical Exploration of Recurrent Network Architectures", Jozefowicz,
    Zaremba & Sutskever 2015; as in allennlp, nn/initializers.py.

    Args:
        value: The sum of both biases.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.LSTM(3, 5), dict(type="LSTMForget"))
        >>> print(plan["bias_ih_l0"].value, plan["bias_hh_l0"].value)
        [Constant(0) | Constant(1) | Constant(0)] Constant(0)
    """

    family = "recurrent models"
    paper = "Jozefowicz et al. 2015"

    def __init__(self, value: float = 1.0) -> None:
        self.value = finite("value", value)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="GateBias", layer=_LSTM, param="*bias_ih*", val=self.value),
            dict(type="Constant", layer=_LSTM, param="*bias_hh*", val=0),
        ]


@INITIALIZERS.register_module(name="Chrono")
class Chrono(Scheme):
    """LSTMs for memories of up to T steps: the forget gate's bias ln U(1, T - 1), the input's minus that.

    Only the biases: a rule before it fills the matrices. From "Can recurrent neural networks warp time?",
    Tallec & Ollivier 2018 (1804.11188).

    Args:
        t_max: T, the longest dependency that is expected.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.LSTM(3, 5), dict(type="Chrono", t_max=784))
        >>> print(plan["bias_hh_l0"].value)
        Constant(0)
    """

    family = "recurrent models"
    paper = "Tallec & Ollivier 2018"

    def __init__(self, t_max: float) -> None:
        self.t_max = finite("t_max", t_max)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="ChronoBias", layer=_LSTM, param="*bias_ih*", t_max=self.t_max),
            dict(type="Constant", layer=_LSTM, param="*bias_hh*", val=0),
        ]


@INITIALIZERS.register_module(name="IRNN")
class IRNN(Scheme):
    """Recurrent networks of rectifiers: the state's matrix is the identity, biases 0, inputs N(0, 0.001²).

    From "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", Le, Jaitly & Hinton 2015
    (1504.00941).

    Args:
        gain: The number on the diagonal.
        std: Standard deviation of the input's matrix.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.RNN(3, 5, nonlinearity="relu"), dict(type="IRNN"))
        >>> print(plan["weight_hh_l0"].value, plan["weight_ih_l0"].value)
        Eye(gain=1) Normal(mean=0, std=0.001)
    """

    family = "recurrent models"
    paper = "Le et al. 2015"

    def __init__(self, gain: float = 1.0, std: float = 0.001) -> None:
        self.gain = finite("gain", gain)
        self.std = standard_deviation(std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        layers = ["RNN", "RNNCell"]
        return [
            dict(type="Normal", layer=layers, std=self.std),
            dict(type="Identity", layer=layers, param="*weight_hh*", gain=self.gain),
        ]


@INITIALIZERS.register_module(name="S4DLin")
class S4DLin(Scheme):
    """Diagonal state spaces: A = -½ + iπn, step sizes exp U(ln dt_min, ln dt_max).

    Names as in the reference: ``log_dt``, ``log_A_real``, ``A_imag``. Only these. From "On the
    Parameterization and Initialization of Diagonal State Space Models", Gu et al. 2022 (2206.11893). Held to
    state-spaces/s4, models/s4/s4d.py.

    Args:
        dt_min: The smallest step.
        dt_max: The largest.

    Example:
        >>> from initcfg._rules.schemes.states import S4DLin
        >>> S4DLin().recipe()[2]
        {'type': 'S4DImaginary', 'param': '*A_imag'}
    """

    family = "recurrent models"
    paper = "Gu et al. 2022"

    def __init__(self, dt_min: float = 1e-3, dt_max: float = 0.1) -> None:
        self.dt_min, self.dt_max = positive("dt_min", dt_min), positive("dt_max", dt_max)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="Uniform", param="*log_dt", a=math.log(self.dt_min), b=math.log(self.dt_max)),
            dict(type="Constant", param="*log_A_real", val=math.log(0.5)),
            dict(type="S4DImaginary", param="*A_imag"),
        ]


@INITIALIZERS.register_module(name="Mamba")
class Mamba(Scheme):
    """Mamba: A_log = ln 1 ... ln N, D = 1, steps from 0.001 to 0.1, outputs Kaiming's by √layers smaller.

    ``dt_proj.weight`` is U(±scale / √dt_rank), its bias the step's softplus⁻¹. Mamba-2 has a decay for each
    head, ln U(1, 16); transformers counts its heads instead, ln 1 ... ln H. Names as in both. From
    "Mamba", Gu & Dao 2023 (2312.00752). Held to state-spaces/mamba, mamba_simple.py, mamba2.py and
    mixer_seq_simple.py, and to transformers, modeling_mamba.py.

    Args:
        dt_min: The smallest step.
        dt_max: The largest.
        floor: Smaller steps are made this long.
        dt_scale: Factor on the bound of ``dt_proj.weight``.
        std: Standard deviation of embeddings.
        of: ``"paper"``, or ``"transformers"``: other matrices are N(0, std²), too, and outputs keep Kaiming's
            spread.

    Example:
        >>> from initcfg._rules.schemes.states import Mamba
        >>> Mamba().recipe()[-1]["scale"]
        '1/sqrt(layers)'
    """

    family = "recurrent models"
    paper = "Gu & Dao 2023"

    def __init__(
        self,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
        floor: float = 1e-4,
        dt_scale: float = 1.0,
        std: float = 0.02,
        of: Literal["paper", "transformers"] = "paper",
    ) -> None:
        self.dt_min, self.dt_max = positive("dt_min", dt_min), positive("dt_max", dt_max)
        self.floor, self.dt_scale = positive("floor", floor), positive("dt_scale", dt_scale)
        self.std = standard_deviation(std)
        self.of = one_of("of", of, ("paper", "transformers"))
        if self.of == "paper":
            self.needs = ("residual_out",)  # type: ignore[misc]

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        kaiming = dict(type="Kaiming", a=math.sqrt(5), mode="fan_in", nonlinearity="leaky_relu")
        kaiming["distribution"] = "uniform"
        step = dict(type="StepSize", dt_min=self.dt_min, dt_max=self.dt_max, floor=self.floor)
        step_bound = dict(type="Uniform", a=-self.dt_scale, b=self.dt_scale, scale="1/sqrt(fan_in)")
        theirs = self.of == "transformers"
        matrices = dict(type="Normal", std=self.std) if theirs else kaiming
        return [
            dict(matrices, layer="Linear"),
            dict(kaiming, layer="Conv1d", bias=0 if theirs else dict(type="TorchDefault")),
            dict(type="Normal", layer="Embedding", std=self.std),
            dict(type="StateDecay", param="*A_log", heads="counted" if theirs else "drawn"),
            dict(type="Constant", param="*.D", val=1),
            dict(step_bound, layer="Linear", param="*dt_proj.weight"),
            dict(step, param=["*dt_proj.bias", "*dt_bias"]),
            dict(kaiming, layer="Linear", param="*out_proj.weight")
            if theirs
            else dict(kaiming, role="residual_out", scale="1/sqrt(layers)"),
        ]


@INITIALIZERS.register_module(name="RetNet")
class RetNet(Scheme):
    """RetNet: q, k, v and the gate Xavier's by 2^-2.5, the rest Xavier's; with DeepNorm's factor if asked.

    From "Retentive Network: A Successor to Transformer for Large Language Models", Sun et al. 2023
    (2307.08621). Held to microsoft/torchscale, multiscale_retention.py and architecture/retnet.py.

    Args:
        layers: Number of blocks; by default what roles say.
        deepnorm: Whether values, outputs and MLPs are divided by (8·layers)^¼.

    Example:
        >>> from initcfg._rules.schemes.states import RetNet
        >>> round(RetNet().recipe()[2]["gain"], 7)
        0.1767767
    """

    family = "recurrent models"
    paper = "Sun et al. 2023"
    needs = ("attn_v",)

    def __init__(self, layers: int | None = None, deepnorm: bool = False) -> None:
        self.layers = None if layers is None else whole_number("layers", layers)
        self.deepnorm = bool(deepnorm)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        xavier = dict(type="Xavier", distribution="uniform")
        inner = dict(xavier, gain=2**-2.5)
        depth = "layers" if self.layers is None else self.layers
        scale = f"(8*{depth})**(-1/4)"
        rules = [
            dict(xavier, layer=LINEAR),
            dict(type="Constant", layer=NORMS, val=1, bias=0),
            dict(inner, role=["attn_q", "attn_k", "attn_v"]),
            dict(inner, layer="Linear", param="*g_proj.weight"),
        ]
        if self.deepnorm:
            rules += [
                dict(inner, role="attn_v", scale=scale),
                dict(xavier, role=["attn_out", "mlp_in", "mlp_out"], scale=scale),
            ]
        return rules


@INITIALIZERS.register_module(name="xLSTM")
class XLSTM(Scheme):
    """xLSTM's matrix memory: forget gates' biases from 3 to 6 over the heads, input gates' N(0, 0.1²).

    The gates' matrices are 0; projections into a block √(2 / (5·d)), and out of it 2 / (layers·√d). Of the
    scalar memory (``slstm_cell``) the bias is ``ForgetCurve``, by block, the recurrent kernel 0, and the
    matrices of gates √(2 / (5·d)). From "xLSTM: Extended Long Short-Term Memory", Beck et al. 2024
    (2405.04517). Held to NX-AI/xlstm, blocks/mlstm/cell.py, blocks/slstm/cell.py and layer.py, and
    components/init.py; names as there: ``fgate`` and ``igate``.

    Args:
        width: Of the residual stream; by default what its roles say.

    Example:
        >>> from initcfg._rules.schemes.states import XLSTM
        >>> XLSTM().recipe()[-1]
        {'type': 'Normal', 'param': '*igate.bias', 'std': 0.1}
    """

    family = "recurrent models"
    paper = "Beck et al. 2024"
    needs = ("residual_out",)

    def __init__(self, width: float | None = None) -> None:
        self.width = None if width is None else positive("width", width)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        given = {} if self.width is None else {"width": self.width}
        return [
            dict(type="NeoX", **given),
            dict(type="Constant", param=["*fgate.weight", "*igate.weight"], val=0),
            dict(type="Spaced", param="*fgate.bias", start=3, end=6),
            dict(type="Normal", param="*igate.bias", std=0.1),
        ]

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`: what is beside a cell of scalar memory, by its block."""
        small = f"sqrt(2/(5*{'width' if self.width is None else self.width}))"
        blocks = _blocks(owner)
        parts: list[dict[str, Any]] = []
        for name, module in owner.named_modules():
            if not hasattr(module, "slstm_cell"):
                continue
            start = f"{name}." if name else ""
            ratio = 0.0
            if (found := block_of(f"{start}slstm_cell._bias_")) is not None:
                ratio = found[1] / max(blocks[found[0]] - 1, 1)
            gates = [f"{start}{each}gate.weight" for each in "ifzo"]
            parts += [
                dict(type="Normal", std=1.0, param=gates, scale=small),
                dict(type="Constant", param=f"{start}slstm_cell._recurrent_kernel_", val=0),
                dict(
                    type="ForgetCurve",
                    param=f"{start}slstm_cell._bias_",
                    ratio=ratio,
                    **_order(module.slstm_cell),
                ),
            ]
        return [*self.recipe(), *parts]


@INITIALIZERS.register_module(name="RWKV7")
class RWKV7(Scheme):
    """RWKV-7: receptances and values U(±0.5 / √C), keys U(±0.05 / √C), outputs 0, embeddings U(±1e-4).

    The head is orthogonal by ½·√(V / C); of each low-rank pair the first half is 0 and the second orthogonal
    by 0.1. ``w0`` is ``RWKVDecay``, ``x_*`` ``RWKVMix`` and the norm of heads ((l + 1) / L)^0.7 by block;
    ``a0``, ``v0`` and ``k_k`` are ``RWKVLine``; ``k_a`` is 1.02, ``r_k`` -0.04. From "RWKV-7 Goose with
    Expressive Dynamic State Evolution", Peng et al. 2025 (2503.14456). Held to BlinkDL/RWKV-LM, RWKV-v7,
    model.py, whose names these are.

    Args:
        head_size: Channels of a head.

    Example:
        >>> from initcfg._rules.schemes.states import RWKV7
        >>> RWKV7().recipe()[0]["scale"]
        '0.5/sqrt(fan_in)'
    """

    family = "recurrent models"
    paper = "Peng et al. 2025"

    def __init__(self, head_size: int = 64) -> None:
        self.head_size = whole_number("head_size", head_size, 2)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        even = dict(type="Uniform", a=-1, b=1, layer="Linear")
        pairs = ("w", "a", "v", "g")
        strong = ["*att.receptance.weight", "*att.value.weight", "*ffn.key.weight"]
        return [
            dict(even, param=strong, scale="0.5/sqrt(fan_in)"),
            dict(even, param="*att.key.weight", scale="0.05/sqrt(fan_in)"),
            dict(type="Constant", param=["*att.output.weight", "*ffn.value.weight"], val=0),
            dict(type="Uniform", layer="Embedding", a=-1e-4, b=1e-4),
            dict(type="SUO", param=["head.weight", "*.head.weight"], gain=0.5),
            dict(type="Constant", param=[f"*att.{each}1" for each in pairs], val=0),
            dict(type="Orthogonal", param=[f"*att.{each}2" for each in pairs], gain=0.1),
            dict(
                type="RWKVLine", param="*att.a0", val=-0.19, slope=0.4, zigzag=0.3, head_size=self.head_size
            ),
            dict(type="RWKVLine", param="*att.v0", val=0.73, slope=-0.4),
            dict(type="RWKVLine", param="*att.k_k", val=0.71, slope=-0.1),
            dict(type="Constant", param="*att.k_a", val=1.02),
            dict(type="Constant", param="*att.r_k", val=-0.04),
        ]

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`: what differs from block to block, by its index."""
        names = [name for name, _ in owner.named_parameters()]
        starts = [name.removesuffix("att.w0") for name in names if name.endswith("att.w0")]
        count, powers = len(starts), dict(r=0.2, w=0.9, k=0.7, v=0.7, a=0.9, g=0.2)
        decay = dict(type="RWKVDecay", head_size=self.head_size)
        parts: list[dict[str, Any]] = []
        for at, start in enumerate(starts):
            left = 1 - at / count
            mixes = {f"{start}att.x_{each}": power * left for each, power in powers.items()}
            mixes[f"{start}ffn.x_k"] = left**4
            parts.append(dict(decay, param=f"{start}att.w0", ratio=at / max(count - 1, 1)))
            norm = dict(type="Constant", param=f"{start}att.ln_x.weight", val=((at + 1) / count) ** 0.7)
            parts += [dict(type="RWKVMix", param=name, power=power) for name, power in mixes.items()] + [norm]
        there = set(names)
        return [*self.recipe(), *(each for each in parts if each["param"] in there)]


def _order(cell: Any) -> dict[str, Any]:
    """How a cell of scalar memory stores its bias."""
    told: Any = getattr(cell, "config", None)
    if cell._bias_.dim() != 1 or not hasattr(told, "num_heads"):
        return {}
    return dict(heads=told.num_heads, gates_first=told.backend == "vanilla")


def _blocks(owner: nn.Module) -> dict[str, int]:
    """Number of blocks of each list of them."""
    found = {block for name, _ in owner.named_parameters() if (block := block_of(name)) is not None}
    return {of: sum(each == of for each, _ in found) for of, _ in found}
