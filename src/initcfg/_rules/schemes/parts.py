"""Schemes of parts: adapters, agents, the attention of detectors, layers that scale in forward."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import nn

from initcfg._rules.initializers import INITIALIZERS, finite, one_of, positive, whole_number
from initcfg._rules.schemes.scheme import Scheme


@INITIALIZERS.register_module(name="LoRA")
class LoRA(Scheme):
    """Adapters of low rank: A Kaiming's uniform with a = √5, B 0, so that BA = 0 at the start.

    ``mode="gaussian"``: A is N(0, 1 / r²). Of embeddings A is 0 and B is N(0, 1). Only the adapters, by the
    names that peft gives them. From "LoRA: Low-Rank Adaptation of Large Language Models", Hu et al. 2021
    (2106.09685). Held to peft, tuners/lora/layer.py.

    Args:
        mode: ``"kaiming"`` or ``"gaussian"``.
        a: Negative slope for Kaiming's; √5 gives U(±1 / √fan_in).

    Example:
        >>> from initcfg._rules.schemes.parts import LoRA
        >>> LoRA("gaussian").recipe()[0]["scale"]
        '1/fan_out'
    """

    family = "parts"
    paper = "Hu et al. 2021"

    def __init__(self, mode: Literal["kaiming", "gaussian"] = "kaiming", a: float = math.sqrt(5)) -> None:
        self.mode = one_of("mode", mode, ("kaiming", "gaussian"))
        self.a = finite("a", a)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        drawn = dict(
            type="Kaiming", a=self.a, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform"
        )
        if self.mode == "gaussian":
            drawn = dict(type="Normal", std=1, scale="1/fan_out")
        first: list[dict[str, Any]] = [dict(drawn, param="*lora_A*.weight")]
        if self.mode == "gaussian":
            # r is the number of channels, whatever the kernel.
            first.append(dict(drawn, layer="Conv2d", param="*lora_A*.weight", in_axis=[1, 2, 3], out_axis=0))
        return [
            *first,
            dict(type="Constant", param="*lora_B*.weight", val=0),
            dict(type="Constant", param="*lora_embedding_A*", val=0),
            dict(type="Normal", param="*lora_embedding_B*", std=1),
        ]


@INITIALIZERS.register_module(name="PPO")
class PPO(Scheme):
    """Actors and critics: orthogonal with gain √2, the policy's head 0.01, the value's head 1, biases 0.

    A policy that starts out even explores; what matters most is that head, says "What Matters In On-Policy
    Reinforcement Learning?", Andrychowicz et al. 2021 (2006.05990). Held to stable-baselines3,
    common/policies.py, whose names are the defaults.

    Args:
        policy: Glob of the weight of the policy's head.
        value: Glob of the weight of the value's head.
        gain: Of the other layers.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> model = nn.ModuleDict({"body": nn.Linear(4, 8), "action_net": nn.Linear(8, 2)})
        >>> plan = initcfg.plan(model, dict(type="PPO"))
        >>> print(plan["body.weight"].value, plan["action_net.weight"].value)
        Orthogonal(gain=1.414) Orthogonal(gain=0.01)
    """

    family = "parts"
    paper = "Andrychowicz et al. 2021"

    def __init__(
        self,
        policy: str = "*action_net.weight",
        value: str = "*value_net.weight",
        gain: float = math.sqrt(2),
    ) -> None:
        self.policy, self.value = str(policy), str(value)
        self.gain = finite("gain", gain)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="Orthogonal", layer=["Linear", "Conv2d"], gain=self.gain),
            dict(type="Orthogonal", param=self.policy, gain=0.01),
            dict(type="Orthogonal", param=self.value, gain=1),
        ]


@INITIALIZERS.register_module(name="DeformableAttnOffsets")
class DeformableAttnOffsets(Scheme):
    """Deformable attention: heads look in directions around, with equal attention for each point.

    ``sampling_offsets`` has weight 0 and the bias of ``AttentionRing``; ``attention_weights`` is 0;
    ``value_proj`` and ``output_proj`` are Xavier's. Only these, by their names. From "Deformable DETR", Zhu
    et al. 2021 (2010.04159). Held to fundamentalvision/Deformable-DETR, ms_deform_attn.py.

    Args:
        heads: Number of heads; by default what the model's attention says of itself, else 8.
        levels: Number of levels, likewise; else 4.
        points: Number of points of each head on each level; by default what the bias has room for.

    Example:
        >>> from initcfg._rules.schemes.parts import DeformableAttnOffsets
        >>> DeformableAttnOffsets().recipe()[1]["type"]
        'AttentionRing'
    """

    family = "parts"
    paper = "Zhu et al. 2021"

    def __init__(
        self, heads: int | None = None, levels: int | None = None, points: int | None = None
    ) -> None:
        self.heads = None if heads is None else whole_number("heads", heads)
        self.levels = None if levels is None else whole_number("levels", levels)
        self.points = None if points is None else whole_number("points", points)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return self._recipe(self.heads or 8, self.levels or 4)

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`: libraries keep the numbers on the module that has the offsets."""
        attention = next((each for each in owner.modules() if hasattr(each, "sampling_offsets")), None)
        heads = self.heads or _count(attention, "n_heads", "num_heads") or 8
        return self._recipe(heads, self.levels or _count(attention, "n_levels", "num_levels") or 4)

    def _recipe(self, heads: int, levels: int) -> list[dict[str, Any]]:
        ring = dict(type="AttentionRing", heads=heads, levels=levels, points=self.points)
        projections = ["*value_proj", "*output_proj"]
        return [
            dict(type="Constant", param=["*sampling_offsets.weight", "*attention_weights.*"], val=0),
            dict(ring, param="*sampling_offsets.bias"),
            dict(type="Xavier", param=[f"{each}.weight" for each in projections], distribution="uniform"),
            dict(type="Constant", param=[f"{each}.bias" for each in projections], val=0),
        ]


