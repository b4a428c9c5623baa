"""Dispatch modes that are kept from torch's compiler, without loading it for that.

torch hides the ``__torch_dispatch__`` of each mode from its compiler, and to do so imports that at the first
operation: 800 modules, sympy and Triton among them, which takes longer than all the rest of a small plan.
Where nobody has loaded the compiler, nothing can be compiled, and there is nothing to hide from; nor where
it is loaded and follows no code of this thread, which asking tells at once, and torch's hiding does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import CodeType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """torch's mode, whose subclasses are hidden from the compiler from the moment that it is loaded."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dispatch = cls.__dict__.get("__torch_dispatch__")
        if dispatch is not None:
            cls.__torch_dispatch__ = _hidden(dispatch)  # type: ignore[method-assign]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Whether torch is to do it.
        return False


def _hidden(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    hide = getattr(torch, "_disable_dynamo", None)
    if hide is None:
        return dispatch
    from_compiler = hide(dispatch, recursive=True)

    def inner(*args: Any, **kwargs: Any) -> Any:
        hidden = "torch._dynamo" in sys.modules and (_follows is None or _follows() is not None)
        return (from_compiler if hidden else dispatch)(*args, **kwargs)

    _leave_as_it_is(inner.__code__)
    return wraps(dispatch)(inner)


def _what_follows() -> Callable[[], object] | None:
    """The function that says what of the compiler follows this thread; None where it cannot be asked.

    In older versions of torch it takes a reference too many from what it returns, which is None mostly.
    """
    asked = getattr(sys.modules.get("torch._C._dynamo.eval_frame"), "get_eval_frame_callback", None)
    if asked is None:
        return None
    before = sys.getrefcount(None)
    for _ in range(64):
        asked()
    return asked if before - sys.getrefcount(None) < 32 else None


_follows = _what_follows()


def _leave_as_it_is(code: CodeType) -> None:
    """Tell the compiler's hook in the interpreter, which torch always has, not to compile this."""
    hook: Any = sys.modules.get("torch._C._dynamo.eval_frame")
    if hasattr(hook, "set_code_exec_strategy"):
        action = hook._FrameAction
        hook.set_code_exec_strategy(code, hook._FrameExecStrategy(action.SKIP, action.DEFAULT))
