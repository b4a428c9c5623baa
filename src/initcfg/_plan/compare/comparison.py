"""What differs between two plans, two ledgers, or a plan and a ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from initcfg._plan import ledger, plan_as_json
from initcfg._plan.as_json import plain
from initcfg._plan.assignment import Assignment, effect
from initcfg._plan.compare.with_mmengine import differences
from initcfg._plan.ledger import Ledger, carries_ledger
from initcfg._plan.plan import Plan
from initcfg._plan.reading import json_of
from initcfg.errors import PlanError, as_annotated, render
from initcfg.values import Opaque

Pair = tuple[Assignment, Assignment]


@as_annotated(PlanError)
@dataclass(frozen=True)
class Comparison:
    """What differs between A and B, tensor by tensor.

    Attributes:
        tied: Names that are another name of some tensor on one side, and a tensor of their own on the other:
            what they are tied to in A, and in B.
        settings: For two ledgers: generator, seed and version of the stream, where they differ.
        reasons: Why MMEngine's reach differs, for a plan and its like under ``compat="mmengine"``.
    """

    changed: Mapping[str, Pair]
    only_a: Mapping[str, Assignment]
    only_b: Mapping[str, Assignment]
    tied: Mapping[str, tuple[str | None, str | None]]
    settings: Mapping[str, tuple[Any, Any]]
    alike: int
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.changed or self.only_a or self.only_b or self.tied or self.settings)

    def __str__(self) -> str:
        from initcfg._plan.report import diff_view

        return render(diff_view(self))

    def _repr_html_(self) -> str:
        from initcfg._plan.report.html import diff_short

        return diff_short(self)

    def to_html(self, path: str | Path | None = None, lang: str = "en") -> str:
        """The comparison as a page; see :meth:`Plan.to_html`."""
        from initcfg._plan.report.html import diff_page

        return diff_page(self, path, lang)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON data."""
        changed: dict[str, dict[str, Any]] = {
            name: {"a": _content(a), "b": _content(b)} for name, (a, b) in self.changed.items()
        }
        for name, reason in self.reasons.items():
            if name in changed:
                changed[name]["reason"] = reason
        return {
            "same": self.same,
            "alike": self.alike,
            "changed": changed,
            "only_a": {name: _content(item) for name, item in self.only_a.items()},
            "only_b": {name: _content(item) for name, item in self.only_b.items()},
            "tied": {name: {"a": a, "b": b} for name, (a, b) in self.tied.items()},
            "settings": {name: {"a": a, "b": b} for name, (a, b) in self.settings.items()},
        }


@as_annotated(PlanError, but=("a", "b"))
def compare(a: Plan | Ledger, b: Plan | Ledger) -> Comparison:
    """What differs between two plans or ledgers, or a plan and a ledger.

    Where a model's own code runs, a ledger knows what it wrote, and a plan that it may: the two are alike if
    it is the same code, or if it left the tensor alone.

    Example:
        >>> import initcfg
        >>> from initcfg._plan.compare.comparison import compare
        >>> from torch import nn
        >>> model = nn.Linear(2, 2)
        >>> rules = [dict(type="Normal", layer="Linear", std=std) for std in (1, 2)]
        >>> found = compare(*(initcfg.plan(model, rule) for rule in rules))
        >>> list(found.changed), found.alike
        (['weight'], 1)
    """
    here, there = _as_plan(a), _as_plan(b)
    mixed = isinstance(a, Ledger) != isinstance(b, Ledger)
    changed: dict[str, Pair] = {}
    only: tuple[dict[str, Assignment], dict[str, Assignment]] = ({}, {})
    tied: dict[str, tuple[str | None, str | None]] = {}
    for name, (first, second) in here.diff(there).items():
        left, right = first or _by_alias(here, name), second or _by_alias(there, name)
        if left is None or right is None:
            known = left or right
            assert known is not None
            only[0 if right is None else 1][name] = known
        elif effect(left) != effect(right) and not (mixed and _same_code(left, right)):
            changed[name] = (left, right)
        if left is not None and right is not None and (first is None or second is None):
            tied[name] = (here.aliases.get(name), there.aliases.get(name))
    names = {*here.parameters, *here.buffers, *there.parameters, *there.buffers}
    settings: dict[str, tuple[Any, Any]] = {}
    if isinstance(a, Ledger) and isinstance(b, Ledger):
        both = {name: (getattr(a, name), getattr(b, name)) for name in ("rng", "seed", "stream_version")}
        settings = {name: pair for name, pair in both.items() if pair[0] != pair[1]}
    differing = {*changed, *only[0], *only[1], *tied}
    return Comparison(
        changed, *only, tied, settings, len(names - differing), _reasons(a, b) if changed else {}
    )


