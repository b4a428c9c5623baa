"""Functions with another body for a while: so they are found by whatever name they were imported under."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any


def original_of(function: types.FunctionType) -> types.FunctionType:
    """What a function does now, as a function of its own."""
    original = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    return original


def give_body(function: types.FunctionType, instead: Callable[..., Any]) -> Callable[[], None]:
    """Let a function without closure do what another does; the result gives it its own body back."""
    code, body = function.__code__, _body.__code__
    # What it does is a constant of the code: no name is added anywhere.
    constants = tuple(instead if each == "wrapped" else each for each in body.co_consts)
    # One assignment, so that no other thread sees half of it; a body without names of its own arguments
    # has no use for the defaults, which stay.
    function.__code__ = body.replace(co_consts=constants, co_name=function.__name__)

    def give_back() -> None:
        function.__code__ = code

    return give_back


def _body(*args: Any, **kwargs: Any) -> Any:
    function: Any = "wrapped"
    return function(*args, **kwargs)
