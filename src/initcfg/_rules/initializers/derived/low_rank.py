"""PiSSA and OLoRA: adapters of peft that begin as a part of their weights, which then are what is left."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from initcfg._rules.initializers.base import INITIALIZERS
from initcfg._rules.initializers.derivation import Derivation, Made, Shape, cannot
from initcfg._rules.initializers.pretrained import PretrainedInit
from initcfg.errors import ArgumentError
from initcfg.values import AdaptationStep

# PEFT puts the model into these, and each layer that it changes into the last.
_MODEL = "base_model.model."
_LAYER = "base_layer."


class _LowRank(PretrainedInit):
    step: ClassVar[str]

    def __init__(self, checkpoint: Any, *, adapter: str = "default", **loading: Any) -> None:
        super().__init__(checkpoint, **loading)
        if not isinstance(adapter, str):
            raise ArgumentError(f"adapter is the name of an adapter, not {adapter!r}.")
        self.adapter = adapter
        self._written["adapter"] = None if adapter == "default" else adapter

    def derivation(
        self, module: nn.Module, here: Mapping[str, torch.Tensor], there: Mapping[str, Shape]
    ) -> Derivation:
        made: dict[str, Made] = {}
        for name in here:
            source = _source(name, there)
            if source is not None and source != name:
                made[name] = (source,), ()
        layers = [(path, each) for path, each in module.named_modules() if self._has_adapter(each)]
        if not layers:
            raise cannot(
                f"No layer of the module has a LoRA adapter {self.adapter!r}.",
                "Give the model that peft's get_peft_model gives, and the adapter's name.",
            )
        for path, layer in layers:
            start = f"{path}." if path else ""
            weight = f"{start}{_LAYER}weight"
            source = _source(weight, there)
            if source is not None and weight in here:
                made |= self._parts(layer, start, weight, source, there[source])
        old = {name for name in there if "lora_" in name}
        return Derivation(made, unused=frozenset(names[0] for names, _ in made.values()) | old)

    def state(self) -> Any:
        """As the base gives it; what is given in code is copied, since the adapted model may hold it.

        The model's weights are written before its adapters, which are made of the same weights.
        """
        if self._state is None:
            self._state = _copied(super().state())
        return self._state

    def _has_adapter(self, layer: nn.Module) -> bool:
        return self.adapter in getattr(layer, "lora_A", ()) and hasattr(layer, "base_layer")

    def _parts(self, layer: Any, start: str, weight: str, source: str, shape: Shape) -> dict[str, Made]:
        """A, B and the rest of one weight."""
        rank, scaling = layer.r[self.adapter], float(layer.scaling[self.adapter])
        problem = None
        if len(shape) != 2:
            problem = f"{source!r} is {shape} in {self.label!r}, and no matrix"
        elif rank > min(shape):
            problem = f"{source!r} is {shape} in {self.label!r}, and has no rank of {rank}"
        elif not scaling > 0:
            problem = f"the adapter of {source!r} has the scaling {scaling:g}"
        if problem is not None:
            raise cannot(
                f"{problem}.", "Choose linear layers for the adapter, with a smaller rank.", weight, shape
            )
        turned: tuple[AdaptationStep, ...] = (
            (("transpose",),) if getattr(layer, "fan_in_fan_out", False) else ()
        )
        return {
            f"{start}lora_A.{self.adapter}.weight": ((source,), (*turned, (self.step, "A", rank, scaling))),
            f"{start}lora_B.{self.adapter}.weight": ((source,), (*turned, (self.step, "B", rank, scaling))),
            weight: ((source,), (*turned, (self.step, "rest", rank, scaling), *turned)),
        }


@INITIALIZERS.register_module(name="PiSSA")
class PiSSAInit(_LowRank):
    """LoRA of the first singular vectors: W = U S Vᵀ; B = U √(S/s) and A = √(S/s) Vᵀ of rank r; W less s·B A.

    For the linear layers of peft's LoRA, with their rank r and scaling s. What the model computes stays as it
    was. From "PiSSA: Principal Singular Values and Singular Vectors Adaptation", Meng et al. 2024
    (2404.02948). Held to peft, tuners/lora/layer.py.

    Args:
        checkpoint: The weights of the model without adapters, as ``Pretrained`` takes them: in code, its
            ``state_dict()``.
        adapter: Name of the adapter.
        loading: What ``Pretrained`` takes further, by its names.

    Example:
        >>> from initcfg import INITIALIZERS
        >>> INITIALIZERS.build(dict(type="PiSSA", checkpoint="base.safetensors")).arguments()
        {'checkpoint': 'base.safetensors'}
    """

    name, step = "PiSSA", "pissa"


@INITIALIZERS.register_module(name="OLoRA")
class OLoRAInit(_LowRank):
    """LoRA of an orthonormal basis: W = Q R; B is r columns of Q, A the r rows of R; W less s·B A.

    For the linear layers of peft's LoRA, with their rank r and scaling s. What the model computes stays as it
    was. From "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models", Büyükakyüz 2024
    (2406.01775). Held to peft, tuners/lora/layer.py.

    Args:
        checkpoint: The weights of the model without adapters, as ``Pretrained`` takes them: in code, its
            ``state_dict()``.
        adapter: Name of the adapter.
        loading: What ``Pretrained`` takes further, by its names.

    Example:
        >>> from initcfg import INITIALIZERS
        >>> INITIALIZERS.build(dict(type="OLoRA", checkpoint="base.safetensors")).arguments()
        {'checkpoint': 'base.safetensors'}
    """

    name, step = "OLoRA", "olora"


def _source(name: str, there: Mapping[str, Shape]) -> str | None:
    """What a tensor is called in the model without adapters, or in one that peft has changed in place."""
    short = name.removeprefix(_MODEL)
    return next((each for each in (name, short, short.replace(_LAYER, "")) if each in there), None)


def _copied(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if not isinstance(state, dict):
        return state
    # What a state_dict says beside its tensors stays with it.
    made = copy.copy(state)
    made.update({key: _copied(item) for key, item in state.items()})
    return made
