"""Schemes of networks for images: vision transformers, mixers, ConvNeXt, DiT, EfficientNet, DCGAN."""

from __future__ import annotations

from typing import Any

from initcfg._rules.initializers import INITIALIZERS, finite, standard_deviation
from initcfg._rules.schemes.residual import CONVOLUTIONS
from initcfg._rules.schemes.scheme import Scheme

_TOKENS = ["*cls_token", "*reg_token"]
# DeiT's token of distillation starts as positions do.
_TABLES = ["*pos_embed", "*pos_embedding", "*dist_token"]
_XAVIER = dict(type="Xavier", distribution="uniform")
_MLP_BIASES = ["*mlp*.bias", "*mlp_*.bias"]


@INITIALIZERS.register_module(name="ViTTimm")
class ViTTimm(Scheme):
    """timm's vision transformer: matrices and positions TN(0, 0.02²), biases 0, the class token N(0, 1e-6²).

    The normal is cut at ±2 in absolute numbers, at 100 sigmas: at nothing. The patches' convolution is as
    torch leaves it. Held to timm, vision_transformer.py, ``init_weights_vit_timm``; after DeiT, Touvron et
    al. 2021 (2012.12877).

    Args:
        std: Standard deviation.

    Example:
        >>> from initcfg._rules.schemes.vision import ViTTimm
        >>> ViTTimm().recipe()[0]
        {'type': 'TruncNormal', 'std': 0.02, 'layer': ['Linear', 'MultiheadAttention']}
    """

    family = "vision"
    paper = "Touvron et al. 2021"

    def __init__(self, std: float = 0.02) -> None:
        self.std = standard_deviation(std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        drawn = dict(type="TruncNormal", std=self.std)
        return [
            dict(drawn, layer=["Linear", "MultiheadAttention"]),
            dict(drawn, param=_TABLES),
            dict(type="Normal", param=_TOKENS, std=1e-6),
        ]


@INITIALIZERS.register_module(name="ViTJax")
class ViTJax(Scheme):
    """Google's vision transformer: Xavier's uniform, biases of MLPs N(0, 1e-6²), convolutions LeCun, head 0.

    From "An Image is Worth 16x16 Words", Dosovitskiy et al. 2021 (2010.11929). Held to timm,
    vision_transformer.py, ``init_weights_vit_jax``.

    Args:
        head_bias: The head's bias; -ln of the number of classes for sigmoids (``nlhb``).
        head: Globs of the head's parameters.

    Example:
        >>> from initcfg._rules.schemes.vision import ViTJax
        >>> ViTJax(head_bias=-6.907755).recipe()[-1]["val"]
        -6.907755
    """

    family = "vision"
    paper = "Dosovitskiy et al. 2021"

    def __init__(self, head_bias: float = 0.0, head: str = "head") -> None:
        self.head_bias = finite("head_bias", head_bias)
        self.head = str(head)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(_XAVIER, layer=["Linear", "MultiheadAttention"]),
            dict(type="Normal", param=_MLP_BIASES, layer="Linear", std=1e-6),
            dict(type="LeCun", layer="Conv2d"),
            dict(type="TruncNormal", param=_TABLES, std=0.02),
            dict(type="Normal", param=_TOKENS, std=1e-6),
            dict(type="Constant", param=f"{self.head}*.weight", layer="Linear", val=0),
            dict(type="Constant", param=f"{self.head}*.bias", layer="Linear", val=self.head_bias),
        ]


@INITIALIZERS.register_module(name="ViTMoCo")
class ViTMoCo(Scheme):
    """MoCo v3's vision transformer: Xavier's uniform, of fused queries, keys and values each by itself.

    U(±√(6 / (rows / 3 + columns))) for a matrix of all three. From "An Empirical Study of Training
    Self-Supervised Vision Transformers", Chen, Xie & He 2021 (2104.02057). Held to timm,
    vision_transformer.py, ``init_weights_vit_moco``.

    Args:
        fused: Globs of the fused weights.

    Example:
        >>> from initcfg._rules.schemes.vision import ViTMoCo
        >>> ViTMoCo().recipe()[1]["scale"]
        'sqrt(6/(fan_out/3+fan_in))'
    """

    family = "vision"
    paper = "Chen et al. 2021"

    def __init__(self, fused: str = "*qkv*.weight") -> None:
        self.fused = str(fused)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(_XAVIER, layer=["Linear", "MultiheadAttention"]),
            dict(
                type="Uniform",
                param=self.fused,
                layer="Linear",
                a=-1,
                b=1,
                scale="sqrt(6/(fan_out/3+fan_in))",
            ),
            dict(type="TruncNormal", param=_TABLES, std=0.02),
            dict(type="Normal", param=_TOKENS, std=1e-6),
        ]


