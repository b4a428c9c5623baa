"""Schemes of networks for images with text, and for sound: CLIP, SigLIP, Perceiver, wav2vec 2.0."""

from __future__ import annotations

import math
from typing import Any, Literal

from initcfg._rules.initializers import INITIALIZERS, one_of, positive, standard_deviation, whole_number
from initcfg._rules.schemes.scheme import Scheme

_ATTENTION = ["attn_q", "attn_k", "attn_v", "attn_qkv"]


@INITIALIZERS.register_module(name="CLIP")
class CLIP(Scheme):
    """CLIP: attention's inputs 1/√width, branches' outputs 1/√(2·width·layers), MLPs' inputs 1/√(2·width).

    transformers has the depth's factor on the wrong side of attention: on q, k and v, and not on the output
    (modeling_clip.py). ``of="openai"`` is the paper's own code, ``of="transformers"`` what transformers does.
    From "Learning Transferable Visual Models From Natural Language Supervision", Radford et al. 2021
    (2103.00020). Held to OpenAI's model.py, in open_clip, and to transformers.

    Args:
        of: ``"openai"`` or ``"transformers"``.
        factor: On all of them.
        layers: Blocks of a tower; by default what roles say of each tower.

    Example:
        >>> from initcfg._rules.schemes.image_text import CLIP
        >>> CLIP(layers=12).recipe()[4]["scale"]
        '1/sqrt(fan_out*2*12)'
    """

    family = "images with text"
    paper = "Radford et al. 2021"
    needs = ("attn_out",)

    def __init__(
        self, of: Literal["openai", "transformers"] = "openai", factor: float = 1.0, layers: int | None = None
    ) -> None:
        self.of = one_of("of", of, ("openai", "transformers"))
        self.factor = positive("factor", factor)
        self.layers = None if layers is None else whole_number("layers", layers)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        drawn = dict(type="Normal", std=self.factor)
        depth = "layers" if self.layers is None else self.layers
        by_width, by_depth = "1/sqrt(fan_in)", f"1/sqrt(fan_in*2*{depth})"
        inputs, output = (by_width, by_depth) if self.of == "openai" else (by_depth, by_width)
        positions = 0.01 if self.of == "openai" else 0.02
        both = ["*logit_scale", "logit_scale"]
        return [
            dict(type="Normal", layer=["Linear", "Conv2d", "Embedding"], std=0.02 * self.factor),
            dict(type="Normal", role="position", std=positions * self.factor),
            dict(drawn, role=_ATTENTION, scale=inputs),
            dict(drawn, role="attn_out", scale=output),
            dict(drawn, role="mlp_out", scale=f"1/sqrt(fan_out*2*{depth})"),
            dict(drawn, role="mlp_in", scale="1/sqrt(2*fan_in)"),
            dict(type="UnitNormal", param=["*text_projection*", "*visual_projection*"], scale=self.factor),
            dict(type="UnitNormal", over="width", param="*class_embedding", scale=self.factor),
            dict(type="Constant", param=both, val=math.log(1 / 0.07)),
        ]


