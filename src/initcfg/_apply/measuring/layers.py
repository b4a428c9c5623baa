"""Layer after layer: each weight is scaled by what its layer puts out, before the batch goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from initcfg._apply.measuring.uses import Use
from initcfg._model import Entry
from initcfg._rules.initializers import LSUVInit, WeightNormDataInit
from initcfg.errors import ApplyError, TensorError
from initcfg.values import FromBatch, Numbers, Scaled, Value, centered, scaled

Found = dict[str, tuple[Value, str]]
"""What data made of values, by the name of the tensor: a value, and how it came about."""
_TRIES = 10
# Of the mean square of an input, the share of its mean from which on the mean of the weights matters.
_MEAN = 0.01
# Samples whose sizes differ by more, as the standard deviation of their logarithms, are said to.
_APART = math.log(2.0)


class Scaling:
    """LSUV: one factor for each weight, so that its output has the standard deviation that is asked for."""

    def __init__(
        self, initializer: LSUVInit, firsts: Mapping[str, Value], entries: Mapping[str, Entry]
    ) -> None:
        self.found: Found = {}
        self._initializer = initializer
        self._firsts = firsts
        self._entries = entries

    def __call__(self, use: Use) -> None:
        """Scale a weight at its first use."""
        axes = self._center(use) if self._initializer.centered else ()
        target, factor, tries, now = self._initializer.target(use.name), 1.0, 0, _spread(use)
        near = min(self._initializer.tol, 0.01 * target)
        while tries == 0 or (abs(now - target) > near and tries < _TRIES):
            use.weight.mul_(target / now)
            factor *= target / now
            use.again()
            tries, now = tries + 1, _spread(use)
        if abs(now - target) > near:
            raise ApplyError(
                f"After {_TRIES} tries, the output of this weight has the standard deviation {now:.4g}, and "
                f"should have {target:.4g}: its bias alone moves it more, or its scale has no effect.",
                parameter=use.name,
                shape=tuple(use.weight.shape),
                fix="Give the bias 0, or exclude the layer.",
            )
        said = f"factor {factor:.6g}: output std {target:.4g} on {self._initializer.batch}, {tries} tries"
        value = times(self._firsts[use.name], factor, use.weight)
        if axes:
            value, said = centered(value, tuple(use.weight.shape), axes), f"{said}, less the mean"
        self.found[use.name] = value, said + _sizes(use)

    def _center(self, use: Use) -> tuple[int, ...]:
        """Take the mean out of the weights of each output, if their inputs have one: along which axes."""
        product = use.product
        if product is None or product.lookup or not product.axes:
            return ()
        if use.given.dim() != use.weight.dim() or self._entries[use.name].holder is not None:
            return ()
        data = product.data.detach().float()
        if float(data.mean()) ** 2 <= _MEAN * float(data.square().mean()):
            return ()
        use.weight.sub_(use.weight.mean(product.axes, keepdim=True))
        use.again()
        return product.axes

    def unused(self, names: list[str]) -> None:
        """These weights have no part in the batch: they keep what they began with."""
        for name in names:
            self.found[name] = self._firsts[name], f"not used by {self._initializer.batch}: factor 1"


class Channels:
    """Weight norm's first batch: mean 0 and standard deviation 1, channel by channel, by weight and bias."""

    def __init__(
        self, initializer: WeightNormDataInit, firsts: Mapping[str, Value], entries: Mapping[str, Entry]
    ) -> None:
        self.found: Found = {}
        self._initializer = initializer
        self._firsts = firsts
        self._entries = entries

    def __call__(self, use: Use) -> None:
        """Scale a weight by channel and shift its bias, at its first use."""
        axis = use.weight_axis
        output = use.output.detach().movedim(use.channel_axis, 0).flatten(1).double()
        if output.shape[0] != use.weight.shape[axis] or use.given.numel() != use.weight.numel():
            raise ApplyError(
                "This weight has no axis for the channels of its output, so they cannot be scaled apart.",
                parameter=use.name,
                shape=tuple(use.weight.shape),
                fix="Exclude the layer, or take LSUV for it.",
            )
        mean, variance = output.mean(1), output.var(1, correction=0)
        _check(use, float(variance.min()))
        factors = (variance + 1e-10).rsqrt()
        along = factors.view([-1 if each == axis else 1 for each in range(use.weight.dim())])
        use.weight.copy_((use.weight.double() * along).to(use.weight.dtype))
        before, after = float(variance.sqrt().min()), float(variance.sqrt().max())
        said = f"by channel: std {before:.4g}…{after:.4g} became 1 on {self._initializer.batch}"
        self.found[use.name] = Scaled(self._firsts[use.name], tuple(factors.tolist()), axis), said
        self._shift(use, (-mean * factors), said)
        use.again()

    def _shift(self, use: Use, numbers: torch.Tensor, said: str) -> None:
        head, _, last = use.name.rpartition(".")
        name = ".".join(filter(None, (head, last.replace("weight", "bias"))))
        if name not in self._firsts:
            return
        bias = self._entries[name].tensor
        bias.copy_(numbers.view(bias.shape))
        self.found[name] = Numbers(tuple(numbers.tolist())), said.replace("std", "mean and std")

    def unused(self, names: list[str]) -> None:
        """These tensors have no part in the batch: they keep what they began with."""
        for name in names:
            self.found[name] = self._firsts[name], f"not used by {self._initializer.batch}"


def times(value: Value, factor: float, weight: torch.Tensor) -> Value:
    """A value times a factor."""
    value = value.value if isinstance(value, FromBatch) else value
    try:
        return scaled(value, factor)
    except TensorError:
        return Scaled(value, (factor,) * weight.shape[0])


def _spread(use: Use) -> float:
    output = use.output.detach()
    found = float(output.float().std(correction=0) if output.numel() < 1 << 24 else output.std(correction=0))
    _check(use, found)
    return found


def _sizes(use: Use) -> str:
    """How far samples are from each other, where no scale can keep them all."""
    rows = use.output.detach().movedim(use.channel_axis, -1).flatten(0, -2).float()
    sizes = rows.square().mean(1).sqrt().double()
    logs = sizes.clamp_min(1e-30).log()
    if logs.numel() < 2 or float(logs.std(correction=0)) <= _APART:
        return ""
    ordered = sizes.sort()[0]
    low, high = (float(ordered[int(share * (len(ordered) - 1))]) for share in (0.05, 0.95))
    return f"; that of single samples is {low:.2g}…{high:.2g}, and no scale brings them together"


def _check(use: Use, spread: float) -> None:
    if math.isfinite(spread) and spread > 0:
        return
    what = "the same number everywhere" if spread == 0 else "not finite"
    raise ApplyError(
        f"On the batch, the output of this weight is {what}, and no factor gives it a standard deviation.",
        parameter=use.name,
        shape=tuple(use.weight.shape),
        fix="Give a batch of several different inputs; if a layer before it is zero, exclude this one.",
    )
