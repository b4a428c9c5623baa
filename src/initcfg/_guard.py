"""A model whose initialization failed half-way is closed until it is initialized again."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import nn

from initcfg.errors import ApplyError

_ATTRIBUTE = "_initcfg_closed"


def close(model: nn.Module, why: str) -> None:
    """Make calling ``model``, and taking its state, an error that says why."""
    reopen(model)

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ApplyError(why, mend="Initialize the model again: initcfg.init_weights(model).")

    model.__dict__[_ATTRIBUTE] = [
        model.register_forward_pre_hook(refuse),
        model.register_state_dict_pre_hook(refuse),
        model.register_load_state_dict_pre_hook(refuse),
    ]


def reopen(model: nn.Module) -> None:
    """Undo :func:`close`."""
    for handle in model.__dict__.pop(_ATTRIBUTE, []):
        handle.remove()
