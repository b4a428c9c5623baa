"""Initializers that papers name, of single layers: heads, gates, codebooks, offsets of attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from initcfg._rules.initializers.arguments import finite, one_of, positive, standard_deviation, whole_number
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg._rules.initializers.distributions import ConstantInit, NormalInit
from initcfg._rules.initializers.formula_steps import Steps
from initcfg.errors import ArgumentError, ArgumentValueError, TensorError
from initcfg.values import Constant, Layout, Normal, Uniform, Value


@INITIALIZERS.register_module(name="ZeroConv")
class ZeroConvInit(ConstantInit):
    """Weight and bias zero: a layer that adds nothing until it has learned something.

    For a branch that is added to a trained model; from "Adding Conditional Control to Text-to-Image Diffusion
    Models" (ControlNet), Zhang, Rao & Agrawala 2023 (2302.05543). Held to lllyasviel/ControlNet,
    ldm/modules/diffusionmodules/util.py.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.Conv2d(4, 4, 1), dict(type="ZeroConv", layer="Conv2d"))
        >>> print(plan["weight"].value, plan["bias"].value)
        Constant(0) Constant(0)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(0.0, **kwargs)


@INITIALIZERS.register_module(name="VQCodebook")
class VQCodebookInit(BaseInit):
    """U(±1 / K), of a codebook of K rows.

    From "Neural Discrete Representation Learning" (VQ-VAE), van den Oord, Vinyals & Kavukcuoglu 2017
    (1711.00937).

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> rule = dict(type="VQCodebook", layer="Embedding")
        >>> print(initcfg.plan(nn.Embedding(512, 64), rule)["weight"].value)
        Uniform(a=-0.001953, b=0.001953)
    """

    def value(self, layout: Layout) -> Value:
        bound = 1.0 / layout.shape[0] if layout.shape and layout.shape[0] else 0.0
        return Uniform(-bound, bound)


