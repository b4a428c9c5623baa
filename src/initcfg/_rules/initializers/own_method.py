"""The rule that asks for a module's own ``init_weights``."""

from __future__ import annotations

from typing import Any

from initcfg._rules.initializers.base import INITIALIZERS


@INITIALIZERS.register_module(name="InitWeights")
class InitWeightsInit:
    """Call the module's own ``init_weights()``.

    A module of a library that initializes in its constructors (timm's, say) keeps its weights: its
    ``init_weights()`` is not called, unless a rule of this type names it. The rule takes ``name`` or
    ``layer``, or stands in an ``override``; it means the modules that have such a method.

    Args:
        layer: Class name, or list of them, of the modules that are meant.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> class Encoder(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc = nn.Linear(2, 2)
        ...     def init_weights(self):
        ...         nn.init.constant_(self.fc.weight, 3)
        >>> model = nn.ModuleDict({"encoder": Encoder()})
        >>> plan = initcfg.plan(model, dict(type="InitWeights", name="encoder"))
        >>> print(plan["encoder.fc.weight"].value)
        Constant(3)
    """

    def __init__(self, layer: Any = None) -> None:
        self.layer = layer

    def __call__(self, module: Any) -> None:
        """Call it."""
        module.init_weights()
