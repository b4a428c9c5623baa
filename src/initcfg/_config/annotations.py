"""What the annotations of a class or function say of its parameters."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from typing import Any, ForwardRef


def annotations_of(function: Any) -> dict[str, Any]:
    """The annotations of a function, evaluated where they are texts that can be."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    names = getattr(sys.modules.get(getattr(function, "__module__", "")), "__dict__", {})
    names = {**names, **getattr(function, "__globals__", {})}
    found = {}
    for name, hint in dict(getattr(function, "__annotations__", None) or {}).items():
        # Those of a NamedTuple are wrapped.
        hint = hint.__forward_arg__ if isinstance(hint, ForwardRef) else hint
        if isinstance(hint, str):
            # The module's own text. What it imports for type checkers alone has no value here.
            with contextlib.suppress(Exception):
                hint = eval(hint, names)
        found[name] = hint
    return found


def first_annotation(function: Any) -> Any:
    """The annotation of a function's first parameter; None where it has none."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = type(function).__call__
    try:
        parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    except (TypeError, ValueError):
        return None
    return annotations_of(function).get(parameters[0]) if parameters else None


def fills_tensor(found: Any) -> bool:
    """Whether something is a function that is annotated to take a tensor and to return one.

    Example:
        >>> import os
        >>> from torch import nn
        >>> from initcfg._config.annotations import fills_tensor
        >>> fills_tensor(nn.init.normal_), fills_tensor(os.system)
        (True, False)
    """
    torch = sys.modules.get("torch")
    if torch is None or not inspect.isfunction(found):
        return False
    hints = (first_annotation(found), annotations_of(found).get("return"))
    return all(inspect.isclass(hint) and issubclass(hint, torch.Tensor) for hint in hints)
