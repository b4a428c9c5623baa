"""While user code runs, the original's own functions come back to us.

A user's ``init_weights`` may end in ``super().init_weights()`` of MMEngine's BaseModule, call
``initialize``, or call an initializer on a module. For as long as such code runs, these lead to the
run that called it. Nothing is patched where MMEngine or MMCV 1.x is not loaded.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from initcfg._model import doors, give_body
from initcfg._rules.initializers import INITIALIZERS

_HOMES = (
    ("mmengine.model.base_module", "mmengine.model.weight_init"),
    ("mmcv.runner.base_module", "mmcv.cnn.utils.weight_init"),
)
_ORIGINAL = {"compat": "mmengine", "rng": "torch"}
_lock = threading.RLock()
_depth = 0
_undo = contextlib.ExitStack()


@contextlib.contextmanager
def originals_come_back() -> Iterator[None]:
    """Lead the original's entry points to the active run, until the outermost of these ends."""
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            _patch()
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _undo.close()


def _patch() -> None:
    def init_weights(self: Any) -> None:
        doors.init_base_module(self, **_ORIGINAL)

    def initialize(module: Any, init_cfg: Any) -> None:
        doors.initialize(module, init_cfg, **_ORIGINAL)

    for base_home, init_home in _HOMES:
        base_module, weight_init = sys.modules.get(base_home), sys.modules.get(init_home)
        if base_module is None or weight_init is None:
            continue
        _replace(base_module.BaseModule, "init_weights", init_weights)
        theirs = [vars(home).get("initialize") for home in (base_module, weight_init)]
        for function in {id(each): each for each in theirs if each is not None}.values():
            _replace_function(function, initialize)
        for name in INITIALIZERS.module_dict:
            cls = getattr(weight_init, f"{name}Init", None)
            if cls is not None and "__call__" in vars(cls):
                _replace(cls, "__call__", _call_of(name))


def _replace_function(function: Any, new: Callable[..., Any]) -> None:
    """Also where a user's module imported it by name."""
    if isinstance(function, FunctionType) and function.__closure__ is None:
        _undo.callback(give_body(function, new))
        return
    # Somebody has put something else there, such as a decorated function.
    for module in list(sys.modules.values()):
        held: dict[str, Any] = getattr(module, "__dict__", {})
        if held.get("initialize") is function:
            _replace(module, "initialize", new)


def _replace(owner: Any, name: str, new: Any) -> None:
    _undo.callback(setattr, owner, name, vars(owner)[name])
    setattr(owner, name, new)


def _call_of(name: str) -> Callable[[Any, Any], None]:
    def call(self: Any, module: Any) -> None:
        arguments = {key: item for key, item in vars(self).items() if key != "wholemodule"}
        if name == "Caffe2Xavier":
            # The others are those of the Kaiming that it is.
            arguments = {key: arguments[key] for key in ("bias", "layer") if key in arguments}
        ours = INITIALIZERS.module_dict[name](**arguments)
        ours.wholemodule = getattr(self, "wholemodule", False)
        doors.call_initializer(ours, module)

    return call