@INITIALIZERS.register_module(name="ConvNeXt")
class ConvNeXt(Scheme):
    """ConvNeXt: TN(0, 0.02²) for all matrices and kernels, biases 0, the scale γ of each branch 1e-6.

    From "A ConvNet for the 2020s", Liu et al. 2022 (2201.03545). Held to timm, convnext.py, and torchvision,
    convnext.py.

    Args:
        ls: γ.
        head_init_scale: Factor on the head.
        std: Standard deviation.

    Example:
        >>> from initcfg._rules.schemes.vision import ConvNeXt
        >>> ConvNeXt().recipe()[1]["val"]
        1e-06
    """

    family = "vision"
    paper = "Liu et al. 2022"

    def __init__(self, ls: float = 1e-6, head_init_scale: float = 1.0, std: float = 0.02) -> None:
        self.ls = finite("ls", ls)
        self.head_init_scale = finite("head_init_scale", head_init_scale)
        self.std = standard_deviation(std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        drawn = dict(type="TruncNormal", std=self.std)
        head = dict(drawn, layer="Linear", param=["head*.weight", "classifier*.weight"])
        return [
            dict(drawn, layer=["Linear", *CONVOLUTIONS]),
            dict(type="Constant", param=["*.gamma", "*.layer_scale"], val=self.ls),
            dict(head, scale=self.head_init_scale),
        ]


@INITIALIZERS.register_module(name="MLPMixer")
class MLPMixer(Scheme):
    """MLP-Mixer: Xavier's uniform, biases of MLPs N(0, 1e-6²), convolutions LeCun, head 0.

    From "MLP-Mixer: An all-MLP Architecture for Vision", Tolstikhin et al. 2021 (2105.01601). Held to timm,
    mlp_mixer.py. ``flax`` takes LeCun's for the matrices, too, as the paper's own code does.

    Args:
        flax: Whether matrices are LeCun's, and their biases 0.
        head_bias: The head's bias.

    Example:
        >>> from initcfg._rules.schemes.vision import MLPMixer
        >>> MLPMixer(flax=True).recipe()[0]["type"]
        'LeCun'
    """

    family = "vision"
    paper = "Tolstikhin et al. 2021"

    def __init__(self, flax: bool = False, head_bias: float = 0.0) -> None:
        self.flax = bool(flax)
        self.head_bias = finite("head_bias", head_bias)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        matrices = (
            [dict(type="LeCun", layer="Linear")]
            if self.flax
            else [
                dict(_XAVIER, layer="Linear"),
                dict(type="Normal", param=_MLP_BIASES, layer="Linear", std=1e-6),
            ]
        )
        return [
            *matrices,
            dict(type="LeCun", layer="Conv2d"),
            dict(type="Constant", layer=["LayerNorm", "BatchNorm2d", "GroupNorm"], val=1, bias=0),
            dict(type="Constant", param="head*.weight", layer="Linear", val=0),
            dict(type="Constant", param="head*.bias", layer="Linear", val=self.head_bias),
        ]


@INITIALIZERS.register_module(name="gMLP")
class GMLP(Scheme):
    """gMLP: ``MLPMixer``, and each spatial gate N(0, 1e-6²) with bias 1: it starts as no gate at all.

    From "Pay Attention to MLPs", Liu et al. 2021 (2105.08050). Held to timm, mlp_mixer.py,
    ``SpatialGatingUnit``.

    Args:
        gate: Globs of the gates' projections.

    Example:
        >>> from initcfg._rules.schemes.vision import GMLP
        >>> GMLP().recipe()[-1]
        {'type': 'Constant', 'param': '*gate.proj.bias', 'val': 1}
    """

    family = "vision"
    paper = "Liu et al. 2021"

    def __init__(self, gate: str = "*gate.proj") -> None:
        self.gate = str(gate)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="MLPMixer"),
            dict(type="Normal", param=f"{self.gate}.weight", std=1e-6),
            dict(type="Constant", param=f"{self.gate}.bias", val=1),
        ]