@INITIALIZERS.register_module(name="NoisyNet")
class NoisyNetInit(BaseInit):
    """A layer with noise that it learns: means from U(±1 / √fan_in), standard deviations σ / √fan_in.

    For exploration without ε; from "Noisy Networks for Exploration", Fortunato et al. 2017 (1706.10295),
    section 3.2, factorised noise. A layer has four tensors, so there is a rule for the means and one for the
    deviations, each by ``param=``. A bias does not tell its fan_in, which must be given.

    Args:
        what: ``"mean"`` or ``"deviation"``.
        sigma: σ.
        fan_in: The number of inputs; by default the weight's.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> rule = dict(type="NoisyNet", what="deviation", param="weight")
        >>> print(initcfg.plan(nn.Linear(25, 4), rule)["weight"].value)
        Constant(0.1)
    """

    def __init__(
        self, what: str = "mean", sigma: float = 0.5, fan_in: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.what = one_of("what", what, ("mean", "deviation"))
        self.sigma = standard_deviation(sigma)
        self.fan_in = None if fan_in is None else whole_number("fan_in", fan_in)

    def value(self, layout: Layout) -> Value:
        if self.fan_in is None and len(layout.shape) < 2:
            raise TensorError(
                "NoisyNet needs the fan_in of this layer, which its bias does not tell.", fix="Give fan_in=."
            )
        # An empty tensor has nothing to fill; any number will do.
        root = math.sqrt((layout.fans()[0] if self.fan_in is None else self.fan_in) or 1)
        return Constant(self.sigma / root) if self.what == "deviation" else Uniform(-1.0 / root, 1.0 / root)


@INITIALIZERS.register_module(name="DDPGHead")
class DDPGHeadInit(BaseInit):
    """The last layer of an actor or a critic: weight and bias from U(±0.003).

    The first actions and values are near zero; from "Continuous control with deep reinforcement learning",
    Lillicrap et al. 2015 (1509.02971), section 7.

    Args:
        bound: The bound; the paper takes 3e-4 for pixels.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.Linear(8, 2), dict(type="DDPGHead", layer="Linear"))
        >>> print(plan["weight"].value, plan["bias"].value)
        Uniform(a=-0.003, b=0.003) Uniform(a=-0.003, b=0.003)
    """

    fills_bias = True

    def __init__(self, bound: float = 3e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bound = positive("bound", bound)

    def value(self, layout: Layout) -> Value:
        return Uniform(-self.bound, self.bound)


@INITIALIZERS.register_module(name="Highway")
class HighwayInit(ConstantInit):
    """The bias of a transform gate, below zero: at first a layer hands on what it gets.

    From "Training Very Deep Networks", Srivastava, Greff & Schmidhuber 2015 (1507.06228): -1 to -3, the
    deeper the lower. Name the gate's bias by ``param=``.

    Args:
        val: The bias.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Linear(4, 4), dict(type="Highway", param="bias"))["bias"].value)
        Constant(-1)
    """

    def __init__(self, val: float = -1.0, **kwargs: Any) -> None:
        super().__init__(val, **kwargs)


@INITIALIZERS.register_module(name="FocalPrior")
class FocalPriorInit(NormalInit):
    """A detector's classifier: weights N(0, 0.01²), and the bias at which a sigmoid gives ``prior``.

    b = -ln((1 - π) / π). At first everything is background, and the many boxes without an object do not
    drown the few with one; from "Focal Loss for Dense Object Detection", Lin et al. 2017 (1708.02002),
    section 3.3. Held to torchvision's retinanet.py.

    Args:
        prior: π, strictly between 0 and 1.
        std: Standard deviation of the weights.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.Conv2d(8, 80, 3), dict(type="FocalPrior", layer="Conv2d"))
        >>> print(plan["weight"].value, plan["bias"].value)
        Normal(mean=0, std=0.01) Constant(-4.595)
    """

    def __init__(self, prior: float = 0.01, std: float = 0.01, layer: Any = None) -> None:
        super().__init__(0.0, std, bias_prob=finite("prior", prior), layer=layer)
        self.prior = prior


@INITIALIZERS.register_module(name="HeadBias")
class HeadBiasInit(BaseInit):
    """The bias at which a classifier of zero weights gives the classes as often as there are.

    Softmax: b = ln p. Sigmoid: b = ln(p / (1 - p)). Where frequencies are not known, -ln C for each of C
    classes, by which a sigmoid begins at about 1 / C. The first steps need not learn how frequent classes
    are; from Karpathy's "A Recipe for Training Neural Networks" (2019), and timm's ``nlhb``,
    vision_transformer.py. Name the bias by ``param=``, or write ``bias=dict(type="HeadBias", ...)``.

    Args:
        freq: How often there is each class, as counts or as probabilities.
        num_classes: The number of classes, in place of ``freq``; by default the bias's length.
        loss: ``"softmax"`` or ``"sigmoid"``; of probabilities, since counts are of classes that exclude
            each other.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> head = nn.Linear(4, 3)
        >>> rule = dict(type="Constant", val=0, layer="Linear", bias=dict(type="HeadBias", freq=[6, 3, 1]))
        >>> _ = initcfg.init_weights(head, rule)
        >>> [round(number, 4) for number in head.bias.softmax(0).tolist()]
        [0.6, 0.3, 0.1]
    """

    def __init__(
        self,
        freq: Sequence[float] | None = None,
        num_classes: int | None = None,
        loss: str = "softmax",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if freq is not None and num_classes is not None:
            raise ArgumentError("HeadBias takes freq or num_classes, not both.")
        if freq is not None and (not isinstance(freq, (list, tuple)) or not freq):
            raise ArgumentError(f"freq is a list of how often there is each class, not {freq!r}.")
        self.freq = None if freq is None else [positive("freq", each) for each in freq]
        self.num_classes = None if num_classes is None else whole_number("num_classes", num_classes)
        self.loss = one_of("loss", loss, ("softmax", "sigmoid"))
        if self.loss == "sigmoid" and any(each >= 1 for each in self.freq or ()):
            raise ArgumentValueError("For sigmoids, freq are probabilities, strictly between 0 and 1.")

    def _fix(self, count: int, shape: tuple[int, ...]) -> str:
        """What to write for a tensor that this does not fit."""
        if count == 2 and shape == (1,):
            return "For one logit and a sigmoid write loss='sigmoid', with freq=[p] of the positive class."
        if len(shape) == 1 and shape[0]:
            return f"Give the {shape[0]} classes of this bias, or name another: param='head.bias'."
        return "Name the head's bias: param='head.bias'."

    def value(self, layout: Layout) -> Value:
        count = len(self.freq) if self.freq is not None else self.num_classes or math.prod(layout.shape)
        if len(layout.shape) != 1 or layout.shape[0] != count:
            raise TensorError(
                f"HeadBias is for a bias of {count} classes, not for a tensor of shape {layout.shape}.",
                fix=self._fix(count, layout.shape),
            )
        if count == 1 and self.loss == "softmax":
            raise TensorError(
                "HeadBias with one class: a softmax over one logit is 1, whatever the bias.",
                fix="For one logit and a sigmoid write loss='sigmoid', with freq=[p] of the positive class.",
            )
        if self.freq is None:
            return Constant(0.0 - math.log(count or 1))
        if self.loss == "sigmoid":
            biases = [math.log(each / (1 - each)) for each in self.freq]
        else:
            biases = [math.log(each / math.fsum(self.freq)) for each in self.freq]
        steps = Steps()
        return steps.result(steps.numbers(biases))


@INITIALIZERS.register_module(name="AttentionRing")
class AttentionRingInit(BaseInit):
    """Where the heads of deformable attention look at first: in directions around, farther with each point.

    Head h looks towards (cos θ, sin θ), θ = 2πh / H, stretched to the unit square's border, and its p-th
    point p times as far; on each level. The bias of ``sampling_offsets`` from "Deformable DETR", Zhu et al.
    2021 (2010.04159). Held to fundamentalvision/Deformable-DETR, ms_deform_attn.py. The scheme
    ``DeformableAttnOffsets`` does the whole of the attention.

    Args:
        heads: Number of heads H.
        levels: Number of levels.
        points: Number of points of each head on each level; by default what the bias has room for.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> offsets = nn.Linear(4, 2 * 4 * 1 * 1)
        >>> _ = initcfg.init_weights(offsets, dict(type="AttentionRing", param="bias", heads=4, levels=1))
        >>> [round(number) for number in offsets.bias.tolist()]
        [1, 0, 0, 1, -1, 0, 0, -1]
    """

    def __init__(self, heads: int = 8, levels: int = 4, points: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = whole_number("heads", heads)
        self.levels = whole_number("levels", levels)
        self.points = None if points is None else whole_number("points", points)

    def value(self, layout: Layout) -> Value:
        each = 2 * self.heads * self.levels
        points = self.points or math.prod(layout.shape) // each
        if layout.shape != (each * points,) or not points:
            raise TensorError(
                f"{self.heads} heads on {self.levels} levels look at {each} numbers "
                f"for each point, and this tensor has the shape {layout.shape}.",
                fix="Give heads=, levels= and points= of the attention.",
            )
        numbers: list[float] = []
        for head in range(self.heads):
            angle = head * (2.0 * math.pi / self.heads)
            x, y = math.cos(angle), math.sin(angle)
            farthest = max(abs(x), abs(y))
            ring = [(at + 1) * number / farthest for at in range(points) for number in (x, y)]
            numbers += ring * self.levels
        steps = Steps()
        return steps.result(steps.numbers(numbers))


@INITIALIZERS.register_module(name="UnitNormal")
class UnitNormalInit(BaseInit):
    """N(0, 1 / n) with n the number of inputs, of outputs, or of numbers in a row: the length of a row is 1.

    Args:
        over: ``"fan_in"``, ``"fan_out"``, or ``"width"``, the length of the last axis (of an embedding, a
            position, a token).

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> rule = dict(type="UnitNormal", over="width", layer="Embedding")
        >>> print(initcfg.plan(nn.Embedding(1000, 64), rule)["weight"].value)
        Normal(mean=0, std=0.125)
    """

    def __init__(self, over: str = "fan_in", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.over = one_of("over", over, ("fan_in", "fan_out", "width"))

    def value(self, layout: Layout) -> Value:
        if self.over == "width":
            count = layout.shape[-1] if layout.shape else 0
        else:
            count = layout.fans()[self.over == "fan_out"]
        return Normal(0.0, 1.0 / math.sqrt(count) if count else 0.0)
