"""Initializers that need data: LSUV, and what weight norm and ActNorm do with their first batch.

What they write is known once a batch has run through the model: until then, a plan has
:class:`initcfg.values.FromBatch`. The measuring is done in ``_apply/measuring``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from initcfg._config import function_meant, names_function
from initcfg._rules.initializers.arguments import finite, number
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg.errors import ArgumentError, ArgumentValueError
from initcfg.values import Constant, FromBatch, Layout, Value

_LAYERS = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


class BatchInit(BaseInit):
    """Base of the initializers that need a batch.

    Args:
        batch: What the model is called with: ``"file.py:function"``, a function that gives it, or in code the
            inputs themselves: a tensor, a tuple of arguments, or a dict of arguments by name.
        first: The initializer of what is then measured, as ``dict(type=...)``.
    """

    # The layers that are meant where a rule selects nothing.
    default_layers: ClassVar[tuple[str, ...]] = _LAYERS
    # Whether a rule by layer means every parameter of the layer, one by one.
    all_parameters: ClassVar[bool] = False
    # What it is called in a plan.
    scheme: ClassVar[str] = ""

    def __init__(self, batch: Any, first: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._batch = _checked(batch)
        self.batch = batch_text(self._batch)
        self._first = _made(first)
        self.first = dict(first)

    @property
    def source(self) -> Any:
        """The batch as it was given."""
        return self._batch

    def _resolve(self, layout: Layout) -> Value:
        return FromBatch(self.text(), self._first.resolve(layout))

    def text(self) -> str:
        """The scheme in a plan, with all that it depends on."""
        said = ", ".join(f"{name}={item!r}" for name, item in self.arguments().items() if name != "first")
        return f"{self.scheme}({said})"


def _made(first: Any) -> BaseInit:
    if not isinstance(first, Mapping) or "type" not in first:
        raise ArgumentError(
            f"first must be an initializer, dict(type=...), not {first!r}.",
            fix="Write first=dict(type='Orthogonal').",
        )
    arguments = {str(key): item for key, item in first.items() if key != "type"}
    made = INITIALIZERS.build(dict(type=first["type"], **arguments))
    if not isinstance(made, BaseInit) or isinstance(made, BatchInit):
        raise ArgumentError(f"first={dict(first)!r} gives no numbers to begin with.")
    return made


def _checked(batch: Any) -> Any:
    if isinstance(batch, str):
        if not names_function(batch):
            raise ArgumentValueError(
                f"batch={batch!r} names no function of a file.",
                meant=function_meant(batch),
                fix="Write batch='data.py:batch', where data.py has a function batch() that gives inputs.",
            )
        return batch
    if isinstance(batch, type) or batch is None or isinstance(batch, (bool, int, float, set)):
        raise ArgumentError(
            f"batch must be inputs of the model, or a function that gives them, not {batch!r}.",
            fix="Write batch='data.py:batch', or batch=(inputs,) in code.",
        )
    return batch


def batch_text(batch: Any) -> str:
    """A batch in words."""
    if isinstance(batch, str):
        return batch
    if isinstance(batch, Mapping):
        return "{" + ", ".join(f"{key}: {batch_text(item)}" for key, item in batch.items()) + "}"
    if isinstance(batch, (list, tuple)):
        return f"({', '.join(map(batch_text, batch))})"
    if hasattr(batch, "shape") and hasattr(batch, "dtype"):
        return f"{str(batch.dtype).removeprefix('torch.')} {'×'.join(map(str, batch.shape)) or 'scalar'}"
    if callable(batch):
        return f"{getattr(batch, '__qualname__', type(batch).__name__)}()"
    return type(batch).__name__


@INITIALIZERS.register_module(name="LSUV")
class LSUVInit(BatchInit):
    """Layer-sequential unit variance: orthogonal weights, each then divided by what its layer puts out.

    A batch runs through the model. When it comes to a layer, the weight is multiplied by std / σ, where σ is
    the standard deviation of the layer's output, until they are nearer than ``tol``; what follows sees the
    output of the new weight. From "All you need is a good init", Mishkin & Matas 2016, whose biases are 0. A
    weight that is used twice is measured where it is used first.

    A rule without a selection means all linear and convolutional layers. The model runs in the mode that it
    is in, without gradients, and its buffers and the generators are afterwards as they were.

    Args:
        batch: What the model is called with: ``"file.py:function"``, a function that gives it, or in code the
            inputs themselves: a tensor, a tuple of arguments, or a dict of arguments by name.
        std: Standard deviation of each output.
        tol: How far from it an output may stay.
        first: The initializer of the weights.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64))
        >>> inputs = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> plan = initcfg.plan(model, dict(type="LSUV", batch=inputs))
        >>> print(plan["2.weight"].value)
        Computed(LSUV(batch='float32 256×8', std=1.0, tol=0.1)) from Orthogonal(gain=1)
        >>> ledger = plan.apply(model, seed=0)
        >>> print(f"{model(inputs).detach().std():.3f}", ledger["2.weight"].value.kind)
        1.000 Orthogonal
    """

    scheme = "LSUV"
    # Whether the mean of the weights is taken out where the input has one.
    centered: bool = False

    def __init__(
        self,
        batch: Any,
        std: float = 1.0,
        tol: float = 0.1,
        first: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch, dict(type="Orthogonal") if first is None else first, **kwargs)
        self.std = _above_zero("std", std)
        self.tol = _above_zero("tol", tol)

    def target(self, name: str) -> float:
        """The standard deviation of the output of a weight, by its canonical name."""
        return self.std


@INITIALIZERS.register_module(name="WeightNormData")
class WeightNormDataInit(BatchInit):
    """Each channel of each layer's output has mean 0 and standard deviation 1 on a batch.

    Layer after layer, the rows of the weight are divided by σ and the bias becomes -μ / σ, where μ and σ are
    mean and standard deviation of that channel (σ² = variance + 1e-10); what follows sees the new output.
    From "Weight Normalization", Salimans & Kingma 2016, section 3; for layers with
    ``torch.nn.utils.parametrizations.weight_norm``, and for those without, too.

    Args:
        batch: See ``LSUV``.
        first: The initializer of the weights; theirs is N(0, 0.05²).

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> model = nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))
        >>> inputs = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
        >>> ledger = initcfg.init_weights(model, dict(type="WeightNormData", batch=inputs), seed=0)
        >>> [round(float(std), 3) for std in model(inputs).detach().std(0, correction=0)]
        [1.0, 1.0, 1.0]
    """

    scheme = "WeightNormData"
    fills_bias = True

    def __init__(self, batch: Any, first: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(batch, dict(type="Normal", std=0.05) if first is None else first, **kwargs)

    def _resolve(self, layout: Layout) -> Value:
        # A bias has one axis, and no weight of these layers has.
        if len(layout.shape) == 1:
            return FromBatch(self.text(), Constant(0.0))
        return super()._resolve(layout)


@INITIALIZERS.register_module(name="ActNormData")
class ActNormDataInit(BatchInit):
    """The scale and the shift of ActNorm layers, so that a batch leaves them with mean 0 and deviation 1.

    Of each channel, with mean μ and standard deviation σ of the layer's input: the shift is -μ, and the scale
    is s / (σ + 1e-6). From "Glow", Kingma & Dhariwal 2018, section 3.1. A layer is any module with two
    vectors: which is the scale and which the shift, whether the scale is a logarithm, and which comes first,
    is tried, and the output tells.

    Args:
        batch: See ``LSUV``.
        scale: s.
        logscale_factor: What the layer multiplies its logarithm with (Glow's 3).

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> class ActNorm(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.loc, self.log_scale = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
        ...     def forward(self, x):
        ...         return (x + self.loc) * self.log_scale.exp()
        >>> inputs = 3 + 2 * torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
        >>> model = nn.Sequential(ActNorm())
        >>> rule = dict(type="ActNormData", layer="ActNorm", batch=inputs)
        >>> ledger = initcfg.init_weights(model, rule, seed=0)
        >>> [round(float(std), 3) for std in model(inputs).detach().std(0, correction=0)]
        [1.0, 1.0, 1.0, 1.0]
    """

    scheme = "ActNormData"
    default_layers = ()
    all_parameters = True

    def __init__(self, batch: Any, scale: float = 1.0, logscale_factor: float = 1.0, **kwargs: Any) -> None:
        super().__init__(batch, dict(type="Constant", val=0.0), **kwargs)
        self.scale = _above_zero("scale", scale)
        self.logscale_factor = _above_zero("logscale_factor", logscale_factor)


def _above_zero(name: str, given: Any) -> float:
    if finite(name, number(name, given)) <= 0:
        raise ArgumentValueError(f"{name} must be above 0, not {given!r}.")
    return float(given)