@INITIALIZERS.register_module(name="DiT")
class DiT(Scheme):
    """Diffusion transformers, adaLN-zero: Xavier's uniform; modulations and the last layer 0: it predicts 0.

    The patches' convolution is Xavier's of its flat view, embeddings of labels and steps N(0, 0.02²). From
    "Scalable Diffusion Models with Transformers", Peebles & Xie 2023 (2212.09748). Held to
    facebookresearch/DiT, models.py, whose names these are.

    Args:
        std: Standard deviation of the embeddings.

    Example:
        >>> from initcfg._rules.schemes.vision import DiT
        >>> DiT().recipe()[-1]["val"]
        0
    """

    family = "vision"
    paper = "Peebles & Xie 2023"

    def __init__(self, std: float = 0.02) -> None:
        self.std = standard_deviation(std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        embedders = ["*y_embedder*.weight", "*t_embedder*.weight"]
        last = ["*adaLN_modulation*.weight", "*adaLN_modulation*.bias", "*final_layer.linear.*"]
        return [
            dict(_XAVIER, layer=["Linear", "MultiheadAttention"]),
            dict(type="FlatXavier", layer="Conv2d", param="*x_embedder*.weight"),
            dict(type="Constant", layer="Conv2d", param="*x_embedder*.bias", val=0),
            dict(type="Normal", param=embedders, std=self.std),
            dict(type="Constant", param=last, val=0),
        ]


@INITIALIZERS.register_module(name="EfficientNet")
class EfficientNet(Scheme):
    """EfficientNet: convolutions N(0, 2 / fan_out) of a group, the head U(±1 / √classes).

    fan_out of a depthwise convolution is its kernel alone, as in the paper's own code; torchvision counts all
    its channels, and so makes these smaller by their root. With few classes, that head is large: 10 classes
    begin with a loss of 5.8. From "EfficientNet", Tan & Le 2019 (1905.11946). Held to timm,
    _efficientnet_builder.py.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> depthwise = nn.Conv2d(8, 8, 3, groups=8)
        >>> print(initcfg.plan(depthwise, dict(type="EfficientNet"))["weight"].value)
        Normal(mean=0, std=0.4714)
    """

    family = "vision"
    paper = "Tan & Le 2019"

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="Normal", layer=CONVOLUTIONS, std=1, scale="sqrt(2/fan_out)", bias=0),
            dict(type="Constant", layer=["BatchNorm2d", "BatchNormAct2d"], val=1, bias=0),
            dict(type="Uniform", layer="Linear", a=-1, b=1, scale="1/sqrt(fan_out)", bias=0),
        ]


@INITIALIZERS.register_module(name="DCGAN")
class DCGAN(Scheme):
    """Generators and discriminators of images: N(0, 0.02²), and the weights of norms N(1, 0.02²).

    From "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
    Radford, Metz & Chintala 2016 (1511.06434), section 3; held to pytorch/examples, dcgan/main.py.

    Args:
        std: Standard deviation.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.BatchNorm2d(4), dict(type="DCGAN"))["weight"].value)
        Normal(mean=1, std=0.02)
    """

    family = "vision"
    paper = "Radford et al. 2016"

    def __init__(self, std: float = 0.02) -> None:
        self.std = standard_deviation(std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        layers = ["Conv2d", "ConvTranspose2d", "Linear"]
        return [
            dict(type="Normal", layer=layers, std=self.std),
            dict(type="Normal", layer=["BatchNorm2d", "InstanceNorm2d"], mean=1, std=self.std),
        ]


@INITIALIZERS.register_module(name="pix2pix")
class Pix2Pix(DCGAN):
    """Translators of images, and their discriminators, as ``DCGAN``: N(0, 0.02²), norms N(1, 0.02²).

    From "Image-to-Image Translation with Conditional Adversarial Networks", Isola et al. 2017 (1611.07004),
    which CycleGAN follows.

    Args:
        std: Standard deviation.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.BatchNorm2d(4), dict(type="pix2pix"))["weight"].value)
        Normal(mean=1, std=0.02)
    """

    paper = "Isola et al. 2017"