def read_saved(path: str) -> Plan | Ledger | None:
    """The plan or ledger in a file; None if the file is a config.

    A ledger is in a ``.ledger.json`` file, in the metadata of a safetensors file, beside a ``.pth`` file, or
    in the folder of a checkpoint.
    """
    file = Path(path)
    if os.path.isdir(path) or file.name.endswith(".safetensors.index.json"):
        return _beside(file if os.path.isdir(path) else file.parent, path)
    if file.suffix == ".safetensors":
        return Ledger.load(path)
    if file.suffix in (".pth", ".pt"):
        beside = file.with_suffix(".ledger.json")
        if not os.path.exists(path):
            raise PlanError(f"There is no file {path!r}.", fix="Check the path.")
        if not os.path.isfile(beside):
            raise PlanError(
                f"{path!r} has no ledger beside it: there is no {str(beside)!r}.",
                fix="A ledger is written by initcfg init. Compare its numbers: with another checkpoint's by "
                "initcfg diff --values, with what a plan or a config says by initcfg verify.",
            )
        return Ledger.load(beside)
    if file.suffix != ".json" or not os.path.isfile(path):
        return None
    try:
        text = file.read_text(encoding="utf-8")
        data = json.loads(text)
    except (OSError, ValueError, RecursionError):
        # What is wrong with it is said where configs are read.
        return None
    written = data.get("format") if isinstance(data, dict) else None
    if written == plan_as_json.FORMAT:
        return Plan.from_json(json_of(text, path))
    return Ledger.from_json(json_of(text, path)) if written == ledger.FORMAT else None


def has_ledger(path: str) -> bool:
    """Whether a ledger lies in weights, or beside them, where :func:`read_saved` looks for one."""
    file = Path(path)
    if os.path.isdir(path) or file.name.endswith(".safetensors.index.json"):
        return any((file if os.path.isdir(path) else file.parent).glob("*.ledger.json"))
    if file.suffix != ".safetensors":
        return os.path.isfile(file.with_suffix(".ledger.json"))
    # What it says of itself is read by whoever wants it.
    return not os.path.isfile(path) or carries_ledger(path)


def _beside(folder: Path, path: str) -> Ledger | None:
    """The ledger in the folder of a checkpoint."""
    found = sorted(folder.glob("*.ledger.json"))
    if len(found) > 1:
        raise PlanError(
            f"There are {len(found)} ledgers in the folder of {path!r}.",
            meant=[str(each) for each in found[:4]],
            fix="Give the path of one.",
        )
    return Ledger.load(found[0]) if found else None


def _as_plan(given: Plan | Ledger) -> Plan:
    """A ledger as the plan that would have said the same."""
    if isinstance(given, Plan):
        return given
    if not isinstance(given, Ledger):
        raise PlanError(
            f"Two plans or ledgers are compared, not a {type(given).__name__}.",
            fix="Give what initcfg.plan(model) or plan.apply(model) returned.",
        )
    parameters: dict[str, Assignment] = {}
    for name, entry in given.entries.items():
        value = Opaque(entry.code, entry.value) if entry.code else entry.value
        made = Assignment(name, entry.shape, entry.dtype, value, entry.initializer, entry.rule)
        parameters[name] = replace(made, tune=entry.tune) if entry.tune else made
    return Plan(parameters, aliases=given.aliases)


def _by_alias(plan: Plan, name: str) -> Assignment | None:
    return plan[name] if name in plan.aliases else None


def _same_code(a: Assignment, b: Assignment) -> bool:
    """Whether a plan that says what code may write, and a ledger that says what it did, agree."""
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    if isinstance(a.value, Opaque) and isinstance(b.value, Opaque):
        return a.value.code == b.value.code
    # The code left it alone.
    return any(isinstance(x, Opaque) and x.over == y for x, y in ((a.value, b.value), (b.value, a.value)))


def _reasons(a: Plan | Ledger, b: Plan | Ledger) -> dict[str, str]:
    if not (isinstance(a, Plan) and isinstance(b, Plan)):
        return {}
    pairs = {(None, "mmengine"): (a, b), ("mmengine", None): (b, a)}
    pair = pairs.get((a.compat, b.compat))
    return {} if pair is None else {each.name: each.reason for each in differences(*pair)}


def _content(item: Assignment) -> dict[str, Any]:
    tune = ("tune",) if item.tune else ()
    return {name: plain(getattr(item, name)) for name in ("shape", "dtype", "value", "rule", *tune)}