@INITIALIZERS.register_module(name="SigLIP")
class SigLIP(Scheme):
    """SigLIP: Xavier's uniform, biases of MLPs N(0, 1e-6²), embeddings N(0, 1 / width), LeCun elsewhere.

    The loss begins with a temperature t' = ln 10 and a bias of -10 in the paper; transformers has 0 for
    both, which a checkpoint replaces, and its ``lecun_normal_`` cuts at ±2 in absolute numbers what it
    widened for a cut at ±2 sigmas, so that the variance is 1.29 / fan_in: ``of="transformers"``. From
    "Sigmoid Loss for Language Image Pre-Training", Zhai et al. 2023 (2303.15343). Held to transformers,
    modeling_siglip.py.

    Args:
        of: ``"paper"`` or ``"transformers"``.

    Example:
        >>> from initcfg._rules.schemes.image_text import SigLIP
        >>> SigLIP().recipe()[-1]
        {'type': 'Constant', 'param': '*logit_bias', 'val': -10}
    """

    family = "images with text"
    paper = "Zhai et al. 2023"

    def __init__(self, of: Literal["paper", "transformers"] = "paper") -> None:
        self.of = one_of("of", of, ("paper", "transformers"))

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        xavier = dict(type="Xavier", distribution="uniform")
        attention = ["*q_proj.weight", "*k_proj.weight", "*v_proj.weight", "*out_proj.weight"]
        temperature, bias = (math.log(10), -10) if self.of == "paper" else (0, 0)
        rules = [
            dict(type="LeCun", layer=["Linear", "Conv2d"]),
            dict(type="UnitNormal", over="width", layer="Embedding"),
            dict(xavier, param="*in_proj_weight"),
            dict(xavier, param=[*attention, "*fc1.weight", "*fc2.weight"], layer="Linear"),
            dict(type="Normal", param=["*fc1.bias", "*fc2.bias"], std=1e-6),
            dict(xavier, param="*probe"),
            dict(type="Constant", param="*logit_scale", val=temperature),
            dict(type="Constant", param="*logit_bias", val=bias),
        ]
        if self.of == "transformers":
            # Widened for a cut at ±2 sigmas, and then cut at ±2, which is nowhere.
            wide = dict(type="Normal", std=1, scale="1/sqrt(fan_in)/0.87962566103423978")
            rules[0] = dict(wide, layer=["Linear", "Conv2d"])
            # The pooling head's own matrices: one draw for all three, and the output like any other.
            rules.append(dict(type="Uniform", a=-1, b=1, param="*in_proj_weight", scale="sqrt(6/(4*fan_in))"))
            rules.append(dict(wide, param="*head.attention.out_proj.weight"))
        return rules


@INITIALIZERS.register_module(name="Perceiver")
class Perceiver(Scheme):
    """Perceiver: the latent vectors TN(0, 0.02²), cut at ±2 in absolute numbers; matrices N(0, 0.02²).

    From "Perceiver: General Perception with Iterative Attention", Jaegle et al. 2021 (2103.03206), section
    3.2. transformers draws the latents from a plain normal; at 100 sigmas nothing is cut.

    Args:
        std: Standard deviation.
        latents: Globs of the latent vectors.

    Example:
        >>> from initcfg._rules.schemes.image_text import Perceiver
        >>> Perceiver().recipe()[-1]["type"]
        'TruncNormal'
    """

    family = "images with text"
    paper = "Jaegle et al. 2021"

    def __init__(self, std: float = 0.02, latents: str = "*latents") -> None:
        self.std = standard_deviation(std)
        self.latents = str(latents)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="Normal", layer=["Linear", "Conv1d", "Conv2d", "Embedding"], std=self.std),
            dict(type="TruncNormal", param=self.latents, std=self.std),
        ]


@INITIALIZERS.register_module(name="Wav2Vec2")
class Wav2Vec2(Scheme):
    """wav2vec 2.0: matrices N(0, 0.02²), convolutions Kaiming's with torch's biases.

    The projection of features U(±1 / √fan_in); the quantizer's matrix N(0, 1), its codes and the mask
    U(0, 1); for pretraining, the last matrices as torch has them. The positions' convolution, which has
    weight norm, is left to a rule of yours: N(0, 4 / (kernel·channels)). From "wav2vec 2.0", Baevski et al.
    2020 (2006.11477). Held to transformers, modeling_wav2vec2.py, by its names, which WavLM and others share.

    Args:
        std: Standard deviation of the matrices.

    Example:
        >>> from initcfg._rules.schemes.image_text import Wav2Vec2
        >>> Wav2Vec2().recipe()[1]["mode"]
        'fan_in'
    """

    family = "images with text"
    paper = "Baevski et al. 2020"

    def __init__(self, std: float = 0.02) -> None:
        self.std = standard_deviation(std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="Normal", layer="Linear", std=self.std),
            dict(
                type="Kaiming",
                layer="Conv1d",
                mode="fan_in",
                bias=dict(type="TorchDefault"),
                exclude="*pos_conv_embed.conv.*",
            ),
            dict(
                type="Uniform",
                layer="Linear",
                param="*feature_projection.projection.weight",
                a=-1,
                b=1,
                scale="1/sqrt(fan_in)",
            ),
            dict(type="TorchDefault", layer="Linear", param="*feature_projection.projection.bias"),
            dict(type="Constant", param="*pos_conv_embed.conv.bias", val=0),
            dict(type="Normal", param="*quantizer.weight_proj.weight", std=1),
            dict(type="Uniform", param=["*quantizer.codevectors", "*masked_spec_embed"], a=0, b=1),
            dict(type="TorchDefault", layer="Linear", param=["*project_hid.*", "*project_q.*"]),
        ]
