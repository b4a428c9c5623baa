"""Closed doors: a model that does not hold its weights yet says so, instead of giving wrong numbers.

Two reasons: its plan was not applied after a deferred build, or an initialization failed half-way. The
doors are calling it, taking or loading its state, moving it, copying it, and pickling it. Its tensors
themselves cannot be guarded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from torch import nn

from initcfg._model import is_compiled
from initcfg._record.pending import is_pending, pending_among
from initcfg.errors import ApplyError, PendingModelError

_ATTRIBUTE = "_initcfg_closed"
_METHODS = {"_apply": "moving it", "__deepcopy__": "copying it", "__reduce_ex__": "pickling it"}


def close(model: nn.Module, why: str) -> None:
    """Close the doors of a model whose initialization failed, until it is initialized again."""

    def refuse(what: str) -> NoReturn:
        raise ApplyError(
            f"{why} So {what} is refused.", fix="Initialize the model again: initcfg.init_weights(model)."
        )

    _close(model, refuse)


def is_closed(model: nn.Module) -> bool:
    """Whether the doors of a model are closed."""
    return _ATTRIBUTE in model.__dict__


def close_pending(modules: Iterable[nn.Module]) -> None:
    """Close the doors of those of the modules that have pending parameters, as long as they have them."""
    for module in pending_among(modules):
        _close_pending(module)


def _close_pending(module: nn.Module) -> None:
    def refuse(what: str) -> None:
        if not is_pending(module):
            # Its plan was applied by way of a larger model.
            reopen(module)
            return
        raise PendingModelError(
            f"This {type(module).__name__} was built by initcfg.deferred() or initcfg.build(init=False), and "
            f"its weights are not written yet, so {what} is refused.",
            fix="Call initcfg.init_weights(model), or initcfg.plan(model).apply(model), first.",
        )

    _close(module, refuse)


def reopen(model: nn.Module) -> None:
    """Open the doors again."""
    handles = model.__dict__.pop(_ATTRIBUTE, None)
    if handles is None:
        return
    for handle in handles:
        handle.remove()
    for name in _METHODS:
        model.__dict__.pop(name, None)


def reopen_all(model: nn.Module) -> None:
    """Open the doors of a model and of every module in it."""
    for module in model.modules():
        reopen(module)


def _close(module: nn.Module, refuse: Callable[[str], None]) -> None:
    reopen(module)
    if is_compiled(module):
        # torch.jit takes no hooks. The doors of the module around it are closed.
        return

    def refusing(what: str) -> Callable[..., None]:
        return lambda *_, **__: refuse(what)

    module.__dict__[_ATTRIBUTE] = [
        module.register_forward_pre_hook(refusing("calling it")),
        module.register_state_dict_pre_hook(refusing("taking its state_dict")),
        module.register_load_state_dict_pre_hook(refusing("loading a state_dict into it")),
    ]
    for name, what in _METHODS.items():
        module.__dict__[name] = _method(module, name, what, refuse)


def _method(module: nn.Module, name: str, what: str, refuse: Callable[[str], None]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        refuse(what)
        # Open by now: the class's own method, or for copying, what copy.deepcopy would do.
        if name == "__deepcopy__":
            import copy

            return copy.deepcopy(module, *args, **kwargs)
        return getattr(module, name)(*args, **kwargs)

    return method
