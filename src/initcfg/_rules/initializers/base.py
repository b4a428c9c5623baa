"""The base of the initializers, and their registry.

An initializer makes a Value from its arguments and a tensor's layout. It touches no tensor; calling one on
a module (``KaimingInit(layer="Conv2d")(module)``), as the original allows, goes through a plan like
everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from initcfg._config import Registry
from initcfg._config.files import PlainArguments
from initcfg._model import doors
from initcfg._rules.initializers.arguments import number
from initcfg.errors import ArgumentError, ArgumentValueError, as_annotated
from initcfg.values import Constant, Layout, PaddingRow, Parts, Value, scaled

if TYPE_CHECKING:
    from torch import nn

INITIALIZERS = Registry("weight initializer", scope="initcfg")
"""Weight initializers."""

WEIGHT_INITIALIZERS = INITIALIZERS
"""The original's name of :data:`INITIALIZERS`."""


@as_annotated(ArgumentError)
def bias_init_with_prob(prior_prob: float) -> float:
    """The bias at which a sigmoid gives ``prior_prob``: -log((1 - p) / p).

    From "Focal Loss for Dense Object Detection", Lin et al. 2017, section 3.3: a classifier that
    starts out sure of the background does not drown in it.

    Raises:
        ArgumentValueError: ``prior_prob`` is not strictly between 0 and 1.

    Example:
        >>> from initcfg import bias_init_with_prob
        >>> round(bias_init_with_prob(0.01), 4)
        -4.5951
    """
    if not 0 < prior_prob < 1:
        raise ArgumentValueError(
            f"A prior probability lies strictly between 0 and 1, but bias_prob is {prior_prob!r}.",
            fix="Detectors use 0.01.",
        )
    # NumPy's logarithm, as the original: the same double, to the last bit.
    return float(-np.log((1 - prior_prob) / prior_prob))


class BaseInit(PlainArguments):
    """Base of the initializers, and of yours: give it a :meth:`value` and register it.

    Args:
        bias: What biases are filled with.
        bias_prob: Probability that a sigmoid at that bias gives; wins over ``bias``.
        layer: Class name, or list of them, of the modules that are meant, when the initializer is
            called on a module directly. In a rule, ``layer`` belongs to the rule.

    Example:
        >>> import initcfg
        >>> from initcfg import INITIALIZERS, BaseInit
        >>> from initcfg.values import Normal
        >>> @INITIALIZERS.register_module(name="FanSum", force=True)
        ... class FanSumInit(BaseInit):
        ...     def value(self, layout):
        ...         fan_in, fan_out = layout.fans()
        ...         return Normal(0.0, (fan_in + fan_out) ** -0.5)
        >>> from torch import nn
        >>> print(initcfg.plan(nn.Linear(3, 6), dict(type="FanSum", layer="Linear"))["weight"].value)
        Normal(mean=0, std=0.3333)
    """

    # Whether it asks for the layout's default, what torch's own layer does.
    asks_default: ClassVar[bool] = False
    # Whether biases are filled by it too, and not with the number ``bias``.
    fills_bias: bool = False

    def __init__(
        self, *, bias: float = 0, bias_prob: float | None = None, layer: str | Sequence[str] | None = None
    ) -> None:
        bias = number("bias", bias)
        if bias_prob is not None and not isinstance(bias_prob, float):
            raise ArgumentError(
                f"bias_prob must be a float, not {bias_prob!r}.", fix="Write one, such as 0.01."
            )
        if layer is not None and not isinstance(layer, (str, list, tuple)):
            raise ArgumentError(
                f"layer must be a class name or a list of them, not {layer!r}.", fix="Write layer='Conv2d'."
            )
        self.bias = bias if bias_prob is None else bias_init_with_prob(bias_prob)
        self.layer = layer
        self._values: dict[Layout, Value] = {}

    def with_scale(self, value: Value, factor: float, layout: Layout, divisor: float) -> Value:
        """The value of this layout under a rule's ``scale``, which is ``factor / divisor``."""
        return scaled(value, factor, layout.shape, divisor=divisor)

    def value(self, layout: Layout) -> Value:
        """What a tensor of this layout is filled with."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """The arguments of the weight, by name, as the ledger and JSON show them."""
        return {
            name: item
            for name, item in vars(self).items()
            if not name.startswith("_") and name not in ("bias", "layer") and item is not None
        }

    def notes(self) -> list[str]:
        """Remarks on arguments that cannot do what they seem to."""
        return []

    def resolve(self, layout: Layout) -> Value:
        """:meth:`value`, part by part where the tensor is fused, and remembered."""
        found = self._values.get(layout)
        if found is None:
            found = self._values[layout] = self._resolve(layout)
        return found

    def _resolve(self, layout: Layout) -> Value:
        values = tuple(map(self.value, map(layout.part, layout.parts) if layout.parts else [layout]))
        for value in values:
            if not isinstance(value, Value):
                raise ArgumentError(
                    f"{type(self).__name__}.value gives {value!r}, which is not a value of initcfg.values."
                )
        if layout.parts and not (isinstance(values[0], Constant) and len(set(values)) == 1):
            return Parts(0, layout.parts, values)
        if layout.padding_index is not None and values[0] != Constant(0.0):
            return PaddingRow(layout.padding_index, values[0])
        return values[0]

    def __call__(self, module: nn.Module) -> None:
        """Initialize ``module`` now, as the original does."""
        doors.call_initializer(self, module)

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={item!r}" for name, item in self.arguments().items())
        return f"{type(self).__name__}({inner})"
