"""Take MMEngine's own executor away, so that nothing but this project's can initialize a model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest import mock

INITIALIZERS = (
    "Caffe2XavierInit",
    "ConstantInit",
    "KaimingInit",
    "NormalInit",
    "PretrainedInit",
    "TruncNormalInit",
    "UniformInit",
    "XavierInit",
)


class ForbiddenError(AssertionError):
    """MMEngine's own initialization ran."""


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(*_arguments: Any, **_keywords: Any) -> NoReturn:
        raise ForbiddenError(f"MMEngine's {name} ran.")

    return refuse


@contextmanager
def mmengine_forbidden() -> Iterator[None]:
    """Inside, MMEngine's `initialize`, its eight initializers and `BaseModule.init_weights` raise.

    The functions are replaced in every loaded module that imported them by name. The initializers'
    `__call__` and `BaseModule.init_weights` are replaced on the classes, so instances and subclasses
    see it too.
    """
    from mmengine.model import base_module, weight_init

    functions = {
        name: getattr(weight_init, name) for name in ("initialize", "_initialize", "_initialize_override")
    }
    # One stand-in each, so that the places where a function was can still be told by its identity.
    refusals = {name: _refusing(name) for name in functions}
    with mock.patch.object(base_module.BaseModule, "init_weights", _refusing("BaseModule.init_weights")):
        undo: list[tuple[Any, str, Any]] = []
        try:
            for module in list(sys.modules.values()):
                for name, function in functions.items():
                    if getattr(module, "__dict__", {}).get(name) is function:
                        undo.append((module, name, function))
                        setattr(module, name, refusals[name])
            for name in INITIALIZERS:
                initializer = getattr(weight_init, name)
                undo.append((initializer, "__call__", initializer.__call__))
                initializer.__call__ = _refusing(f"{name}.__call__")
            yield
        finally:
            for holder, name, original in undo:
                setattr(holder, name, original)
