"""Who is told that a module gets a parameter or a module: by one hook of torch's for each, which stay.

torch goes through its global hooks in every thread that makes a module, and one that is taken away meanwhile
is an error there. So ours are never taken away, and who listens is kept here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import nn

Listener = Callable[[nn.Module, str, Any], None]

# Replaced as a whole, so that who goes through them is not disturbed.
_of_parameters: tuple[Listener, ...] = ()
_of_modules: tuple[Listener, ...] = ()
_lock = threading.Lock()


def listen(*, parameters: Listener | None = None, modules: Listener | None = None) -> Callable[[], None]:
    """Have functions called with each module that gets a parameter or a module, its name there, and it.

    They are called in whatever thread that happens, before it happens. The result ends that.
    """
    global _of_parameters, _of_modules
    _hook()
    with _lock:
        _of_parameters += () if parameters is None else (parameters,)
        _of_modules += () if modules is None else (modules,)

    def end() -> None:
        global _of_parameters, _of_modules
        with _lock:
            _of_parameters = _without(_of_parameters, parameters)
            _of_modules = _without(_of_modules, modules)

    return end


def _without(listeners: tuple[Listener, ...], one: Listener | None) -> tuple[Listener, ...]:
    """All but the last that is this one."""
    places = [place for place, each in enumerate(listeners) if each is one]
    return listeners if not places else listeners[: places[-1]] + listeners[places[-1] + 1 :]


@cache
def _hook() -> None:
    nn.modules.module.register_module_parameter_registration_hook(_gets_parameter)
    nn.modules.module.register_module_module_registration_hook(_gets_module)


def _gets_parameter(module: nn.Module, name: str, parameter: Any) -> None:
    for listener in _of_parameters:
        listener(module, name, parameter)


def _gets_module(module: nn.Module, name: str, child: Any) -> None:
    for listener in _of_modules:
        listener(module, name, child)
