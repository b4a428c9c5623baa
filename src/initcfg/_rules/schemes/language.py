"""Schemes of decoders, by depth and width: GPT-2, Megatron, OLMo, GPT-NeoX, nGPT, Gemma."""

from __future__ import annotations

from typing import Any, Literal

from initcfg._rules.initializers import INITIALIZERS, finite, one_of, positive, standard_deviation
from initcfg._rules.schemes.scheme import Scheme

# Layers with matrices: also those of transformers and the fused ones of torch's attention.
LINEAR = ["Linear", "Conv1D", "MultiheadAttention"]
"""The layers of a transformer that hold matrices."""
NORMS = ["LayerNorm", "RMSNorm", "LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"]
"""Those whose weight multiplies, and starts at 1."""


def normal(std: float, layer: list[str], **rule: Any) -> dict[str, Any]:
    """A rule for N(0, std²)."""
    return dict(type="Normal", layer=layer, std=std, **rule)


@INITIALIZERS.register_module(name="GPT2")
class GPT2(Scheme):
    """GPT-2: all weights N(0, std²), those that end a residual branch N(0, (std / √(2·layers))²); biases 0.

    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.

    Args:
        std: Standard deviation, 0.02 in the paper's code.

    Example:
        >>> from initcfg._rules.schemes.language import GPT2
        >>> GPT2(std=0.02).recipe()[-1]
        {'type': 'Normal', 'role': 'residual_out', 'std': 0.02, 'scale': '1/sqrt(2*layers)'}
    """

    family = "language models"
    paper = "Radford et al. 2019"
    needs = ("residual_out",)

    def __init__(self, std: float = 0.02) -> None:
        self.std = standard_deviation(std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="Normal", layer=[*LINEAR, "Embedding"], std=self.std),
            dict(type="Constant", layer=["LayerNorm", "RMSNorm"], val=1, bias=0),
            dict(type="Normal", role="residual_out", std=self.std, scale="1/sqrt(2*layers)"),
        ]


@INITIALIZERS.register_module(name="MegatronScaled")
class MegatronScaled(Scheme):
    """Megatron-LM's: N(0, std²), ends of branches smaller by √(2·layers), embeddings by themselves.

    GPT-2's scheme where the embedding may be wider: a spread of 1 keeps the norm of a small embedding from
    shrinking what the first blocks see. From "Megatron-LM", Shoeybi et al. 2019 (1909.08053). Held to
    NVIDIA/Megatron-LM, core/utils.py and core/transformer/transformer_config.py.

    Args:
        std: Standard deviation.
        embedding_std: That of embeddings; by default ``std``.

    Example:
        >>> from initcfg._rules.schemes.language import MegatronScaled
        >>> MegatronScaled(0.02, embedding_std=1).recipe()[1]
        {'type': 'Normal', 'layer': ['Embedding'], 'std': 1}
    """

    family = "language models"
    paper = "Shoeybi et al. 2019"
    needs = ("residual_out",)

    def __init__(self, std: float = 0.02, embedding_std: float | None = None) -> None:
        self.std = standard_deviation(std)
        self.embedding_std = self.std if embedding_std is None else standard_deviation(embedding_std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            normal(self.std, LINEAR),
            normal(self.embedding_std, ["Embedding"]),
            dict(type="Constant", layer=NORMS, val=1, bias=0),
            dict(type="Normal", role="residual_out", std=self.std, scale="1/sqrt(2*layers)"),
        ]


@INITIALIZERS.register_module(name="DepthScaled")
class DepthScaled(Scheme):
    """N(0, std²), and the ends of branches divided by √(2·(layer + 1)), or by √(2·layers) of all.

    By the index, early blocks keep their full strength, and the stream grows as if each block were the last;
    torchtitan's way, and BEiT's (``fix_init_weight``). Held to pytorch/torchtitan,
    models/common/param_init.py, and timm, beit.py.

    Args:
        std: Standard deviation.
        by: ``"index"`` of the block, from 0, or ``"total"`` of all blocks.

    Example:
        >>> from initcfg._rules.schemes.language import DepthScaled
        >>> DepthScaled(0.02, by="index").recipe()[-1]["scale"]
        '1/sqrt(2*(layer+1))'
    """

    family = "language models"
    paper = "torchtitan; Bao et al. 2021"
    needs = ("residual_out",)

    def __init__(self, std: float = 0.02, by: Literal["index", "total"] = "index") -> None:
        self.std = standard_deviation(std)
        self.by = one_of("by", by, ("index", "total"))

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        depth = "layer+1" if self.by == "index" else "layers"
        scale = f"1/sqrt(2*({depth}))"
        return [
            normal(self.std, [*LINEAR, "Embedding"]),
            dict(type="Constant", layer=NORMS, val=1, bias=0),
            dict(type="Normal", role="residual_out", std=self.std, scale=scale),
        ]


