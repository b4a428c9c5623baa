"""Closed doors: a model that does not hold its weights yet says so, instead of giving wrong numbers.

Two reasons: its plan was not applied after a deferred build, or an initialization failed half-way. The
doors are calling it, taking or loading its state, moving it, copying it, and pickling it. Its tensors
themselves cannot be guarded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any, NoReturn

from torch import nn

from initcfg._model import is_compiled, modules_of
from initcfg._record.pending import is_pending, pending_among
from initcfg.errors import ApplyError, PendingModelError

_ATTRIBUTE = "_initcfg_closed"
"""The attribute that says so of a module, and what our hooks are called among the module's."""
_HOOKS = {
    "_forward_pre_hooks": "calling it",
    "_state_dict_pre_hooks": "taking its state_dict",
    "_load_state_dict_pre_hooks": "loading a state_dict into it",
}
_METHODS = {"_apply": "moving it", "__deepcopy__": "copying it", "__reduce_ex__": "pickling it"}

Refuse = Callable[[nn.Module, str], None]


def close(model: nn.Module, why: str) -> None:
    """Close the doors of a model whose initialization failed, until it is initialized again."""

    def refuse(module: nn.Module, what: str) -> NoReturn:
        raise ApplyError(
            f"{why} So {what} is refused.", fix="Initialize the model again: initcfg.init_weights(model)."
        )

    _close(model, _doors(refuse))


def is_closed(model: nn.Module) -> bool:
    """Whether the doors of a model are closed."""
    return _ATTRIBUTE in model.__dict__


def close_pending(modules: Iterable[nn.Module]) -> None:
    """Close the doors of those of the modules that have pending parameters, as long as they have them."""
    doors = _doors(_refuse_pending)
    for module in pending_among(modules):
        _close(module, doors)


def _refuse_pending(module: nn.Module, what: str) -> None:
    if not is_pending(module):
        # Its plan was applied by way of a larger model.
        reopen(module)
        return
    raise PendingModelError(
        f"This {type(module).__name__} was built by initcfg.deferred() or initcfg.build(init=False), and "
        f"its weights are not written yet, so {what} is refused.",
        fix="Call initcfg.init_weights(model), or initcfg.plan(model).apply(model), first.",
    )


def reopen(model: nn.Module) -> None:
    """Open the doors again."""
    attributes = model.__dict__
    if attributes.pop(_ATTRIBUTE, None) is None:
        return
    for name in _HOOKS:
        getattr(model, name).pop(_ATTRIBUTE, None)
    for name in _METHODS:
        attributes.pop(name, None)


def reopen_all(model: nn.Module) -> None:
    """Open the doors of a model and of every module in it."""
    for module in modules_of(model):
        reopen(module)


Doors = tuple[list[tuple[str, Callable[..., None]]], list[tuple[str, Callable[..., Any]]]]


def _doors(refuse: Refuse) -> Doors:
    """The hooks and methods that refuse, as functions of a module: one of each for all modules."""

    def refusing(what: str) -> Callable[..., None]:
        return lambda module, *_, **__: refuse(module, what)

    hooks = [(name, refusing(what)) for name, what in _HOOKS.items()]
    return hooks, [(name, _method(name, what, refuse)) for name, what in _METHODS.items()]


def _close(module: nn.Module, doors: Doors) -> None:
    reopen(module)
    if is_compiled(module):
        # torch.jit takes no hooks. The doors of the module around it are closed.
        return
    hooks, methods = doors
    attributes = module.__dict__
    attributes[_ATTRIBUTE] = True
    # Put where torch's own functions put them: those make a handle for each, which nobody would hold.
    for name, hook in hooks:
        given = MethodType(hook, module) if name == "_load_state_dict_pre_hooks" else hook
        getattr(module, name)[_ATTRIBUTE] = given
    for name, method in methods:
        attributes[name] = MethodType(method, module)


def _method(name: str, what: str, refuse: Refuse) -> Callable[..., Any]:
    def method(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        refuse(module, what)
        # Open by now: the class's own method, or for copying, what copy.deepcopy would do.
        if name == "__deepcopy__":
            import copy

            return copy.deepcopy(module, *args, **kwargs)
        return getattr(module, name)(*args, **kwargs)

    return method
