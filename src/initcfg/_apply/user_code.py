"""A model's own initialization code: how it is called, and the marks that the original's protocol leaves."""

from __future__ import annotations

from torch import nn

from initcfg._model import named_tensors
from initcfg._plan import Call


def run_user_code(call: Call, module: nn.Module) -> None:
    """Run a module's own method, or an initializer of the original's protocol."""
    if call.foreign is None:
        module.init_weights()  # type: ignore[operator]
        return
    initializer, override = call.foreign
    if override is not None:
        initializer.wholemodule = True
        initializer(getattr(module, override))
    else:
        initializer(module)


def modules_by_name(model: nn.Module) -> dict[str, nn.Module]:
    """The modules by canonical name; of a wrapper and what it wraps, the latter."""
    names = named_tensors(model).modules
    return {names[id(module)]: module for module in model.modules()}


def set_is_init(module: nn.Module) -> None:
    """Mark a module as initialized, as the original does."""
    try:
        module.is_init = True  # type: ignore[assignment]
    except AttributeError:
        # MMCV 1.x has the property without a setter.
        module._is_init = True  # type: ignore[assignment]


def reset_is_init(model: nn.Module) -> None:
    """Take the marks of an earlier run away."""
    if not getattr(model, "is_init", False):
        return
    for module in model.modules():
        if "_is_init" in vars(module):
            module._is_init = False  # type: ignore[assignment]
