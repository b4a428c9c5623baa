"""Initializers of RWKV-7's vectors, which differ from channel to channel, and from block to block."""

from __future__ import annotations

from typing import Any

from initcfg._rules.initializers.arguments import finite, positive, whole_number
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg._rules.initializers.formula_steps import Steps
from initcfg.errors import ArgumentValueError, TensorError
from initcfg.values import Layout, Value


def _channels(layout: Layout) -> int:
    if not layout.shape:
        raise TensorError("It is for tensors with an axis.", fix="Exclude single numbers.")
    return layout.shape[-1]


def _in_all_rows(steps: Steps, row: str, layout: Layout) -> Value:
    return steps.result(steps.call("repeat", row, [*layout.shape[:-1], 1]))


def _zigzag(steps: Steps, channels: int, head_size: int) -> str:
    """z·|z|, where z goes from -1 to 1 over the channels of each head."""
    middle = (head_size - 1) / 2
    count = steps.call("arange", channels, dtype="torch.float32")
    within = steps.call("sub.Scalar", steps.call("remainder.Scalar", count, head_size), middle)
    one = steps.call("div.Scalar", within, middle)
    return steps.call("mul.Tensor", one, steps.call("abs", one))


@INITIALIZERS.register_module(name="RWKVDecay")
class RWKVDecayInit(BaseInit):
    """``w0`` of RWKV-7: channels forget at speeds from -6 to 0, bent by depth, with a zigzag in each head.

    Of channel n of C: -5.5 + 6·(n / (C - 1))^(1 + r^0.3) + 2.5·z·|z|, where z goes from -1 to 1 over the
    channels of a head, and r from 0 to 1 over the blocks. From "RWKV-7 Goose with Expressive Dynamic State
    Evolution", Peng et al. 2025 (2503.14456). Held to BlinkDL/RWKV-LM, RWKV-v7, model.py. The scheme
    ``RWKV7`` does a whole model.

    Args:
        ratio: r, from 0 for the first block to 1 for the last.
        head_size: Channels of a head.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> linear = nn.Linear(1, 64)
        >>> _ = initcfg.init_weights(linear, dict(type="RWKVDecay", param="bias"))
        >>> linear.bias[0].item(), linear.bias[-1].item()
        (-8.0, 3.0)
    """

    def __init__(self, ratio: float = 0.0, head_size: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ratio = finite("ratio", ratio)
        if not 0 <= self.ratio <= 1:
            raise ArgumentValueError(f"ratio goes from 0 to 1 over the blocks, and is not {ratio!r}.")
        self.head_size = whole_number("head_size", head_size, 2)

    def value(self, layout: Layout) -> Value:
        channels = _channels(layout)
        steps = Steps()
        count = steps.call("arange", channels, dtype="torch.float32")
        share = steps.call("div.Scalar", count, max(channels - 1, 1))
        bent = steps.call("mul.Scalar", steps.call("pow.Tensor_Scalar", share, 1 + self.ratio**0.3), 6.0)
        turned = steps.call("mul.Scalar", _zigzag(steps, channels, self.head_size), 2.5)
        row = steps.call("sub.Scalar", steps.call("add.Tensor", bent, turned), 5.5)
        return _in_all_rows(steps, row, layout)


@INITIALIZERS.register_module(name="RWKVLine")
class RWKVLineInit(BaseInit):
    """``a0``, ``v0`` and ``k_k`` of RWKV-7: a straight line over the channels, with a zigzag in each head.

    Of channel n of C: val + slope·(n / (C - 1) - ½) + zigzag·z·|z|, where z goes from -1 to 1 over the
    channels of a head. From "RWKV-7 Goose with Expressive Dynamic State Evolution", Peng et al. 2025
    (2503.14456). Held to BlinkDL/RWKV-LM, RWKV-v7, model.py. The scheme ``RWKV7`` does a whole model.

    Args:
        val: The number in the middle.
        slope: From the first channel to the last.
        zigzag: From the middle of a head to its end.
        head_size: Channels of a head.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> linear = nn.Linear(1, 64)
        >>> _ = initcfg.init_weights(linear, dict(type="RWKVLine", param="bias", val=0.73, slope=-0.4))
        >>> round(linear.bias[0].item(), 6), round(linear.bias[-1].item(), 6)
        (0.93, 0.53)
    """

    def __init__(
        self, val: float = 0.0, slope: float = 0.0, zigzag: float = 0.0, head_size: int = 64, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.val, self.slope, self.zigzag = (
            finite("val", val),
            finite("slope", slope),
            finite("zigzag", zigzag),
        )
        self.head_size = whole_number("head_size", head_size, 2)

    def value(self, layout: Layout) -> Value:
        channels = _channels(layout)
        steps = Steps()
        first = self.val - self.slope / 2
        row = steps.call("linspace", first, first + self.slope, channels)
        if self.zigzag:
            turned = steps.call("mul.Scalar", _zigzag(steps, channels, self.head_size), self.zigzag)
            row = steps.call("add.Tensor", row, turned)
        return _in_all_rows(steps, row, layout)


@INITIALIZERS.register_module(name="RWKVMix")
class RWKVMixInit(BaseInit):
    """The ``x_*`` of RWKV-7, how much of a channel is that of the token before: 1 - (n / C)^power.

    From "RWKV-7 Goose with Expressive Dynamic State Evolution", Peng et al. 2025 (2503.14456). Held to
    BlinkDL/RWKV-LM, RWKV-v7, model.py. The scheme ``RWKV7`` does a whole model.

    Args:
        power: Smaller in later blocks.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> linear = nn.Linear(1, 4)
        >>> _ = initcfg.init_weights(linear, dict(type="RWKVMix", param="bias", power=2))
        >>> linear.bias.tolist()
        [1.0, 0.9375, 0.75, 0.4375]
    """

    def __init__(self, power: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = positive("power", power)

    def value(self, layout: Layout) -> Value:
        channels = _channels(layout)
        steps = Steps()
        count = steps.call("arange", channels, dtype="torch.float32")
        share = steps.call("div.Scalar", count, max(channels, 1))
        bent = steps.call("pow.Tensor_Scalar", share, self.power)
        return _in_all_rows(steps, steps.call("rsub.Scalar", bent, 1), layout)
