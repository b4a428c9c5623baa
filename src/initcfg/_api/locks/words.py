"""Words of a lock: names and values as text that says exactly what they are, and stays on one line."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from initcfg._plan.report import mask, merge_exactly
from initcfg.values import Value, short, to_json

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_PATTERN = re.compile(r"[A-Za-z0-9_.\-{},]+")
_BRACES = re.compile(r"\{([0-9.,]+)\}")
# Of a value that is longer, as of a formula, a digest tells the rest.
_LONGEST = 240
_BY_CODE = re.compile(r"\b(?:Opaque|Computed|Keep|Hooked)\(|\bcode=true\)")
_BITS = re.compile(r", bits=[0-9a-f]{16}(?=\))")
_LINE_NUMBER = re.compile(r"(?<=\.py):\d+")
_RANGE = re.compile(r"[0-9]{1,30}\.\.[0-9]{1,30}|[0-9]{1,30}(?:,[0-9]{1,30})*")
# No model has more tensors; a text that asks for more was not written by us.
MOST_NAMES = 500_000


def value_text(value: Value) -> str:
    """A value as text: two texts are equal exactly if the values are.

    Example:
        >>> from initcfg._api.locks.words import value_text
        >>> from initcfg.values import Normal
        >>> value_text(Normal(0.0, 0.1))
        'Normal(mean=0.0, std=0.1)'
    """
    data = _without_lines(to_json(value))
    text = _text(data)
    if len(text) <= _LONGEST:
        return text
    code = ", code=true" if by_code(text) else ""
    return f"{data['kind']}(sha256={digest(text.encode())}{code})"


def by_code(text: str) -> bool:
    """Whether the text of a value leaves some of it to code, which no text says."""
    return _BY_CODE.search(text) is not None


def digest(data: bytes) -> str:
    """Enough of a SHA-256 to tell texts apart."""
    return hashlib.sha256(data).hexdigest()[:16]


def without_bits(text: str) -> str:
    """What a tensor holds, but for bits in which processors differ."""
    return _BITS.sub("", text)


def _without_lines(item: Any) -> Any:
    """Places in code without their lines: these move, and nothing changes."""
    if isinstance(item, dict):
        return {key: _without_lines(each) for key, each in item.items()}
    if isinstance(item, (list, tuple)):
        return [_without_lines(each) for each in item]
    return without_lines(item) if isinstance(item, str) else item


def without_lines(text: str) -> str:
    """A place in code without its line."""
    return _LINE_NUMBER.sub("", text)


def _text(item: Any) -> str:
    if isinstance(item, dict):
        said = ", ".join(f"{key}={_text(each)}" for key, each in item.items() if key != "kind")
        return f"{item['kind']}({said})" if "kind" in item else f"{{{said}}}"
    if isinstance(item, list):
        return f"[{', '.join(map(_text, item))}]"
    return quoted(item) if isinstance(item, str) else json.dumps(item)


def quoted(text: str) -> str:
    """A text in quotes, in ASCII, without what separates the parts of a line."""
    return json.dumps(text).replace("<", "\\u003c").replace("#", "\\u0023")


def name_text(name: str) -> str:
    """A name by itself: in quotes where it could be taken for something else."""
    return name if _PLAIN_NAME.fullmatch(name) else quoted(name).replace(":", "\\u003a")


def patterns_of(names: Sequence[str]) -> str:
    """As few patterns as say exactly which names they are, in one text.

    Example:
        >>> from initcfg._api.locks.words import names_in, patterns_of
        >>> patterns_of(["blocks.0.bias", "blocks.1.bias", "blocks.2.bias"])
        'blocks.{0..2}.bias'
        >>> names_in("blocks.{0..2}.bias")
        ['blocks.0.bias', 'blocks.1.bias', 'blocks.2.bias']
    """
    if all(_PLAIN_NAME.fullmatch(name) for name in names) and len({mask(name) for name in names}) == 1:
        return " ".join(merge_exactly(names))
    return " ".join(map(name_text, names))


def names_in(patterns: str, most: int = MOST_NAMES) -> list[str]:
    """The names that :func:`patterns_of` wrote.

    Raises:
        ValueError: It wrote no such text, or one of more than ``most`` names.
    """
    found: list[str] = []
    place = 0
    while place < len(patterns):
        if patterns[place] == '"':
            name, end = _unquoted(patterns, place)
            found.append(name)
        else:
            end = patterns.find(" ", place)
            end = len(patterns) if end < 0 else end
            pattern = patterns[place:end]
            if not _PATTERN.fullmatch(pattern):
                raise ValueError(f"{short(pattern)} is no name")
            found += _expanded(pattern, most - len(found))
        if patterns[end : end + 1] not in ("", " ") or end + 1 == len(patterns):
            raise ValueError(f"{short(patterns)} are no names")
        place = end + 1
    if not found:
        raise ValueError("there is no name")
    if len(found) > most:
        raise ValueError("there are more names than a model has")
    return found


def _unquoted(text: str, start: int) -> tuple[str, int]:
    """The name in quotes that begins at a place, and where it ends."""
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError:
        raise ValueError(f"{short(text[start:])} is no name in quotes") from None


def _expanded(pattern: str, most: int) -> list[str]:
    parts = _BRACES.split(pattern)
    if any(set(part) & set("{},") for part in parts[::2]):
        raise ValueError(f"{short(pattern)} is no name")
    choices = [_numbers(numbers) for numbers in parts[1::2]]
    # Counted before any is made: a short text can ask for more than there is memory.
    if math.prod(len(each) for each in choices) > most:
        raise ValueError(f"{short(pattern)} is more names than a model has")
    found = [parts[0]]
    for numbers, then in zip(choices, parts[2::2], strict=True):
        found = [f"{start}{number}{then}" for start in found for number in numbers]
    return found


def _numbers(text: str) -> Sequence[int]:
    if not _RANGE.fullmatch(text):
        raise ValueError(f"{{{short(text)}}} are no numbers")
    first, dots, last = text.partition("..")
    if not dots:
        return [int(each) for each in text.split(",")]
    numbers = range(int(first), int(last) + 1)
    if not 0 < int(last) - int(first) < MOST_NAMES:
        raise ValueError(f"{{{text}}} is more names than a model has, or none")
    return numbers
