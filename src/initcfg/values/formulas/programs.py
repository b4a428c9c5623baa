"""A formula's program: the form of each instruction, checked when it is read.

What stands here needs no tensor: forms, names, types and numbers of arguments, references to earlier slots.
What the sizes mean is foreseen in ``_stream/writing/foresight.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from initcfg.errors import PlanError
from initcfg.values.formulas.operations import (
    TYPES,
    argument_problem,
    is_integer,
    is_number,
    is_type_name,
    new_tensors,
    operation,
)

LONGEST = 1024
"""How many instructions a program may have, and how many numbers may stand in one."""
_VIEW = re.compile(
    r"\$\d{1,4}(:(\d{1,15}(,\d{1,15}){0,15})?:(\d{1,15}(,\d{1,15}){0,15})?:\d{1,15}(:[a-z0-9_]+)?)?"
)


class View(NamedTuple):
    """A tensor of a formula: a slot, or what lies at a place of its memory."""

    slot: int
    sizes: tuple[int, ...] | None = None
    strides: tuple[int, ...] = ()
    offset: int = 0
    dtype: str | None = None


def is_view(item: Any) -> bool:
    """Whether a text has the form of a tensor of a formula: ``"$0"`` or ``"$0:2,3:3,1:0"``."""
    return isinstance(item, str) and _VIEW.fullmatch(item) is not None


def view_of(text: str) -> View:
    """The tensor that a text names."""
    slot, *rest = text.removeprefix("$").split(":")
    if not rest:
        return View(int(slot))
    sizes, strides, offset = (tuple(int(number) for number in each.split(",") if number) for each in rest[:3])
    return View(int(slot), sizes, strides, offset[0], rest[3] if len(rest) > 3 else None)


def references(item: Any) -> list[View]:
    """The tensors that an instruction names, however deep."""
    if isinstance(item, dict):
        return [] if "kind" in item else [each for inner in item.values() for each in references(inner)]
    if isinstance(item, list):
        return [each for inner in item for each in references(inner)]
    return [view_of(item)] if is_view(item) else []


def check_program(program: Any, filling_problem: Callable[[Any], str | None]) -> None:
    """Refuse what is no program, and any instruction that the recorder would not write.

    ``filling_problem`` says why a tensor may not be filled with some value.

    Raises:
        PlanError: With the place of the fault.
    """
    if not isinstance(program, list) or not all(isinstance(each, list) and each for each in program):
        raise PlanError("program: it is no list of instructions.")
    if len(program) > LONGEST:
        raise PlanError(f"program: it has more than {LONGEST:,} instructions.")
    slots = 0
    for number, instruction in enumerate(program):
        kind, *rest = instruction
        try:
            if not isinstance(kind, str):
                raise PlanError(f"{kind!r} is no name of an operation.")
            for view in references(rest):
                _check_view(view, slots)
            if kind in _FORMS:
                problem, made = _FORMS[kind](rest, filling_problem)
            else:
                problem, made = _call_problem(kind, rest, drawing=False)
            if kind == "result" and number != len(program) - 1:
                problem = "the result is not the last"
            if problem is not None:
                raise PlanError(f"{problem[:1].upper()}{problem[1:]}.")
            slots += made
        except PlanError as error:
            raise PlanError(f"program[{number}]: {error.problem}") from error


def _check_view(view: View, slots: int) -> None:
    if view.slot >= slots:
        raise PlanError(f"There is no tensor ${view.slot} yet.")
    if view.sizes is not None and len(view.sizes) != len(view.strides):
        raise PlanError("A view has as many sizes as strides.")
    if view.dtype is not None and view.dtype not in TYPES:
        raise PlanError(f"{view.dtype!r} is not a type of tensors.")


def _are_sizes(item: Any) -> bool:
    return isinstance(item, list) and len(item) <= 16 and all(is_integer(each) and each >= 0 for each in item)


def _key_problem(rest: list[Any]) -> str | None:
    if not rest:
        return None
    key = rest[0]
    named = isinstance(key, list) and len(key) == 2 and isinstance(key[0], str)
    number: Any = key[1] if named else key
    return None if is_integer(number) and number >= 0 else "its key is no number, nor [name, number]"


def _value(rest: list[Any], filling_problem: Callable[[Any], str | None]) -> tuple[str | None, int]:
    if len(rest) not in (3, 4) or not _are_sizes(rest[0]) or not is_type_name(rest[1]):
        return "a value has a shape, a type, what fills it, and a key", 0
    return _filling(rest[2], rest[3:], filling_problem), 1


def _fill(rest: list[Any], filling_problem: Callable[[Any], str | None]) -> tuple[str | None, int]:
    if len(rest) not in (2, 3) or not is_view(rest[0]):
        return "it fills a tensor with something, by a key", 0
    return _filling(rest[1], rest[2:], filling_problem), 0


def _filling(item: Any, key: list[Any], filling_problem: Callable[[Any], str | None]) -> str | None:
    if is_number(item):
        return "a number has no key" if key else None
    return filling_problem(item) or _key_problem(key)


def _empty(rest: list[Any], _: object) -> tuple[str | None, int]:
    fits = len(rest) == 3 and _are_sizes(rest[0]) and _are_sizes(rest[1]) and len(rest[0]) == len(rest[1])
    return (None if fits and is_type_name(rest[2]) else "it has a shape, strides and a type"), 1


def _data(rest: list[Any], _: object) -> tuple[str | None, int]:
    fits = len(rest) == 3 and _are_sizes(rest[0]) and is_type_name(rest[1]) and isinstance(rest[2], list)
    if not fits or len(rest[2]) > LONGEST or not all(map(is_number, rest[2])):
        return f"data has a shape, a type and at most {LONGEST:,} numbers", 0
    count = 1
    for size in rest[0]:
        count *= size
    return (None if count == len(rest[2]) else f"a shape of {count:,} numbers has {len(rest[2])}"), 1


def _initial(rest: list[Any], _: object) -> tuple[str | None, int]:
    return ("it takes nothing" if rest else None), 1


def _layout(rest: list[Any], _: object) -> tuple[str | None, int]:
    fits = len(rest) == 3 and is_view(rest[0]) and ":" not in rest[0] and all(map(_are_sizes, rest[1:]))
    return (None if fits and len(rest[1]) == len(rest[2]) else "it has a tensor, sizes and strides"), 0


def _result(rest: list[Any], _: object) -> tuple[str | None, int]:
    return (None if len(rest) == 1 and is_view(rest[0]) else "it is one tensor"), 0


def _draw(rest: list[Any], _: object) -> tuple[str | None, int]:
    if len(rest) < 2 or not isinstance(rest[0], str):
        return "it has an operation, its arguments and a key", 0
    problem, made = _call_problem(rest[0], rest[1:-1], drawing=True)
    return problem or _key_problem(rest[-1:]), made


_FORMS: dict[str, Callable[[list[Any], Any], tuple[str | None, int]]] = {
    "value": _value,
    "fill": _fill,
    "empty": _empty,
    "data": _data,
    "initial": _initial,
    "layout": _layout,
    "result": _result,
    "draw": _draw,
}


def split_arguments(args: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of an operation by place, and those by name."""
    if args and isinstance(args[-1], dict) and "float" not in args[-1]:
        return args[:-1], args[-1]
    return args, {}


