"""Entries: the lines of a lock that say what the tensors of one model start with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from initcfg._api.locks.built import Built, is_finite
from initcfg._api.locks.words import (
    MOST_NAMES,
    by_code,
    digest,
    name_text,
    names_in,
    patterns_of,
    quoted,
    value_text,
    without_bits,
    without_lines,
)
from initcfg._plan import Assignment, Plan
from initcfg._plan.report import mask, merge_names
from initcfg.values import Keep, dtype_name

# No name has a colon of its own: in quotes it is escaped.
_LINE = re.compile(
    r"(?P<names>[^:]+): (?P<unsaved>non-persistent )?(?P<buffer>buffer )?"
    r"(?P<shape>scalar|[0-9]+(?:x[0-9]+)*) (?P<dtype>[a-z0-9_]+) = "
    r"(?P<value>[^<#]+?)(?P<numbers> #[0-9a-f]{16})?(?P<rule> <- [^\n]*)?"
)
_TIED = re.compile(r"(?P<names>[^:]+): tied to (?P<to>[^\n]+)")
_LOADED = re.compile(r"\b(?:FromCheckpoint|Adapted|Hooked|Originals)\(")
_HOLDING = " holding "
_NEVER = " (never written)"
_PARTLY = " (partly written)"


@dataclass(frozen=True)
class Entry:
    """What some tensors start with, all alike.

    Attributes:
        names: Their names.
        shape: ``"64x3x7x7"``.
        value: The value as text, with multipliers of the optimizer's numbers.
        rule: What says so; empty where nothing does.
        buffer: Whether they are buffers.
        numbers: Digest of the numbers that a seed gives them, where the lock has one.
        persistent: Whether a state_dict has them.
    """

    names: tuple[str, ...]
    shape: str
    dtype: str
    value: str
    rule: str = ""
    buffer: bool = False
    numbers: str | None = None
    persistent: bool = True

    @property
    def content(self) -> tuple[object, ...]:
        """What of it makes a difference to a model."""
        return self.shape, self.dtype, self.value, self.buffer, self.persistent

    @property
    def rough(self) -> tuple[object, ...]:
        """The same, but for bits beyond the digits in which all processors agree."""
        return self.shape, self.dtype, without_bits(self.value), self.buffer, self.persistent

    @property
    def by_code(self) -> bool:
        """Whether code that the lock cannot look into has the last word."""
        value, _, held = self.value.partition(_HOLDING)
        return "0" not in self.shape.split("x") and by_code(value) and not (held and is_finite(held))

    @property
    def kind(self) -> str:
        """What stands before its shape."""
        return f"{'' if self.persistent else 'non-persistent '}buffer " if self.buffer else ""

    def is_loaded(self, known: Iterable[str]) -> bool:
        """Whether it is from a checkpoint, and from none of those that are ``known``."""
        loaded = _LOADED.search(self.value) is not None
        return loaded and not any(f"source={quoted(name)}" in self.value for name in known)

    def __str__(self) -> str:
        numbers = f" #{self.numbers}" if self.numbers else ""
        rule = f" <- {self.rule}" if self.rule else ""
        return (
            f"{patterns_of(self.names)}: {self.kind}{self.shape} {self.dtype} = {self.value}{numbers}{rule}"
        )


@dataclass(frozen=True)
class Tied:
    """Other names of one tensor."""

    names: tuple[str, ...]
    to: str

    def __str__(self) -> str:
        return f"{patterns_of(self.names)}: tied to {name_text(self.to)}"


def entries_of(plan: Plan, built: Built, numbers: Mapping[str, bytes] | None = None) -> list[Entry]:
    """A line for tensors that are alike, in the order of the model; last the buffers that no plan speaks of.

    Args:
        built: What the model holds as its constructors leave it.
        numbers: By tensor, the SHA-256 of what a seed gives it.
    """
    groups: dict[object, list[str]] = {}
    lines: dict[object, Entry] = {}
    rules: dict[str, str] = {}
    for name, entry in _single_entries(plan, built):
        key = (mask(name), mask(entry.rule), entry.content)
        groups.setdefault(key, []).append(name)
        lines[key], rules[name] = entry, entry.rule
    return [
        replace(
            lines[key],
            names=tuple(names),
            rule=without_lines(merge_names([rules[name] for name in names])),
            numbers=None if numbers is None else _together(names, numbers),
        )
        for key, names in groups.items()
    ]


def _single_entries(plan: Plan, built: Built) -> Iterator[tuple[str, Entry]]:
    """What each tensor starts with."""
    for name, item in [*plan.parameters.items(), *plan.buffers.items()]:
        value, rule = _value(plan, item, built), _rule(item)
        if isinstance(item.value, Keep) and not rule and name in built.held:
            rule = "its constructor"
        said = (_shape(item.shape), item.dtype, value, rule, name in plan.buffers)
        yield name, Entry((name,), *said, persistent=name not in built.unsaved)
    for name, tensor in built.others.items():
        said = (_shape(tuple(tensor.shape)), dtype_name(tensor.dtype), built.held[name], "its constructor")
        yield name, Entry((name,), *said, buffer=True, persistent=name not in built.unsaved)


def ties_of(plan: Plan) -> list[Tied]:
    """A line for each tensor that has several names."""
    found: dict[str, list[str]] = {}
    for alias, name in plan.aliases.items():
        found.setdefault(name, []).append(alias)
    return [Tied((alias,), name) for name, aliases in found.items() for alias in aliases]


def entry_in(line: str, most: int = MOST_NAMES) -> Entry | Tied:
    """What a line says.

    Args:
        most: How many names it may have.

    Raises:
        ValueError: It is no such line.
    """
    tied = _TIED.fullmatch(line)
    if tied is not None:
        to = names_in(tied["to"], most)
        if len(to) > 1:
            raise ValueError("a tensor is tied to one other")
        return Tied(tuple(names_in(tied["names"], most)), to[0])
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("it does not say what a tensor starts with")
    if found["unsaved"] and not found["buffer"]:
        raise ValueError("a parameter is always persistent")
    numbers = found["numbers"]
    return Entry(
        tuple(names_in(found["names"], most)),
        found["shape"],
        found["dtype"],
        found["value"],
        rule=(found["rule"] or "").removeprefix(" <- "),
        buffer=found["buffer"] is not None,
        persistent=found["unsaved"] is None,
        numbers=numbers and numbers[2:],
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _value(plan: Plan, item: Assignment, built: Built) -> str:
    told = "".join(
        f" {key}*{quoted(number) if isinstance(number, str) else repr(number)}"
        for key, number in item.tune.items()
    )
    never = _NEVER if item.name in plan.uninitialized else ""
    partly = _PARTLY if item.name in plan.partly_written else ""
    return _with_held(value_text(item.value), built.held.get(item.name)) + told + never + partly


def _with_held(value: str, held: str | None) -> str:
    """A value that a text does not say, with what the tensor holds."""
    if held is None:
        return value
    return held if value == value_text(Keep()) and is_finite(held) else f"{value}{_HOLDING}{held}"


def _rule(item: Assignment) -> str:
    text = item.rule or (f"default, {item.default.rule}" if item.default else "")
    return text if text.isascii() and text.isprintable() else quoted(text)


def _together(names: list[str], numbers: Mapping[str, bytes]) -> str | None:
    """One digest of the numbers of several tensors, in the order of their names."""
    if not all(name in numbers for name in names):
        return None
    return digest(b"".join(numbers[name] for name in sorted(names)))
