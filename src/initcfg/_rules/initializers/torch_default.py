"""What torch's own layers write into themselves: the value of each tensor after ``reset_parameters``.

The class that defines the method says which layer it is, so a subclass that inherits the method is known,
and one that has a method of its own is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from torch import nn
from torch.nn.init import calculate_gain

from initcfg._rules.initializers.original import BaseInit
from initcfg._rules.initializers.registry import INITIALIZERS
from initcfg.errors import TensorError
from initcfg.values import Constant, Layout, Normal, PaddingRow, Uniform, Value

Known = Callable[[nn.Module, str, Sequence[int]], Value | None]


@INITIALIZERS.register_module(name="TorchDefault")
class TorchDefaultInit(BaseInit):
    """What torch's own layer does by itself: weight and bias as ``reset_parameters`` fills them.

    For Linear and the convolutions both are U(-b, b) with b = 1 / sqrt(fan_in), fan_in as torch counts it,
    of the weight for the bias too; for the norms 1 and 0; for embeddings N(0, 1), the padding row zero; for
    recurrent layers U(-b, b) with b = 1 / sqrt(hidden_size); for MultiheadAttention Xavier's uniform
    over the matrices as they are stored, the biases zero; for PReLU its ``init``; for Bilinear U(-b, b)
    with b = 1 / sqrt(in1_features). A class that has a ``reset_parameters`` of its own is not known, and is
    an error.

    Args:
        bias: A number for the biases, in place of torch's own; as ``bias_prob``.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.Conv2d(4, 8, 5), dict(type="TorchDefault", layer="Conv2d"))
        >>> print(plan["weight"].value, plan["bias"].value)
        Uniform(a=-0.1, b=0.1) Uniform(a=-0.1, b=0.1)
    """

    asks_default = True

    def __init__(
        self,
        bias: float | None = None,
        bias_prob: float | None = None,
        layer: str | list[str] | None = None,
    ) -> None:
        super().__init__(bias=0 if bias is None else bias, bias_prob=bias_prob, layer=layer)
        self.fills_bias = bias is None and bias_prob is None

    def arguments(self) -> dict[str, Any]:
        return {}

    def value(self, layout: Layout) -> Value:
        if layout.default is None:
            raise TensorError(
                "TorchDefault needs to know the layer, and was given a tensor alone.",
                fix="Use it in a rule.",
            )
        return layout.default

    def resolve(self, layout: Layout) -> Value:
        """The default itself: it knows of fused parts and padding rows what torch knows of them."""
        return self.value(layout)


def torch_default(module: nn.Module, attribute: str, shape: Sequence[int]) -> Value:
    """What a layer of torch fills its tensor ``attribute``, of this shape, with.

    Raises:
        TensorError: The class is none of torch's, or has no such tensor.

    Example:
        >>> from torch import nn
        >>> from initcfg._rules.initializers.torch_default import torch_default
        >>> torch_default(nn.LayerNorm(8), "weight", (8,))
        Constant(val=1.0)
    """
    known = _known(type(module))
    found = None if known is None else known(module, attribute, shape)
    if found is None:
        owner = type(module).__name__
        what = "it has its own way" if known is None else f"it has no {attribute!r} of torch's"
        raise TensorError(
            f"TorchDefault does not know what a {owner} does with its {attribute}: {what}.",
            fix="It knows the layers of torch.nn and what inherits their reset_parameters; give this one "
            "another initializer, or exclude it.",
        )
    return found


@lru_cache(maxsize=4096)
def _known(cls: type) -> Known | None:
    for base in cls.__mro__:
        if "reset_parameters" in vars(base) or "_reset_parameters" in vars(base):
            return _KNOWN.get(base)
    return None


def _kaiming(shape: Sequence[int]) -> Value:
    fan_in = _fan_in(shape)
    gain = calculate_gain("leaky_relu", math.sqrt(5))
    # The order of torch's own operations, for the same last bit.
    bound = math.sqrt(3.0) * (gain / math.sqrt(fan_in)) if fan_in else 0.0
    return Uniform(-bound, bound)


def _xavier_std(shape: Sequence[int]) -> float:
    field = math.prod(shape[2:])
    fans = shape[1] * field + shape[0] * field
    return math.sqrt(2.0 / float(fans)) if fans else 0.0


def _fan_in(shape: Sequence[int]) -> int:
    """As torch counts it, from the shape alone."""
    return shape[1] * math.prod(shape[2:])


def _within(fan: int) -> Value:
    bound = 1 / math.sqrt(fan) if fan > 0 else 0.0
    return Uniform(-bound, bound)


def _linear(module: Any, attribute: str, shape: Sequence[int]) -> Value | None:
    if attribute == "weight":
        return _kaiming(shape)
    return _within(module.in_features) if attribute == "bias" else None


def _convolution(module: Any, attribute: str, shape: Sequence[int]) -> Value | None:
    if attribute == "weight":
        return _kaiming(shape)
    if attribute != "bias":
        return None
    # A transposed one stores its outputs on the axis where torch looks for inputs.
    channels = module.out_channels if module.transposed else module.in_channels
    return _within(channels // module.groups * math.prod(module.kernel_size))


def _bilinear(module: Any, attribute: str, shape: Sequence[int]) -> Value | None:
    return _within(module.in1_features) if attribute in ("weight", "bias") else None


def _norm(module: Any, attribute: str, shape: Sequence[int]) -> Value | None:
    numbers = {
        "weight": 1.0,
        "bias": 0.0,
        "running_mean": 0.0,
        "running_var": 1.0,
        "num_batches_tracked": 0.0,
    }
    return Constant(numbers[attribute]) if attribute in numbers else None


def _embedding(module: Any, attribute: str, shape: Sequence[int]) -> Value | None:
    if attribute != "weight":
        return None
    drawn = Normal(0.0, 1.0)
    return drawn if module.padding_idx is None else PaddingRow(module.padding_idx, drawn)


def _recurrent(module: Any, attribute: str, shape: Sequence[int]) -> Value | None:
    bound = 1.0 / math.sqrt(module.hidden_size) if module.hidden_size > 0 else 0.0
    return Uniform(-bound, bound) if attribute.startswith(("weight", "bias")) else None


def _attention(module: Any, attribute: str, shape: Sequence[int]) -> Value | None:
    if attribute in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        bound = math.sqrt(3.0) * _xavier_std(shape)
        return Uniform(-bound, bound)
    if attribute in ("bias_k", "bias_v"):
        return Normal(0.0, _xavier_std(shape))
    if attribute in ("in_proj_bias", "out_proj.bias"):
        return Constant(0.0)
    return _kaiming(shape) if attribute == "out_proj.weight" else None


def _prelu(module: Any, attribute: str, shape: Sequence[int]) -> Value | None:
    return Constant(float(module.init)) if attribute == "weight" else None


_KNOWN: dict[type, Known] = {
    nn.Linear: _linear,
    nn.Bilinear: _bilinear,
    nn.modules.conv._ConvNd: _convolution,
    nn.modules.batchnorm._NormBase: _norm,
    nn.LayerNorm: _norm,
    nn.GroupNorm: _norm,
    nn.RMSNorm: _norm,
    nn.Embedding: _embedding,
    nn.EmbeddingBag: _embedding,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _recurrent,
    nn.MultiheadAttention: _attention,
    nn.PReLU: _prelu,
}
