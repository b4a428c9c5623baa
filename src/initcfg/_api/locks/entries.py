"""Entries: the lines of a lock that say what the tensors of one model start with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from initcfg._api.locks.words import (
    by_code,
    digest,
    name_text,
    names_in,
    patterns_of,
    quoted,
    value_text,
    without_lines,
)
from initcfg._plan import Assignment, Plan
from initcfg._plan.report import mask, merge_names
from initcfg.values import Constant, Keep, dtype_name

_LINE = re.compile(
    r"(?P<names>.+?): (?P<buffer>buffer )?(?P<shape>scalar|[0-9]+(?:x[0-9]+)*) (?P<dtype>[a-z0-9_]+) = "
    r"(?P<value>[^<#]+?)(?P<numbers> #[0-9a-f]{16})?(?P<rule> <- [^\n]*)?"
)
_TIED = re.compile(r"(?P<names>.+?): tied to (?P<to>[^\n]+)")
_LOADED = re.compile(r"\b(?:FromCheckpoint|Adapted|Hooked|Originals)\(")
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
    """

    names: tuple[str, ...]
    shape: str
    dtype: str
    value: str
    rule: str = ""
    buffer: bool = False
    numbers: str | None = None

    @property
    def content(self) -> tuple[str, str, str, bool]:
        """What of it makes a difference to a model."""
        return self.shape, self.dtype, self.value, self.buffer

    @property
    def by_code(self) -> bool:
        """Whether code that the lock cannot look into has the last word."""
        return "0" not in self.shape.split("x") and by_code(self.value)

    def is_loaded(self, known: Iterable[str]) -> bool:
        """Whether it is from a checkpoint, and from none of those that are ``known``."""
        loaded = _LOADED.search(self.value) is not None
        return loaded and not any(f"source={quoted(name)}" in self.value for name in known)

    def __str__(self) -> str:
        numbers = f" #{self.numbers}" if self.numbers else ""
        rule = f" <- {self.rule}" if self.rule else ""
        buffer = "buffer " if self.buffer else ""
        return f"{patterns_of(self.names)}: {buffer}{self.shape} {self.dtype} = {self.value}{numbers}{rule}"


@dataclass(frozen=True)
class Tied:
    """Other names of one tensor."""

    names: tuple[str, ...]
    to: str

    def __str__(self) -> str:
        return f"{patterns_of(self.names)}: tied to {name_text(self.to)}"


def entries_of(plan: Plan, numbers: Mapping[str, bytes] | None = None) -> list[Entry]:
    """A line for tensors that are alike, in the order of the model.

    Args:
        numbers: By tensor, the SHA-256 of what a seed gives it.
    """
    groups: dict[object, list[Assignment]] = {}
    said: dict[object, tuple[str, str, str, bool]] = {}
    for name, item in [*plan.parameters.items(), *plan.buffers.items()]:
        content = (_shape(item.shape), item.dtype, _value(plan, item), name in plan.buffers)
        key = (mask(name), mask(_rule(item)), content)
        groups.setdefault(key, []).append(item)
        said[key] = content
    return [
        Entry(
            tuple(item.name for item in items),
            *said[key][:3],
            rule=without_lines(merge_names([_rule(item) for item in items])),
            buffer=said[key][3],
            numbers=None if numbers is None else _together([item.name for item in items], numbers),
        )
        for key, items in groups.items()
    ]


def kept_entries(
    tensors: Mapping[str, torch.Tensor], told: Mapping[str, str], numbers: Mapping[str, bytes] | None
) -> list[Entry]:
    """A line for buffers that are alike: constructors make them, and no plan speaks of them."""
    groups: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        key = (mask(name), _shape(tuple(tensor.shape)), dtype_name(tensor.dtype), told[name])
        groups.setdefault(key, []).append(name)
    found: list[Entry] = []
    for names in groups.values():
        first = tensors[names[0]]
        said = (_shape(tuple(first.shape)), dtype_name(first.dtype), told[names[0]])
        together = None if numbers is None else _together(names, numbers)
        found.append(Entry(tuple(names), *said, rule="its constructor", buffer=True, numbers=together))
    return found


def kept_text(tensor: torch.Tensor) -> str:
    """What a buffer holds: integers exactly; others in so few digits that no processor gives others."""
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.numel() == 0:
        return value_text(Keep())
    if not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized):
        return _exact_text(tensor.detach().cpu().contiguous())
    whole = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    numbers = whole.to(torch.float64).reshape(-1)
    if bool((numbers == numbers[0]).all()):
        return value_text(Constant(float(numbers[0])))
    finite = numbers[numbers.isfinite()]
    parts = [f"not_finite={numbers.numel() - finite.numel()}"] if finite.numel() < numbers.numel() else []
    if finite.numel():
        # No mean: of numbers that cancel out, it is what rounding left.
        spread = {"min": finite.min(), "max": finite.max(), "rms": finite.square().mean().sqrt()}
        # With weights by place: the same numbers in another order are another buffer.
        places = torch.arange(1, finite.numel() + 1, dtype=torch.float64, device=finite.device)
        spread["placed"] = (finite * places / finite.numel()).square().mean().sqrt()
        parts = [f"{name}={float(number):.4g}" for name, number in spread.items()] + parts
    return f"Kept({', '.join(parts)})"


def _exact_text(tensor: torch.Tensor) -> str:
    """What a buffer of integers or truths holds."""
    first = tensor.reshape(-1)[0]
    if bool((tensor == first).all()) and int(float(first.item())) == first.item():
        return value_text(Constant(float(first.item())))
    told = digest(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"Kept(min={int(tensor.min())}, max={int(tensor.max())}, sha256={told})"


def ties_of(plan: Plan) -> list[Tied]:
    """A line for each tensor that has several names."""
    found: dict[str, list[str]] = {}
    for alias, name in plan.aliases.items():
        found.setdefault(name, []).append(alias)
    return [Tied((alias,), name) for name, aliases in found.items() for alias in aliases]


def entry_in(line: str) -> Entry | Tied:
    """What a line says.

    Raises:
        ValueError: It is no such line.
    """
    tied = _TIED.fullmatch(line)
    if tied is not None:
        (to,) = names_in(tied["to"])
        return Tied(tuple(names_in(tied["names"])), to)
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("it does not say what a tensor starts with")
    numbers = found["numbers"]
    return Entry(
        tuple(names_in(found["names"])),
        found["shape"],
        found["dtype"],
        found["value"],
        rule=(found["rule"] or "").removeprefix(" <- "),
        buffer=found["buffer"] is not None,
        numbers=numbers and numbers[2:],
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _value(plan: Plan, item: Assignment) -> str:
    told = "".join(
        f" {key}*{quoted(number) if isinstance(number, str) else repr(number)}"
        for key, number in item.tune.items()
    )
    never = _NEVER if item.name in plan.uninitialized else ""
    partly = _PARTLY if item.name in plan.partly_written else ""
    return value_text(item.value) + told + never + partly


def _rule(item: Assignment) -> str:
    text = item.rule or (f"default, {item.default.rule}" if item.default else "")
    return text if text.isascii() and text.isprintable() else quoted(text)


def _together(names: list[str], numbers: Mapping[str, bytes]) -> str | None:
    """One digest of the numbers of several tensors, in the order of their names."""
    if not all(name in numbers for name in names):
        return None
    return digest(b"".join(numbers[name] for name in sorted(names)))
