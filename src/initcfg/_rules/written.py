"""Where rules were written: in a config file, a call or a class; of code, looked up when somebody asks."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import CodeType, FrameType, FunctionType
from typing import Any

from initcfg._model import TORCH_FOLDER, code_place, frame_place, of_builders
from initcfg._rules.literals import line_in_call, line_in_constructor, outline

_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


class Place:
    """A place in code, which is looked up when its text is asked for: ``str(place)`` is ``"net.py:9"``."""

    def __init__(self, known: str, find: Callable[[], str | None]) -> None:
        self._text, self._find = known, find
        self._found = False

    def __str__(self) -> str:
        if not self._found:
            self._found = True
            # Code may be anything, and a place is only told beside something.
            with contextlib.suppress(Exception):
                self._text = self._find() or self._text
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (str, Place)) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> Any:
        return str, (str(self),)


WrittenAt = str | Place
"""File and line."""
LineOfRule = Callable[[str], WrittenAt | None]
"""From the path of a rule to file and line."""
Codes = tuple[Sequence[CodeType], str | None]
"""The code of the constructors of a class, and where the first of it begins."""


def nowhere(where: str) -> None:
    """Of rules of which nobody knows where they were written."""


_given_at: ContextVar[LineOfRule | None] = ContextVar("given_at", default=None)


@contextlib.contextmanager
def given_at(written: LineOfRule) -> Iterator[None]:
    """Within, the rules of calls were written there: a callback carries out what it was given before."""
    token = _given_at.set(written)
    try:
        yield
    finally:
        _given_at.reset(token)


def called_with(rules: Any) -> LineOfRule:
    """Where the rules were written that a person's code gave to the function of ours that is running.

    At least the line of the call; of rules that stand there as literals, each has its own.
    """
    known = _given_at.get()
    if known is not None or rules is None:
        return known or nowhere
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_passed_through(frame.f_code.co_filename):
        frame = frame.f_back
    call = None if frame is None else frame_place(frame)
    if frame is None or call is None:
        return nowhere
    code, instruction, line = frame.f_code, frame.f_lasti, frame.f_lineno
    shape = outline(rules)

    def written(where: str) -> Place:
        path = where.partition("init_cfg")[2]

        def find() -> str | None:
            found = line_in_call(code.co_filename, line, _end_of(code, instruction), shape, path)
            return None if found is None else code_place(code.co_filename, found)

        return Place(call, find)

    return written


def codes_of(cls: type) -> Codes:
    """The constructors of a class, but for those that only hand on what they are given."""
    constructors = (vars(each).get("__init__") for each in cls.__mro__)
    functions = [each for each in constructors if isinstance(each, FunctionType)]
    codes = [each.__code__ for each in functions if not of_builders(each.__module__)]
    codes = [each for each in codes if not _is_passed_through(each.co_filename)]
    return codes, code_place(codes[0].co_filename, codes[0].co_firstlineno) if codes else None


def in_class(module: Any, of_class: Codes, shape: Any) -> LineOfRule:
    """Where the rules of a module, of this outline, were written, if its class holds them as literals.

    Else, the line that gave them to :class:`BaseModule`; or the best that is known: where the class begins.
    """
    codes, begins = of_class
    known = getattr(module, "_init_cfg_written", None) or begins
    if known is None:
        return nowhere

    def written(where: str) -> Place:
        path = where.rpartition("init_cfg")[2]

        def find() -> str | None:
            for code in codes:
                found = line_in_constructor(code.co_filename, code.co_firstlineno, shape, path)
                if found is not None:
                    return code_place(code.co_filename, found)
            return None

        return Place(known, find)

    return written


def _is_passed_through(file: str) -> bool:
    """Whether code of this file only hands on what a person's code gave."""
    return file.startswith((_OURS, TORCH_FOLDER)) or file in (contextlib.__file__, "<frozen runpy>")


def _end_of(code: Any, instruction: int) -> tuple[int, int] | None:
    """Line and column where the call ends; Python 3.10 does not know."""
    if not hasattr(code, "co_positions"):
        return None
    _, line, _, column = next(itertools.islice(code.co_positions(), instruction // 2, None))
    return None if line is None or column is None else (line, column)
