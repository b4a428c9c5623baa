"""A plan as JSON data, and back: what a stranger wrote is checked whole before there is a plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from initcfg._plan.as_json import plain, record_to_json
from initcfg._plan.assignment import Assignment, Before, RuleNote, Unused
from initcfg._plan.frozen import unnamed
from initcfg._plan.reading import Made, check_aliases, check_items, check_known, loads_of, read_whole
from initcfg.values import Misfit, record, to_json, typed

if TYPE_CHECKING:
    from initcfg._plan.plan import Plan

FORMAT = "initcfg-plan"
VERSION = 1
_REMARKS = ("notes", "uncalled", "nested", "uninitialized", "partly_written")
# Of these JSON speaks only if there are any.
_RARE = ("partly_written",)
# What JSON has at its top; what has no type here is read on its own.
_NEEDED: dict[str, Any] = {
    "parameters": None,
    "buffers": None,
    "aliases": Mapping[str, str],
    "unused": tuple[Unused, ...],
}
_OPTIONAL: dict[str, Any] = {
    "loads": None,
    "libraries": Mapping[str, str],
    "before_code": Mapping[str, Before | None],
    "rules": Mapping[str, RuleNote],
    "compat": Literal["mmengine"] | None,
    "whole": str | None,
    "seed": int | None,
    **dict.fromkeys(_REMARKS, tuple[str, ...]),
}


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Everything of a plan but the tape."""
    return {**content_to_json(plan), "rules": plain(plan.rules)}


def content_to_json(plan: Plan) -> dict[str, Any]:
    """The same without the lines where the rules were written, which make no other plan of it."""
    data = {"format": FORMAT, "version": VERSION, "compat": plan.compat}
    if plan.whole:
        data["whole"] = plan.whole
    if plan.seed is not None:
        data["seed"] = plan.seed
    if plan.before_code:
        data["before_code"] = plain(plan.before_code)
    return {
        **data,
        "parameters": items_to_json(plan.parameters),
        "aliases": dict(plan.aliases),
        "buffers": items_to_json(plan.buffers),
        "unused": plain(plan.unused),
        "loads": [load.to_json() for load in plan.loads],
        **{name: plain(getattr(plan, name)) for name in _REMARKS if name not in _RARE or getattr(plan, name)},
        **({"libraries": dict(plan.libraries)} if plan.libraries else {}),
        "rules": {where: note.cfg for where, note in plan.rules.items()},
    }


def read_plan(data: Any, make: Callable[..., Made]) -> Made:
    """The plan that JSON data is of, made of its fields.

    Raises:
        PlanError: The data is something else, or damaged.
    """
    return read_whole(data, "plan", FORMAT, VERSION, lambda whole: make(**_fields_of(whole)))


def _fields_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the plan is made of that ``data`` says; checked whole.

    Raises:
        Misfit: Something in it is not what a plan says.
    """
    check_known(data, _NEEDED, _OPTIONAL)
    read: dict[str, Any] = {}
    for name, type_ in (_NEEDED | _OPTIONAL).items():
        if name in data and type_ is not None:
            try:
                read[name] = typed(data[name], type_, name)
            except Misfit as misfit:
                raise misfit.inside(name) from misfit
    for name in ("parameters", "buffers"):
        try:
            read[name] = _items_of(data[name], name)
            check_items(read[name])
        except Misfit as misfit:
            raise misfit.inside(name) from misfit
    both = read["parameters"].keys() & read["buffers"].keys()
    if both:
        raise Misfit("It is a parameter already.", under=(min(both), "buffers"))
    if read.get("seed") is not None and not 0 <= read["seed"] < 1 << 64:
        raise Misfit("A seed is from 0 to 2**64 - 1.", under=("seed",))
    names = [*read["parameters"], *read["buffers"]]
    check_aliases(
        read["aliases"], names + [name for name in read.get("before_code", ()) if name not in read["aliases"]]
    )
    return {**read, "loads": loads_of(data.get("loads", ()))}


def digests_of(plan: Plan) -> dict[str, str]:
    """By tensor: a short digest of what decides its numbers."""
    return {name: _digest_of(text)[:16] for name, text in _texts_of(plan).items()}


def digest_of_plan(plan: Plan) -> str:
    """The digest of all of that."""
    # As json.dumps would write a dict.
    texts = [f"{_quoted(name)}: {text}" for name, text in sorted(_texts_of(plan).items())]
    return _digest_of(f"{{{', '.join(texts)}}}")


def _texts_of(plan: Plan) -> dict[str, str]:
    """By tensor: what decides its numbers, and nothing of how that was found."""
    items = unnamed(plan.parameters) | unnamed(plan.buffers)
    # By identity of what the plan keeps: tensors that are alike have one text.
    texts: dict[tuple[Any, ...], str] = {}
    found: dict[str, str] = {}
    for name, item in items.items():
        key = id(item.value), id(item.tune), item.shape, item.dtype
        text = texts.get(key)
        if text is None:
            tune = [dict(item.tune)] if item.tune else []
            content = [list(item.shape), item.dtype, to_json(item.value), *tune]
            text = texts[key] = json.dumps(content, sort_keys=True)
        found[name] = text
    return found


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_quoted = json.JSONEncoder().encode


def items_to_json(items: Mapping[str, Assignment]) -> dict[str, Any]:
    without, unless_empty = ("name", "layout"), ("frozen", "default", "scaling", "tune", "role", "computed")
    return {
        name: record_to_json(item, without=without, unless_empty=unless_empty) for name, item in items.items()
    }


def _items_of(data: Any, what: str) -> dict[str, Assignment]:
    if not isinstance(data, Mapping):
        raise Misfit(f"The {what} are an object.")
    found: dict[str, Assignment] = {}
    for name, item in data.items():
        try:
            found[name] = record(Assignment, item, but=("layout",), name=name)
        except Misfit as misfit:
            raise misfit.inside(name) from misfit
    return found
