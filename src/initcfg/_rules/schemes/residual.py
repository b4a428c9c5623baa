"""Schemes of residual networks: branches that start at zero, or small by depth."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from initcfg._rules.initializers import INITIALIZERS, finite, one_of, standard_deviation
from initcfg._rules.schemes.scheme import Scheme

CONVOLUTIONS = ["Conv1d", "Conv2d", "Conv3d"]
"""The convolutions of torch."""


@INITIALIZERS.register_module(name="ZeroResidual")
class ZeroResidual(Scheme):
    """The last weight of each residual branch 0, or the weight of its last norm: blocks start as identities.

    Only that: a rule before it fills the others. From "Accurate, Large Minibatch SGD", Goyal et al. 2017
    (1706.02677), section 5.1. Held to torchvision, resnet.py, ``zero_init_residual``, where it is 0.2 to 0.3
    % better.

    Args:
        what: ``"norm"`` or ``"weight"``.

    Example:
        >>> from initcfg._rules.schemes.residual import ZeroResidual
        >>> ZeroResidual().recipe()
        [{'type': 'Constant', 'role': 'residual_norm', 'val': 0}]
    """

    family = "residual networks"
    paper = "Goyal et al. 2017"

    def __init__(self, what: Literal["norm", "weight"] = "norm") -> None:
        self.what = one_of("what", what, ("norm", "weight"))
        self.needs = ("residual_norm",) if what == "norm" else ("residual_out",)  # type: ignore[misc]

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [dict(type="Constant", role=self.needs[0], val=0)]


@INITIALIZERS.register_module(name="ReZero")
class ReZero(Scheme):
    """The gate of each residual branch 0, in a network of any kind: x + α·f(x) starts as x.

    Only that: a rule before it fills the others. From "ReZero is All You Need", Bachlechner et al. 2020
    (2003.04887). A model without gates is an error. Held to majumderb/rezero, rztx.py.

    Args:
        val: The gate.

    Example:
        >>> from initcfg._rules.schemes.residual import ReZero
        >>> ReZero().recipe()
        [{'type': 'Constant', 'role': 'gate', 'val': 0.0}]
    """

    family = "residual networks"
    paper = "Bachlechner et al. 2020"
    needs = ("gate",)

    def __init__(self, val: float = 0.0) -> None:
        self.val = finite("val", val)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [dict(type="Constant", role="gate", val=self.val)]


@INITIALIZERS.register_module(name="SkipInit")
class SkipInit(ReZero):
    """The scalar that ends each branch of a convolutional network without batch norms 0.

    The rule is that of ``ReZero``. From "Batch Normalization Biases Residual Blocks Towards the Identity
    Function in Deep Networks", De & Smith 2020 (2002.10444). A model without such scalars is an error.

    Args:
        val: The scalar.

    Example:
        >>> from initcfg._rules.schemes.residual import SkipInit
        >>> SkipInit().recipe()
        [{'type': 'Constant', 'role': 'gate', 'val': 0.0}]
    """

    paper = "De & Smith 2020"


@INITIALIZERS.register_module(name="LayerScale")
class LayerScale(Scheme):
    """The vector γ that multiplies each residual branch, small: deep vision transformers train.

    The paper's γ depends on depth: 0.1 up to 18 blocks, 1e-5 up to 24, 1e-6 beyond; ConvNeXt takes 1e-6.
    The default is that of timm's CaiT, for no depth in particular. Only that: a rule before it fills the
    others. From "Going deeper with Image Transformers", Touvron et al. 2021 (2103.17239). Held to timm,
    cait.py, and torchvision, convnext.py.

    Args:
        value: γ.

    Example:
        >>> from initcfg._rules.schemes.residual import LayerScale
        >>> LayerScale().recipe()
        [{'type': 'Constant', 'role': 'gate', 'val': 0.0001}]
    """

    family = "residual networks"
    paper = "Touvron et al. 2021"
    needs = ("gate",)

    def __init__(self, value: float = 1e-4) -> None:
        self.value = finite("value", value)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [dict(type="Constant", role="gate", val=self.value)]


@INITIALIZERS.register_module(name="Fixup")
class Fixup(Scheme):
    """Residual networks without norms: He's spread times L^(-1/(2m-2)), the last of a branch and the head 0.

    A branch has m convolutions: 2 in a basic block, 3 in a bottleneck. As in the released code, L counts
    blocks and the fan is fan_out; the stem and the shortcuts keep He's spread. Scalar biases (``bias1a`` to
    ``bias4``) start at 0 and scales at 1. From "Fixup Initialization: Residual Learning Without
    Normalization", Zhang, Dauphin & Ma 2019 (1901.09321). Held to hongyi-zhang/Fixup, fixup_resnet_cifar.py.

    Args:
        block: ``"basic"`` or ``"bottleneck"``.

    Example:
        >>> from initcfg._rules.schemes.residual import Fixup
        >>> Fixup("bottleneck").recipe()[0]["scale"]
        'layers**(-1/4)'
    """

    family = "residual networks"
    paper = "Zhang et al. 2019"
    needs = ("residual_out",)
    forward = (
        "the model must have a scalar bias before each layer, a scalar scale in each branch, and no norm"
    )

    def __init__(self, block: Literal["basic", "bottleneck"] = "basic") -> None:
        self.block = one_of("block", block, ("basic", "bottleneck"))

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        he = dict(type="Kaiming", mode="fan_out", nonlinearity="relu")
        power = "-1/2" if self.block == "basic" else "-1/4"
        return [
            dict(he, layer=CONVOLUTIONS, scale=f"layers**({power})"),
            dict(he, role=["stem", "shortcut"], layer=CONVOLUTIONS),
            dict(type="Constant", role="residual_out", val=0),
            dict(type="Constant", role="head", val=0),
            dict(type="Constant", param=["*bias[1-4]", "*bias[1-4][ab]"], val=0),
            dict(type="Constant", param="*.scale", val=1),
        ]


@INITIALIZERS.register_module(name="NFNet")
class NFNet(Scheme):
    """Normalizer-free networks: convolutions N(0, 1 / fan_in), gains 1, branches' gates 0, head N(0, 0.01²).

    For weight-standardized convolutions, whose gain and whose gate (SkipInit) keep the variance. From
    "High-Performance Large-Scale Image Recognition Without Normalization", Brock et al. 2021 (2102.06171).
    Held to timm, nfnet.py and layers/std_conv.py.

    Args:
        head_std: Standard deviation of the head.

    Example:
        >>> from initcfg._rules.schemes.residual import NFNet
        >>> NFNet().recipe()[0]["nonlinearity"]
        'linear'
    """

    family = "residual networks"
    paper = "Brock et al. 2021"

    def __init__(self, head_std: float = 0.01) -> None:
        self.head_std = standard_deviation(head_std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="Kaiming", layer=CONVOLUTIONS, mode="fan_in", nonlinearity="linear"),
            dict(type="Normal", layer="Linear", std=self.head_std),
            dict(type="Constant", param="*.gain", val=1),
            dict(type="Constant", param="*.skipinit_gain", val=0),
        ]

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`: without a gate, the gain of a branch's last convolution is 0."""
        if any(name.endswith("skipinit_gain") for name, _ in owner.named_parameters()):
            return self.recipe()
        return [*self.recipe(), dict(type="Constant", param="*.conv3.gain", val=0)]
