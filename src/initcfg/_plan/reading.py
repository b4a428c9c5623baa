"""Reading plans and ledgers that nobody vouches for: whole, before anything is done with them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch

from initcfg._plan.assignment import Assignment
from initcfg._plan.loads import Load
from initcfg._rules import TUNED, TUNED_FOR
from initcfg._stream.writing import value_problem
from initcfg.errors import PlanError, SavedPlanError
from initcfg.values import Misfit, Value, own_fault, short

Made = TypeVar("Made")
# What plans hold nests a few deep.
_DEEPEST = 100
_LARGEST = 1 << 64


def json_of(text: str, name: str) -> Any:
    """The JSON data of a text; ``name`` is that of its file.

    Raises:
        PlanError: It is none, or a key stands twice in an object.
    """

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise PlanError(f"{name!r} has the key {short(twice)} twice in one object.")
        return found

    try:
        return json.loads(text, object_pairs_hook=distinct)
    except PlanError:
        raise
    except RecursionError as error:
        raise PlanError(
            f"{name!r} nests too deeply.", fix="Give a plan or a ledger that initcfg wrote."
        ) from error
    except ValueError as error:
        raise PlanError(
            f"{name!r} is not JSON: {error}.", fix="Give a plan or a ledger that initcfg wrote."
        ) from error


def read_whole(
    data: Any, what: str, form: str, version: int, read: Callable[[Mapping[str, Any]], Made]
) -> Made:
    """What ``read`` makes of JSON data of this format and version; a fault is shown with its path.

    Raises:
        PlanError: The data is something else, or damaged.
    """
    if not isinstance(data, Mapping) or data.get("format") != form:
        raise PlanError(
            f'This is not a {what}: it lacks "format": "{form}".',
            fix="Give a plan or a ledger that initcfg wrote.",
        )
    found = data.get("version")
    if type(found) is not int or found != version:
        raise PlanError(
            f"The {what} has version {short(found)}; this package reads version {version}.",
            fix="Use the version of initcfg that wrote it, or a newer one.",
        )
    try:
        _check_plain(data)
        return read(data)
    except Misfit as misfit:
        raise misfit.at_the_door(SavedPlanError) from misfit


def _check_plain(data: Any) -> None:
    """JSON and nothing else, no deeper and with no greater numbers than a plan has."""
    todo: list[tuple[Any, tuple[Any, ...] | None, int]] = [(data, None, 0)]
    while todo:
        item, path, depth = todo.pop()
        problem = None
        if isinstance(item, (Mapping, list, tuple)):
            if depth > _DEEPEST:
                problem = f"It nests more than {_DEEPEST} deep."
            elif isinstance(item, Mapping):
                todo += [(each, (path, key), depth + 1) for key, each in item.items()]
                wrong = next((key for key in item if not isinstance(key, str) or not _is_text(key)), None)
                problem = None if wrong is None else f"The key {short(wrong)} is no text."
            else:
                todo += [(each, (path, number), depth + 1) for number, each in enumerate(item)]
        elif isinstance(item, str):
            problem = None if _is_text(item) else f"{short(item)} is no text that UTF-8 can hold."
        elif isinstance(item, int):
            problem = None if -_LARGEST < item < _LARGEST else f"{short(item)} is beyond any count."
        elif not (item is None or isinstance(item, float)):
            problem = f"{short(item)} is not JSON data."
        if problem is not None:
            misfit = Misfit(problem)
            while path is not None:
                path, step = path
                misfit.inside(step)
            raise misfit


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_known(data: Mapping[str, Any], needed: Iterable[str], others: Iterable[str]) -> None:
    """Exactly these fields."""
    for name in needed:
        if name not in data:
            raise Misfit(f"The field {name!r} is missing.")
    unknown = data.keys() - {"format", "version", *needed, *others}
    if unknown:
        raise Misfit(f"There is no such field as {short(min(unknown))}.")


def check_tensor(shape: tuple[int, ...], dtype: str, value: Value | None) -> None:
    """A shape and a type that tensors have, and a value that covers one of them exactly."""
    elements = 1
    for number, size in enumerate(shape):
        elements *= size
        if size < 0 or elements >= 1 << 63:
            raise Misfit(f"There is no tensor of shape {short(shape)}.", under=(number, "shape"))
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise Misfit(f"{short(dtype)} is not a type of tensors.", under=("dtype",))
    fault = None if value is None else own_fault(value)
    if fault is not None:
        steps, why = fault
        why = f"{short_value(value)} cannot be written: {why}."
        raise Misfit(why, under=(*reversed(steps), "value"))
    problem = None if value is None else value_problem(value, shape, found)
    if problem is not None:
        raise Misfit(f"{short_value(value)} cannot be written: {problem}.", under=("value",))


def short_value(value: Value | None) -> str:
    """A value in a message."""
    text = str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def check_items(items: Mapping[str, Assignment]) -> None:
    """Every assignment is one that its tensor can get."""
    for name, item in items.items():
        try:
            check_tensor(item.shape, item.dtype, item.value)
            check_tune(item.tune)
        except Misfit as misfit:
            raise misfit.inside(name) from misfit


def check_tune(tune: Mapping[str, float | str]) -> None:
    """Multipliers that a rule could have given."""
    for key, item in tune.items():
        if key == "optimizer" and item in TUNED_FOR:
            continue
        if key not in TUNED or isinstance(item, str) or not 0 <= item < math.inf:
            raise Misfit(f"No rule gives {short(key)} the multiplier {short(item)}.", under=(key, "tune"))


def check_aliases(aliases: Mapping[str, str], names: Iterable[str]) -> None:
    """Other names are names of tensors that are there, and of no other."""
    known = set(names)
    for alias, name in aliases.items():
        if alias in known or name not in known:
            raise Misfit(f"It cannot be another name of {short(name)}.", under=(alias, "aliases"))


def loads_of(data: Any) -> tuple[Load, ...]:
    """The accounts of checkpoints."""
    if not isinstance(data, (list, tuple)):
        raise Misfit("The accounts of checkpoints are a list.", under=("loads",))
    found: list[Load] = []
    for number, each in enumerate(data):
        try:
            found.append(Load.from_json(each))
        except Misfit as misfit:
            raise misfit.inside(number).inside("loads") from misfit
    return tuple(found)
