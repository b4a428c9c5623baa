"""ActNorm: a layer's scale and shift by what comes in, whichever way the layer computes with them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from initcfg._apply.measuring.layers import Found
from initcfg._model import Entry
from initcfg._rules.initializers import ActNormDataInit
from initcfg.errors import ApplyError
from initcfg.values import Numbers, Value


class _Form(NamedTuple):
    """A way to compute with a scale and a shift."""

    scale: int
    logarithm: bool
    shift_first: bool


_FORMS = [_Form(*each) for each in itertools.product((1, 0), (True, False), (True, False))]


class Normalizing:
    """The layers that hold the tensors of a rule, each given its numbers when the batch comes to it."""

    def __init__(
        self, initializer: ActNormDataInit, firsts: Mapping[str, Value], entries: Mapping[str, Entry]
    ) -> None:
        self.found: Found = {}
        self._initializer = initializer
        self._firsts = firsts
        self._entries = entries

    def watch(self, model: nn.Module) -> list[Any]:
        """Hooks on the layers; the caller removes them."""
        names = {id(self._entries[name].tensor): name for name in self._firsts}
        hooks: list[Any] = []
        for module in model.modules():
            held = [names[id(each)] for each in module._parameters.values() if id(each) in names]
            if held:
                hooks.append(module.register_forward_hook(self._hook(held), with_kwargs=True))
        return hooks

    def _hook(self, names: list[str]) -> Any:
        def hook(module: nn.Module, arguments: Any, named: Any, output: Any) -> Any:
            if names[0] in self.found:
                return None
            return self._normalize(module, names, arguments, named)

        return hook

    def _normalize(self, module: nn.Module, names: list[str], arguments: Any, named: Any) -> Any:
        tensors = [self._entries[name].tensor for name in names]
        given = next((each for each in (*arguments, *named.values()) if isinstance(each, torch.Tensor)), None)
        if len(tensors) != 2 or given is None or tensors[0].numel() != tensors[1].numel():
            raise ApplyError(
                f"An ActNorm layer has a scale and a shift, one number each for a channel; a "
                f"{type(module).__name__} has {', '.join(names)}.",
                parameter=names[0],
                fix="Select its layers by layer=, or give it the two parameters alone.",
            )
        axis = _channels(given, tensors[0].numel())
        if axis is None:
            raise ApplyError(
                f"The input of shape {tuple(given.shape)} has no axis of {tensors[0].numel()} channels.",
                parameter=names[0],
            )
        rows = given.detach().movedim(axis, 0).flatten(1).double()
        mean, spread = rows.mean(1), rows.std(1, correction=0)
        factor = self._initializer.scale / (spread + 1e-6)
        for form in _FORMS:
            numbers = self._numbers(form, mean, factor)
            for tensor, each in zip(tensors, numbers, strict=True):
                tensor.copy_(each.view(tensor.shape))
            output = module.forward(*arguments, **named)
            if self._normal(output, given, axis):
                said = f"channel means {float(mean.min()):.4g}…{float(mean.max()):.4g} became 0, stds "
                said += (
                    f"{float(spread.min()):.4g}…{float(spread.max()):.4g} became {self._initializer.scale:g}"
                )
                for name, each in zip(names, numbers, strict=True):
                    self.found[name] = Numbers(tuple(each.tolist())), said
                return output
        raise ApplyError(
            f"No scale and shift gives the output of this {type(module).__name__} mean 0 and the standard "
            f"deviation {self._initializer.scale:g}.",
            parameter=names[0],
            fix="For a layer that multiplies its logarithm (Glow: by 3), give logscale_factor; and a batch "
            "in which no channel is constant.",
        )

    def _numbers(self, form: _Form, mean: torch.Tensor, factor: torch.Tensor) -> list[torch.Tensor]:
        scale = factor.log() / self._initializer.logscale_factor if form.logarithm else factor
        shift = -mean if form.shift_first else -mean * factor
        return [shift, scale] if form.scale == 1 else [scale, shift]

    def _normal(self, output: Any, given: torch.Tensor, axis: int) -> bool:
        first = output[0] if isinstance(output, (tuple, list)) else output
        if not isinstance(first, torch.Tensor) or first.shape != given.shape:
            return False
        rows = first.detach().movedim(axis, 0).flatten(1).double()
        off = (rows.std(1, correction=0) / self._initializer.scale - 1).abs().max()
        return bool(rows.mean(1).abs().max() < 1e-3 * self._initializer.scale) and bool(off < 1e-2)

    def unused(self, names: list[str]) -> None:
        """These tensors have no part in the batch."""
        raise ApplyError(
            "The batch does not come to this layer, so nothing says what it is to hold.",
            parameter=names[0],
            fix="Exclude it, or give a batch for which the model uses it.",
        )


def _channels(given: torch.Tensor, count: int) -> int | None:
    """The axis of channels: the second, or the last."""
    for axis in (1, given.dim() - 1) if given.dim() != 3 else (given.dim() - 1, 1):
        if 0 <= axis < given.dim() and given.shape[axis] == count:
            return axis
    return None
