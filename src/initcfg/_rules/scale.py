"""Scale: a small arithmetic that a rule may hold, parsed here and never evaluated as Python."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from initcfg.errors import ArgumentValueError, RuleTypeError, nearest

SCALE_NAMES = (
    "layers",
    "layer",
    "residuals",
    "width",
    "base_width",
    "base_layers",
    "fan_in",
    "fan_out",
    "heads",
)
"""What the arithmetic knows of a tensor and its model."""

_FUNCTIONS: dict[str, Callable[..., float]] = {"sqrt": math.sqrt, "log": math.log, "min": min, "max": max}
_LONGEST = 300
_DEEPEST = 24
_SPACE = re.compile(r"[ \t\n]*")
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z_.]))"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*)|(?P<sign>\*\*|[-+*/(),])"
)
_FIX = (
    "Write numbers, + - * / ** ( ), sqrt, log, min, max, and the names "
    f"{', '.join(SCALE_NAMES)}: '1/sqrt(2*layers)'."
)


@dataclass(frozen=True)
class Expression:
    """An expression as it was written, and as it was understood.

    Attributes:
        text: As written.
        names: The names in it.
        tree: A number, a name, or ``(operation, position, *operands)``.
    """

    text: str
    names: frozenset[str]
    tree: Any

    def quotient(self, known: Mapping[str, float]) -> tuple[float, float]:
        """Its number as a fraction: of ``1/sqrt(2*layers)`` 1 and the root, else the number and 1."""
        if isinstance(self.tree, tuple) and self.tree[0] == "/":
            return _computed(self.tree[2], known, self.text), _computed(self.tree[3], known, self.text)
        return self.value(known), 1.0

    def value(self, known: Mapping[str, float]) -> float:
        """Its number, where these names have these numbers: finite.

        Raises:
            ArgumentValueError: It has none.
        """
        return _computed(self.tree, known, self.text)


def _shown(item: float | str) -> str:
    return item if isinstance(item, str) else f"{item:.10g}"


def parse_scale(key: str, written: Any) -> Expression:
    """The expression under a key of a rule: a text, or a number.

    Raises:
        RuleError: It is none; the message has the place of the fault.
    """
    if isinstance(written, numbers.Real) and not isinstance(written, bool):
        try:
            number = float(written)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ArgumentValueError(f"{key} must be finite, not {number!r}.", fix=_FIX)
        return Expression(
            f"{number:g}" if number == float(f"{number:g}") else repr(number), frozenset(), number
        )
    if not isinstance(written, str):
        raise RuleTypeError(f"{key} must be an expression in a text, or a number, not {written!r}.", fix=_FIX)
    if len(written) > _LONGEST:
        raise ArgumentValueError(
            f"{key} is {len(written):,} characters long; an expression has {_LONGEST} at most.", fix=_FIX
        )
    return _parsed(key, written)


@lru_cache(maxsize=1024)
def _parsed(key: str, text: str) -> Expression:
    parser = _Parser(key, text)
    tree = parser.sum(0)
    if parser.at is not None:
        raise parser.wrong(f"{parser.at!r} is not expected")
    return Expression(text.strip(), frozenset(parser.names), tree)


class _Parser:
    """Recursive descent: sums of products of powers; ``at`` is the token that comes next."""

    def __init__(self, key: str, text: str) -> None:
        self.key = key
        self.text = text
        self.names: set[str] = set()
        self.at: str | None = None
        self.kind: str | None = None
        self.position = self._end = 0
        self.advance()

    def advance(self) -> None:
        space = _SPACE.match(self.text, self._end)
        assert space is not None
        self.position = space.end()
        if self.position == len(self.text):
            self.at = self.kind = None
            return
        found = _TOKEN.match(self.text, self.position)
        if found is None:
            raise self.wrong(f"{self.text[self.position]!r} is not expected")
        self._end, self.kind, self.at = found.end(), found.lastgroup, found.group()

    def wrong(self, problem: str, *, meant: list[str] | None = None) -> ArgumentValueError:
        place = f"at character {self.position + 1}" if self.position < len(self.text) else "at its end"
        return ArgumentValueError(
            f"{self.key}={self.text!r} cannot be read: {place}, {problem}.", meant=meant or [], fix=_FIX
        )

    def sum(self, depth: int) -> Any:
        found = self.product(depth)
        while self.at in ("+", "-"):
            sign, position = self.at, self.position
            self.advance()
            found = (sign, position, found, self.product(depth))
        return found

    def product(self, depth: int) -> Any:
        found = self.signed(depth)
        while self.at in ("*", "/"):
            sign, position = self.at, self.position
            self.advance()
            found = (sign, position, found, self.signed(depth))
        return found

    def signed(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise self.wrong(f"it nests more than {_DEEPEST} deep")
        if self.at in ("+", "-"):
            sign, position = self.at, self.position
            self.advance()
            inner = self.signed(depth + 1)
            return inner if sign == "+" else ("negative", position, inner)
        base, position = self.atom(depth), self.position
        if self.at != "**":
            return base
        self.advance()
        # From the right: 2**3**2 is 2**9.
        return ("**", position, base, self.signed(depth + 1))

    def atom(self, depth: int) -> Any:
        token, kind = self.at, self.kind
        if kind == "number" and token is not None:
            number = float(token)
            if not math.isfinite(number):
                raise self.wrong("the number is beyond what a float can hold")
            self.advance()
            return number
        if kind == "name" and token is not None:
            return self.call(token, depth) if token in _FUNCTIONS else self.name(token)
        if token == "(":
            self.advance()
            found = self.sum(depth + 1)
            self.close()
            return found
        raise self.wrong(
            "a number, a name or '(' is missing" if token is None else f"{token!r} is not expected"
        )

    def name(self, token: str) -> str:
        if token not in SCALE_NAMES:
            raise self.wrong(
                f"{token!r} is no name that it knows", meant=nearest(token, (*SCALE_NAMES, *_FUNCTIONS))
            )
        self.names.add(token)
        self.advance()
        return token

    def call(self, function: str, depth: int) -> Any:
        position = self.position
        self.advance()
        if self.at != "(":
            raise self.wrong(f"{function} needs '('")
        operands: list[Any] = []
        while self.at in ("(", ","):
            self.advance()
            operands.append(self.sum(depth + 1))
        self.close()
        if function in ("sqrt", "log") and len(operands) != 1:
            self.position = position
            raise self.wrong(f"{function} takes one number, and here are {len(operands)}")
        return (function, position, *operands)

    def close(self) -> None:
        if self.at != ")":
            raise self.wrong("')' is missing" if self.at is None else f"{self.at!r} stands where ')' should")
        self.advance()


def _computed(tree: Any, known: Mapping[str, float], text: str) -> float:
    if isinstance(tree, float):
        return tree
    if isinstance(tree, str):
        return float(known[tree])
    operation, position, *operands = tree
    numbers = [_computed(each, known, text) for each in operands]
    try:
        found = _apply(operation, numbers)
    except ZeroDivisionError:
        problem = "a division by zero"
    except OverflowError:
        problem = "a number beyond what a float can hold"
    except ValueError:
        problem = f"{operation} of {', '.join(f'{each:.6g}' for each in numbers)}, which has no value"
    else:
        if not isinstance(found, complex) and math.isfinite(found):
            return found
        problem = f"{numbers[0]:.6g} {operation} {numbers[-1]:.6g}, which is no finite number"
    with_values = ", ".join(f"{name} {_shown(number)}" for name, number in sorted(known.items()))
    raise ArgumentValueError(
        f"{text!r} has no value: at character {position + 1} it asks for {problem}"
        f"{f' (here {with_values})' if with_values else ''}.",
        fix="Correct the expression.",
    )


def _apply(operation: str, numbers: list[float]) -> Any:
    first, last = numbers[0], numbers[-1]
    if operation == "+":
        return first + last
    if operation == "-":
        return first - last
    if operation == "*":
        return first * last
    if operation == "/":
        return first / last
    if operation == "**":
        return first**last
    if operation == "negative":
        return -first
    if operation in ("min", "max"):
        return _FUNCTIONS[operation](numbers)
    return _FUNCTIONS[operation](first)
