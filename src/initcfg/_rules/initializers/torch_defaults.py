"""What torch's own layers write into themselves: the value of each tensor after ``reset_parameters``.

The class that defines the method says which layer it is, so a subclass that inherits the method is known,
and one that has a method of its own is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from torch import nn
from torch.nn.init import calculate_gain

from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg.errors import TensorError
from initcfg.values import Constant, Layout, Normal, PaddingRow, Uniform, Value

Default = Callable[[Any, Sequence[int]], Value]
"""From a layer, and the shape of one of its tensors, to the tensor's value."""


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
        self, bias: float | None = None, bias_prob: float | None = None, layer: str | list[str] | None = None
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
    """What a layer of torch fills its tensor ``attribute``, of this shape, with."""
    defaults = _defaults_of(type(module))
    default = None if defaults is None else defaults.get(attribute)
    if default is None:
        found = (fill for pattern, fill in (defaults or {}).items() if fnmatchcase(attribute, pattern))
        default = next(found, None)
    if default is None:
        owner = type(module).__name__
        what = "it has its own way" if defaults is None else f"it has no {attribute!r} of torch's"
        raise TensorError(
            f"TorchDefault does not know what a {owner} does with its {attribute}: {what}.",
            fix="It knows the layers of torch.nn and what inherits their reset_parameters; give this one "
            "another initializer, or exclude it.",
        )
    return default(module, shape)


@lru_cache(maxsize=4096)
def _defaults_of(cls: type) -> Mapping[str, Default] | None:
    for base in cls.__mro__:
        if "reset_parameters" in vars(base) or "_reset_parameters" in vars(base):
            return _DEFAULTS.get(base)
    return None


@lru_cache(maxsize=4096)
def _within(bound: float) -> Value:
    return Uniform(-bound, bound)


def _one_over_root(count: int) -> Value:
    """U(-b, b) with b = 1 / sqrt(count)."""
    return _within(1 / math.sqrt(count) if count > 0 else 0.0)


def _kaiming(module: Any, shape: Sequence[int]) -> Value:
    # As torch counts it, from the shape alone, and in the order of its operations, for the same last bit.
    fan_in = shape[1] * math.prod(shape[2:])
    gain = calculate_gain("leaky_relu", math.sqrt(5))
    return _within(math.sqrt(3.0) * (gain / math.sqrt(fan_in)) if fan_in else 0.0)


def _xavier_std(shape: Sequence[int]) -> float:
    field_size = math.prod(shape[2:])
    fans = shape[1] * field_size + shape[0] * field_size
    return math.sqrt(2.0 / float(fans)) if fans else 0.0


def _xavier_uniform(module: Any, shape: Sequence[int]) -> Value:
    return _within(math.sqrt(3.0) * _xavier_std(shape))


def _convolution_bias(module: Any, shape: Sequence[int]) -> Value:
    # A transposed one stores its outputs on the axis where torch looks for inputs.
    channels = module.out_channels if module.transposed else module.in_channels
    return _one_over_root(channels // module.groups * math.prod(module.kernel_size))


def _embedding(module: Any, shape: Sequence[int]) -> Value:
    drawn = Normal(0.0, 1.0)
    return drawn if module.padding_idx is None else PaddingRow(module.padding_idx, drawn)


def _always(number: float) -> Default:
    always = Constant(number)
    return lambda module, shape: always


_NORM = {
    "weight": _always(1.0),
    "bias": _always(0.0),
    "running_mean": _always(0.0),
    "running_var": _always(1.0),
    "num_batches_tracked": _always(0.0),
}
_RECURRENT: Mapping[str, Default] = dict.fromkeys(
    ("weight*", "bias*"), lambda module, shape: _one_over_root(module.hidden_size)
)

# By the class that has the method: patterns of its tensors' names, and what they are filled with.
_DEFAULTS: dict[type, Mapping[str, Default]] = {
    nn.Linear: {"weight": _kaiming, "bias": lambda module, shape: _one_over_root(module.in_features)},
    nn.Bilinear: dict.fromkeys(("weight", "bias"), lambda module, shape: _one_over_root(module.in1_features)),
    nn.modules.conv._ConvNd: {"weight": _kaiming, "bias": _convolution_bias},
    nn.modules.batchnorm._NormBase: _NORM,
    nn.LayerNorm: _NORM,
    nn.GroupNorm: _NORM,
    nn.RMSNorm: _NORM,
    nn.Embedding: {"weight": _embedding},
    nn.EmbeddingBag: {"weight": _embedding},
    nn.RNNBase: _RECURRENT,
    nn.RNNCellBase: _RECURRENT,
    nn.MultiheadAttention: {
        "in_proj_weight": _xavier_uniform,
        "[qkv]_proj_weight": _xavier_uniform,
        "bias_[kv]": lambda module, shape: Normal(0.0, _xavier_std(shape)),
        "in_proj_bias": _always(0.0),
        "out_proj.weight": _kaiming,
        "out_proj.bias": _always(0.0),
    },
    nn.PReLU: {"weight": lambda module, shape: Constant(float(module.init))},
}