@INITIALIZERS.register_module(name="Mitchell")
class Mitchell(Scheme):
    """OLMo's: 1 / √fan_in, the ends of branches also divided by √(2·(layer + 1)); cut at ±3 sigmas.

    Each matrix keeps the size of its input, and each block adds as much as all before it together would grow.
    From "OLMo: Accelerating the Science of Language Models", Groeneveld et al. 2024 (2402.00838). Held to
    allenai/OLMo, olmo/model.py.

    Args:
        cutoff: Where the normal is cut, in sigmas.

    Example:
        >>> from initcfg._rules.schemes.language import Mitchell
        >>> Mitchell().recipe()[-1]["scale"]
        '1/sqrt(2*fan_in*(layer+1))'
    """

    family = "language models"
    paper = "Groeneveld et al. 2024"
    needs = ("residual_out",)

    def __init__(self, cutoff: float = 3.0) -> None:
        self.cutoff = positive("cutoff", cutoff)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        drawn = dict(type="TruncNormal", std=1, a_sigma=-self.cutoff, b_sigma=self.cutoff)
        return [
            dict(drawn, layer=[*LINEAR, "Embedding"], scale="1/sqrt(fan_in)", bias=0),
            dict(type="Constant", layer=NORMS, val=1, bias=0),
            dict(drawn, role="residual_out", scale="1/sqrt(2*fan_in*(layer+1))"),
        ]


@INITIALIZERS.register_module(name="OLMoLlama")
class OLMoLlama(Scheme):
    """OLMo 2's: TN(0, std²) at ±3 sigmas; attention's output, w2 and w3 divided by √(2·layers), or by index.

    w3 is the value branch of a gated MLP, which other schemes leave alone (and torchtitan copied with a
    question mark): without it this is Llama's usual one. From "2 OLMo 2 Furious", 2025 (2501.00656).
    Held to allenai/OLMo-core, nn/transformer/init.py.

    Args:
        std: Standard deviation.
        by: ``"total"`` of all blocks, or ``"index"`` of the block, from 0.
        include_w3: Whether the value branch, ``w3`` or ``up_proj``, is divided, too.

    Example:
        >>> from initcfg._rules.schemes.language import OLMoLlama
        >>> OLMoLlama().recipe()[-1]["param"]
        ['*w3.weight', '*up_proj.weight']
    """

    family = "language models"
    paper = "OLMo team 2025"
    needs = ("residual_out",)

    def __init__(
        self, std: float = 0.02, by: Literal["total", "index"] = "total", include_w3: bool = True
    ) -> None:
        self.std = standard_deviation(std)
        self.by = one_of("by", by, ("total", "index"))
        self.include_w3 = bool(include_w3)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        drawn = dict(type="TruncNormal", std=self.std, a_sigma=-3, b_sigma=3)
        scale = "1/sqrt(2*layers)" if self.by == "total" else "1/sqrt(2*(layer+1))"
        rules = [
            dict(drawn, layer=[*LINEAR, "Embedding"], bias=0),
            dict(type="Constant", layer=NORMS, val=1, bias=0),
            dict(drawn, role="residual_out", scale=scale),
        ]
        value_branch = dict(drawn, role="mlp_in", param=["*w3.weight", "*up_proj.weight"], scale=scale)
        return [*rules, value_branch] if self.include_w3 else rules


@INITIALIZERS.register_module(name="OLMoFanIn")
class OLMoFanIn(Scheme):
    """Every matrix TN(0, 1 / fan_in) at ±3 sigmas, embeddings TN(0, 1 / embed_scale²).

    One rule for all, whatever the depth: for models whose branches end in a norm. Held to allenai/OLMo-core,
    nn/transformer/init.py, ``InitMethod.fan_in``.

    Args:
        embed_scale: By what the model multiplies its embeddings.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Linear(64, 128), dict(type="OLMoFanIn"))["weight"].value)
        TruncNormal(mean=0, std=0.125, a=-0.375, b=0.375)
    """

    family = "language models"
    paper = "OLMo-core"

    def __init__(self, embed_scale: float = 1.0) -> None:
        self.embed_scale = positive("embed_scale", embed_scale)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        drawn = dict(type="TruncNormal", std=1, a_sigma=-3, b_sigma=3)
        return [
            dict(drawn, layer=LINEAR, scale="1/sqrt(fan_in)", bias=0),
            dict(drawn, layer="Embedding", scale=1 / self.embed_scale),
            dict(type="Constant", layer=NORMS, val=1, bias=0),
        ]


@INITIALIZERS.register_module(name="SmallInit")
class SmallInit(Scheme):
    """N(0, 2 / (5·width)): Xavier's variance of a matrix from width to 4·width, for all.

    Smaller than usual, so that training begins without warm-up; from "Transformers without Tears", Nguyen &
    Salazar 2019 (1910.05895), section 3.2. Held to EleutherAI/gpt-neox, megatron/model/init_functions.py.

    Args:
        width: Of the residual stream; by default what its roles say.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Linear(64, 256), dict(type="SmallInit", width=64))["weight"].value)
        Normal(mean=0, std=0.07906)
    """

    family = "language models"
    paper = "Nguyen & Salazar 2019"

    def __init__(self, width: float | None = None) -> None:
        self.width = None if width is None else positive("width", width)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        scale = f"sqrt(2/(5*{_width(self.width)}))"
        return [
            normal(1, [*LINEAR, "Embedding"], scale=scale),
            dict(type="Constant", layer=NORMS, val=1, bias=0),
        ]