def _call_problem(name: str, args: list[Any], *, drawing: bool) -> tuple[str | None, int]:
    import torch

    func = operation(name)
    if drawing != (torch.Tag.nondeterministic_seeded in func.tags):
        return f"{name!r} {'draws no' if drawing else 'draws'} random numbers", 0
    made = new_tensors(func)
    placed, named = split_arguments(args)
    known = {each.name: each for each in func._schema.arguments}
    by_place = [each for each in func._schema.arguments if not each.kwarg_only]
    if len(placed) > len(by_place):
        return f"{name!r} takes at most {len(by_place)} arguments by place", made
    given = {each.name: item for each, item in zip(by_place, placed, strict=False)}
    if twice := given.keys() & named.keys() or named.keys() - known.keys():
        return f"{name!r} does not take {min(twice)!r} so", made
    given |= named
    for each in known.values():
        if each.name not in given:
            if not each.has_default_value():
                return f"{name!r} needs {each.name!r}", made
            continue
        problem = argument_problem(given[each.name], str(each.real_type), is_view)
        if problem is None and "scale" in each.name:
            problem = _scale_problem(given[each.name])
        if problem is None and each.name == "from" and is_integer(given["from"]):
            problem = _start_problem(given["from"])
        if problem is not None:
            return f"{each.name!r} of {name!r}: {problem}", made
    return None, made


def _start_problem(start: int) -> str | None:
    """From the last number of 64 bits on, torch looks for a float below it for ever."""
    return None if abs(start) <= 1 << 62 else "whole numbers are drawn from -2**62 to 2**62 on"


def _scale_problem(scale: Any) -> str | None:
    """Kernels find the place to read at by it, and trust it."""
    scales = [each for each in (scale if isinstance(scale, list) else [scale]) if each is not None]
    fits = all(not isinstance(each, dict) and 1e-6 <= each <= 1e6 for each in scales)
    return None if fits else "a scale lies between 1e-6 and 1e6"
