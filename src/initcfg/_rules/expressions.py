"""Regular expressions that a rule gives: only those that cannot take forever.

Python's matcher tries one way after another, and cannot be stopped while it does. So how many ways there may
be is counted from the expression itself, before it is used; with the length of a name, that is a bound of the
work, and between two names the time that an expression has taken is looked at.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from initcfg.errors import PatternError

_PARSER: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_MOST_REPEATS = 3
_MOST_WAYS = 10_000
# Of one name: the ways, times the ways to divide it among the open repeats; a second is about 10⁸ of them.
_MOST_STEPS = 3 * 10**8
# Seconds that an expression may take for all names.
_MOST_SECONDS = 20.0
_LONGEST = 10_000
_FIX = "Write a simpler expression, several of them, or a pattern with '*'."
# Ways to match, and unbounded repeats one after another, of which each multiplies the ways by the length.
_Cost = tuple[int, int]


class Endless(ValueError):
    """An expression that may take forever."""


@dataclass(frozen=True)
class Expression:
    """A regular expression whose work is bounded: by what is counted of it, and by the time that it takes.

    Attributes:
        regex: The expression, ready to match.
        ways: How many ways to match it has, apart from its open repeats.
        repeats: How many open repeats stand one after another.
    """

    regex: re.Pattern[str]
    ways: int
    repeats: int
    # Seconds so far.
    _spent: list[float] = field(default_factory=lambda: [0.0], compare=False, repr=False)

    @property
    def pattern(self) -> str:
        """Its text."""
        return self.regex.pattern

    def fullmatch(self, name: str) -> re.Match[str] | None:
        """The match of a whole name.

        Raises:
            PatternError: It may take too long on this name, or has on those before.
        """
        self._check(name, self.repeats)
        start = time.perf_counter()
        found = self.regex.fullmatch(name)
        self._spent[0] += time.perf_counter() - start
        return found

    def subn(self, replacement: str, name: str) -> tuple[str, int]:
        """The name with each match replaced, and how many there were; see :meth:`fullmatch`."""
        # It is tried from each place on.
        self._check(name, self.repeats + 1)
        start = time.perf_counter()
        changed, count = self.regex.subn(replacement, name)
        self._spent[0] += time.perf_counter() - start
        if len(changed) > max(_LONGEST, len(name)):
            raise PatternError(
                f"rename: {self.pattern!r} makes a name of {len(changed):,} characters.", fix=_FIX
            )
        return changed, count

    def _check(self, name: str, power: int) -> None:
        if self._spent[0] > _MOST_SECONDS:
            raise PatternError(
                f"The regular expression {self.pattern!r} has taken {self._spent[0]:.0f} s on names.",
                fix=_FIX,
            )
        if self.ways * math.comb(len(name) + power, power) > _MOST_STEPS:
            raise PatternError(
                f"The regular expression {self.pattern!r} may take forever on a name of {len(name):,} "
                "characters.",
                fix=_FIX,
            )


def compiled(text: str) -> Expression:
    """The expression, ready to match.

    Raises:
        re.error: It is none.
        Endless: It may take a time that no name explains.

    Example:
        >>> from initcfg._rules.expressions import compiled
        >>> compiled(r"(layers[.][0-9]+[.])+weight").fullmatch("layers.0.layers.12.weight") is not None
        True
    """
    try:
        ways, repeats = _cost(_PARSER.parse(text))
        if ways > _MOST_WAYS or repeats > _MOST_REPEATS:
            raise Endless(f"more than {_MOST_REPEATS} open repeats in a row, or too many alternatives")
        return Expression(re.compile(text), ways, repeats)
    except (RecursionError, OverflowError) as error:
        raise Endless(str(error)) from None


def _cost(items: Any) -> _Cost:
    ways, repeats = 1, 0
    for item in items:
        more, open_ones = _cost_of(*item)
        ways, repeats = min(ways * more, _MOST_WAYS + 1), repeats + open_ones
    return ways, repeats


def _cost_of(op: Any, value: Any) -> _Cost:
    kind = str(op)
    if kind in _REPEATS:
        least, most, body = value
        ways, repeats = _cost(body)
        if most > 100:
            if (ways > 1 or repeats) and not _apart(body):
                raise Endless("a repeat within a repeat")
            return 1, 1
        times = min(max(most, 1), 20)
        return min((most - least + 1) * ways**times, _MOST_WAYS + 1), repeats * max(most, 1)
    if kind == "BRANCH":
        costs = [_cost(branch) for branch in value[1]]
        return sum(ways for ways, _ in costs), max(repeats for _, repeats in costs)
    if kind == "SUBPATTERN":
        return _cost(value[-1])
    if kind == "ATOMIC_GROUP":
        return _cost(value)
    if kind in ("ASSERT", "ASSERT_NOT"):
        return _cost(value[1])
    if kind == "GROUPREF_EXISTS":
        return max(_cost(value[1]), _cost(value[2] or []))
    return (1, 1) if kind.startswith("GROUPREF") else (1, 0)


def _apart(body: Any) -> bool:
    """Whether passes of a repeat are told apart: by a character that the one repeat in them lacks."""
    items = list(body)
    while len(items) == 1 and str(items[0][0]) == "SUBPATTERN":
        items = list(items[0][1][-1])
    inner = [item for item in items if str(item[0]) in _REPEATS]
    plain = [chr(item[1]) for item in items if str(item[0]) == "LITERAL"]
    if len(inner) != 1 or any(str(op) not in ("LITERAL", "IN", "ANY", *_REPEATS) for op, _ in items):
        return False
    part = list(inner[0][1][2])
    if len(part) != 1 or str(part[0][0]) not in ("IN", "LITERAL"):
        return False
    op, value = part[0]
    if str(op) == "LITERAL":
        return any(ord(char) != value for char in plain)
    return any(not _may_be(char, value) for char in plain)


def _may_be(char: str, choices: Any) -> bool:
    found = False
    for op, value in choices:
        kind = str(op)
        if kind == "LITERAL":
            found |= ord(char) == value
        elif kind == "RANGE":
            found |= value[0] <= ord(char) <= value[1]
        elif kind == "CATEGORY":
            simple = {"CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w", "CATEGORY_SPACE": r"\s"}
            found |= str(value) not in simple or re.match(simple[str(value)], char) is not None
    return found != any(str(op) == "NEGATE" for op, _ in choices)