def _count(module: nn.Module | None, *names: str) -> int | None:
    """The first of these attributes that is a whole number."""
    found = (getattr(module, name, None) for name in names)
    return next((each for each in found if type(each) is int and each > 0), None)


@INITIALIZERS.register_module(name="StyleGAN")
class StyleGAN(Scheme):
    """Equalized learning rates: weights N(0, 1 / lr_mul²), which forward multiplies by lr_mul / √fan_in.

    Every weight has the same size, and so the same pace under Adam. From "Progressive Growing of GANs",
    Karras et al. 2018 (1710.10196), section 4.1. Held to NVlabs/stylegan2-ada-pytorch, training/networks.py.

    Args:
        lr_mul: The layers' multiplier of the learning rate.

    Example:
        >>> from initcfg._rules.schemes.parts import StyleGAN
        >>> StyleGAN(lr_mul=0.01).recipe()[0]["std"]
        100.0
    """

    family = "parts"
    paper = "Karras et al. 2018"
    forward = "each layer must multiply its weight by lr_mul / √fan_in"

    def __init__(self, lr_mul: float = 1.0) -> None:
        self.lr_mul = positive("lr_mul", lr_mul)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        layers = ["FullyConnectedLayer", "Conv2dLayer", "SynthesisLayer", "Linear", "Conv2d"]
        return [dict(type="Normal", layer=layers, std=1 / self.lr_mul)]


@INITIALIZERS.register_module(name="E3nn")
class E3nn(Scheme):
    """Equivariant networks of e3nn: every weight N(0, 1), which the operation itself normalizes.

    From "e3nn: Euclidean Neural Networks", Geiger & Smidt 2022 (2207.09453). Held to e3nn, o3/_linear.py and
    nn/_fc.py, whose parameters are called ``weight``, or ``weights``.

    Example:
        >>> from initcfg._rules.schemes.parts import E3nn
        >>> E3nn().recipe()
        [{'type': 'Normal', 'param': ['*weight', '*weights'], 'std': 1}]
    """

    family = "parts"
    paper = "Geiger & Smidt 2022"
    forward = "each operation must normalize by its paths and inputs (path_normalization)"

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [dict(type="Normal", param=["*weight", "*weights"], std=1)]