@INITIALIZERS.register_module(name="WangInit")
class WangInit(Scheme):
    """The ends of residual branches N(0, (2 / (layers·√width))²); the rest is left to other rules.

    From GPT-J, by way of "GPT-NeoX-20B", Black et al. 2022 (2204.06745), section 2.1. Held to
    EleutherAI/gpt-neox, megatron/model/init_functions.py. ``NeoX`` is this with ``SmallInit``.

    Args:
        width: Of the residual stream; by default what its roles say.

    Example:
        >>> from initcfg._rules.schemes.language import WangInit
        >>> WangInit(width=64).recipe()[0]["scale"]
        '2/(layers*sqrt(64.0))'
    """

    family = "language models"
    paper = "Black et al. 2022"
    needs = ("residual_out",)

    def __init__(self, width: float | None = None) -> None:
        self.width = None if width is None else positive("width", width)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        scale = f"2/(layers*sqrt({_width(self.width)}))"
        return [dict(type="Normal", role="residual_out", std=1, scale=scale)]


@INITIALIZERS.register_module(name="NeoX")
class NeoX(Scheme):
    """GPT-NeoX: ``SmallInit`` for all, and ``WangInit`` for the ends of residual branches.

    From "GPT-NeoX-20B: An Open-Source Autoregressive Language Model", Black et al. 2022 (2204.06745).

    Args:
        width: Of the residual stream; by default what its roles say.

    Example:
        >>> from initcfg._rules.schemes.language import NeoX
        >>> [rule["type"] for rule in NeoX().recipe()]
        ['SmallInit', 'WangInit']
    """

    family = "language models"
    paper = "Black et al. 2022"
    needs = ("residual_out",)

    def __init__(self, width: float | None = None) -> None:
        self.width = None if width is None else positive("width", width)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        given = {} if self.width is None else {"width": self.width}
        return [dict(type="SmallInit", **given), dict(type="WangInit", **given)]


@INITIALIZERS.register_module(name="NGPT")
class NGPT(Scheme):
    """nGPT, whose vectors all have length 1: N(0, 1 / width), and its scales as their parameters start.

    Ends of branches are divided by √(2·layers). α starts at 0.05 and is stored as 1 / √width, as are the
    scales of queries and keys (``sqk``) and logits (``sz``); those of the MLP (``suv``) at 1. From "nGPT:
    Normalized Transformer with Representation Learning on the Hypersphere", Loshchilov et al. 2024
    (2410.01131). Held to NVIDIA/ngpt, model.py, whose names these are.

    Args:
        width: Of the residual stream; by default what its roles say.

    Example:
        >>> from initcfg._rules.schemes.language import NGPT
        >>> NGPT().recipe()[-1]
        {'type': 'Constant', 'param': '*suv', 'val': 1}
    """

    family = "language models"
    paper = "Loshchilov et al. 2024"
    needs = ("residual_out",)
    forward = "the model must normalize its matrices after each step, and its hidden states in forward"

    def __init__(self, width: float | None = None) -> None:
        self.width = None if width is None else positive("width", width)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        width = _width(self.width)
        stored = ["*attn_alpha", "*mlp_alpha", "*sqk", "*sz", "sz"]
        return [
            normal(1, [*LINEAR, "Embedding"], scale=f"1/sqrt({width})"),
            dict(type="Normal", role="residual_out", std=1, scale=f"1/sqrt(2*layers*{width})"),
            dict(type="Constant", param=stored, val=1, scale=f"1/sqrt({width})"),
            dict(type="Constant", param="*suv", val=1),
        ]


@INITIALIZERS.register_module(name="Gemma")
class Gemma(Scheme):
    """Gemma's: N(0, std²) for all matrices and embeddings, and norms that multiply by 1 + w: w is 0.

    A weight of 1, as other norms have it, would double. From "Gemma: Open Models Based on Gemini Research and
    Technology", Gemma team 2024 (2403.08295). Held to transformers, modeling_gemma2.py.

    Args:
        std: Standard deviation.

    Example:
        >>> from initcfg._rules.schemes.language import Gemma
        >>> Gemma().recipe()[-1]["val"]
        0
    """

    family = "language models"
    paper = "Gemma team 2024"

    def __init__(self, std: float = 0.02) -> None:
        self.std = standard_deviation(std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        norms = ["GemmaRMSNorm", "Gemma2RMSNorm", "Gemma3RMSNorm", "RMSNormZeroCentered"]
        return [
            normal(self.std, [*LINEAR, "Embedding"]),
            dict(type="Constant", layer=norms, val=0),
        ]


def _width(given: float | None) -> str:
    return "width" if given is None else repr(float(finite("width", given)))
