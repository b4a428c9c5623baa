"""Patterns: few readable globs that match the names that are meant, and no others."""

from __future__ import annotations

import fnmatch
import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

_PREFIX, _SUFFIX = 4, 4
"""Longest beginning and ending, in components, of a pattern with one star between."""


class NameIndex:
    """Names, each with a number, and the patterns that match several of them.

    Sets of numbers are bits of an integer. Several names may carry one number (the names of a tied tensor).

    Args:
        names: Pairs of name and number.
        below: A name that a pattern matches brings all names below it, as a module brings its children.
    """

    def __init__(self, names: Iterable[tuple[str, int]], *, below: bool = False) -> None:
        self.names = list(names)
        self._below = below
        self._masks: dict[str, int] = {}
        self._keys: dict[int, list[str]] = {}
        self._matched: dict[str, int] = {}
        by_name: dict[str, list[str]] = {}
        for name, number in self.names:
            bit = 1 << number
            keys = list(_patterns(name)) if name else []
            if below:
                keys += by_name.get(name.rpartition(".")[0], ())
                by_name[name] = keys
            for key in keys:
                self._masks[key] = self._masks.get(key, 0) | bit
            self._keys.setdefault(number, []).extend(keys)

    def mask(self, pattern: str) -> int:
        """What a pattern matches."""
        if not _by_template(pattern):
            return self._masks[pattern]
        if pattern not in self._matched:
            found, hit = 0, set()
            for name, number in self.names:
                if (self._below and name.rpartition(".")[0] in hit) or (name and matches(pattern, name)):
                    found |= 1 << number
                    hit.add(name)
            self._matched[pattern] = found
        return self._matched[pattern]

    def cover(
        self, wanted: int, allowed: Callable[[], int] | None = None, neutral: int = 0
    ) -> list[str] | None:
        """Patterns that match all of ``wanted``; None if there are none.

        What ``allowed`` gives may be matched too, where that takes fewer patterns; ``neutral`` does not
        count.
        """
        exact = self._cover(wanted, neutral, 0)
        if allowed is None or (exact is not None and len(exact) == 1):
            return exact
        wider = self._cover(wanted, neutral, allowed())
        if exact is None or (wider is not None and len(wider) < len(exact)):
            return wider
        return exact

    def _cover(self, wanted: int, neutral: int, allowed: int) -> list[str] | None:
        meant = wanted | neutral
        allowed |= meant
        pool: set[str] = set()
        for number in bits(wanted):
            pool.update(self._keys.get(number, ()))
        heap: list[tuple[Any, ...]] = [
            (-(mask & wanted).bit_count(), (mask & ~meant) != 0, *_length(key), key)
            for key in pool
            if not (mask := self._masks[key]) & ~allowed
        ]
        heapq.heapify(heap)
        chosen: list[str] = []
        left = wanted
        while left:
            if not heap:
                return None
            gain, *rest, key = heapq.heappop(heap)
            mask = self.mask(key)
            if mask & ~allowed:
                continue
            now = -(mask & left).bit_count()
            if now == gain:
                chosen.append(key)
                left &= ~mask
            elif now:
                heapq.heappush(heap, (now, *rest, key))
        return sorted(chosen, key=self._first)

    def _first(self, pattern: str) -> int:
        mask = self.mask(pattern)
        return (mask & -mask).bit_length()


def bits(mask: int) -> Iterator[int]:
    """The numbers in a set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@lru_cache(maxsize=4096)
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches a whole name."""
    return _regex(pattern).fullmatch(name) is not None


def literal(name: str) -> str:
    """The pattern that matches this name alone."""
    return ".".join(map(_escaped, name.split(".")))


def _length(pattern: str) -> tuple[int, int]:
    """What makes a pattern less welcome: the kind of it, then its length."""
    kind = 2 if "[1-9]" in pattern else 0 if "*" not in pattern else 1
    return kind, len(pattern)


def _by_template(pattern: str) -> bool:
    """Whether only a look at all names tells what a pattern matches: it is more than one whole star."""
    return (
        pattern.count("*") - pattern.count("[*]") > 1
        or re.search(r"[^.]\*|\*[^.]|\[1-9\]", pattern) is not None
    )


@lru_cache(maxsize=65536)
def _escaped(component: str) -> str:
    return re.sub(r"[*?[]", r"[\g<0>]", component)


def _patterns(name: str) -> Iterator[str]:
    """The patterns that match this name and perhaps others like it."""
    parts = [_escaped(part) for part in name.split(".")]
    count = len(parts)
    yield ".".join(parts)
    for first in range(1, count):
        yield "*." + ".".join(parts[first:])
        yield ".".join(parts[:first]) + ".*"
    for first in range(1, min(_PREFIX, count - 2) + 1):
        beginning = ".".join(parts[:first])
        for last in range(1, min(_SUFFIX, count - first - 1) + 1):
            yield f"{beginning}.*.{'.'.join(parts[-last:])}"
    yield from _templates(parts)


def _templates(parts: list[str]) -> Iterator[str]:
    """The name with its numbers replaced: ``blocks.*.attn.*.weight``, ``layer*.bn2.weight``."""
    numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
    trailing = [re.sub(r"\d+$", "*", part) for part in parts]
    for template in (
        ["*" if place in numbers else part for place, part in enumerate(parts)],
        [*trailing[:-1], parts[-1]],
        trailing,
    ):
        if template != parts:
            yield ".".join(template)
    # All but the first of a row: copies of it.
    for place in numbers:
        if parts[place][0] != "0":
            yield ".".join([*parts[:place], "[1-9]*", *parts[place + 1 :]])
