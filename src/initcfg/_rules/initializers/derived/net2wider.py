"""Net2Wider: a wide network begins as the same function as a narrower one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from initcfg._rules.initializers.base import INITIALIZERS
from initcfg._rules.initializers.derivation import Derivation, Made, Shape, cannot
from initcfg._rules.initializers.pretrained import PretrainedInit
from initcfg.values import AdaptationStep


@INITIALIZERS.register_module(name="Net2Wider")
class Net2WiderInit(PretrainedInit):
    """A wide network from a narrow one, as the same function: units are copied, their weights onward shared.

    For linear layers, convolutions, embeddings and norms. Of n units there, unit j here is a copy of unit j
    mod n; a layer that reads them divides its weights for a unit by the number of its copies. Since the same
    unit is copied everywhere, adds and flattening keep their meaning. "Net2Net", Chen et al. 2016
    (1511.05641) copies units at random. Copies stay alike until something tells them apart, such as dropout.

    Args:
        checkpoint: The weights of the narrow network, as ``Pretrained`` takes them.
        loading: What ``Pretrained`` takes further, by its names.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> narrow = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        >>> wide = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 2))
        >>> _ = initcfg.init_weights(wide, dict(type="Net2Wider", checkpoint=narrow.state_dict()))
        >>> torch.allclose(wide(torch.eye(3)), narrow(torch.eye(3)), atol=1e-6)
        True
    """

    name = "Net2Wider"

    def __init__(self, checkpoint: Any, **loading: Any) -> None:
        super().__init__(checkpoint, **loading)

    def derivation(
        self, module: nn.Module, here: Mapping[str, torch.Tensor], there: Mapping[str, Shape]
    ) -> Derivation:
        modules = dict(module.named_modules(remove_duplicate=False))
        made: dict[str, Made] = {}
        for name, tensor in here.items():
            shape, old = tuple(tensor.shape), there.get(name)
            if old is None or shape == old:
                continue
            path, _, attribute = name.rpartition(".")
            axis = _reading_axis(modules.get(path, module), attribute, old, shape)
            if isinstance(axis, str):
                raise cannot(
                    f"{name!r} is {old} in {self.label!r}, and {axis}.",
                    "Net2Wider makes layers wider that are linear layers, convolutions, embeddings or norms; "
                    "exclude the tensor, or keep its size.",
                    name,
                    shape,
                )
            steps: list[AdaptationStep] = [
                ("shared" if place == axis else "copies", place, size)
                for place, (size, before) in enumerate(zip(shape, old, strict=True))
                if size != before
            ]
            made[name] = (name,), tuple(steps)
        return Derivation(made)


def _reading_axis(layer: nn.Module, attribute: str, old: Shape, new: Shape) -> int | str | None:
    """The axis of what a layer reads, None if there is none; or why the function would not stay."""
    if len(old) != len(new) or not all(0 < few <= many for few, many in zip(old, new, strict=True)):
        return "has to be of the same rank and not larger there"
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, _ConvNd):
        if old[2:] != new[2:]:
            return "a kernel cannot grow"
        if groups > 1 and attribute == "weight" and not (1 in (old[1], new[1]) and old[1] == new[1]):
            return "groups would mix other units"
        return (0 if isinstance(layer, _ConvTransposeNd) else 1) if attribute == "weight" else None
    if isinstance(layer, nn.Linear):
        return 1 if attribute == "weight" else None
    if isinstance(layer, nn.Embedding):
        return None if old[0] == new[0] else "words cannot be copied"
    if isinstance(layer, (_BatchNorm, nn.PReLU)):
        return None
    if isinstance(layer, (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)):
        if getattr(layer, "num_groups", 1) > 1:
            return "groups would mix other units"
        # The mean and the variance of units stay only if all have the same number of copies.
        even = all(many % few == 0 for few, many in zip(old, new, strict=True))
        return None if even else "a norm over units stays the same only if they become a multiple"
    return f"a {type(layer).__name__} is none of the layers that can be made wider"
