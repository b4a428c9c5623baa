"""Recognition: the schemes of the catalogue that amount to what a plan says.

Each scheme is planned on the same model, with the numbers of the plan where it takes any, and the two plans
are compared tensor by tensor. What every scheme says alike (biases of zero, norms of one) tells nothing.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from initcfg._model import doors, find_roles
from initcfg._plan.assignment import Assignment
from initcfg._plan.plan import Plan
from initcfg._plan.planner import RoleRequest, make_plan
from initcfg._rules import Compiler, Scheme, schemes
from initcfg.errors import InitcfgError, plural
from initcfg.values import Constant, Normal, PaddingRow, Parts, TruncNormal, Uniform, Value

# A truncation further out cuts nothing that float32 could show.
_NO_CUT = 6.0
# The library may compute in float32 what a scheme computes in float64.
_CLOSE = 2e-6
_ENOUGH = 0.9
_SHOWN = 4
_TRIED = 2


@dataclass(frozen=True)
class Recognized:
    """A scheme that amounts to what a plan says.

    Attributes:
        scheme: Its name.
        arguments: The arguments with which it does.
        matched: Tensors of which both say the same, and that tell one scheme from another.
        but: Tensors of which they do not, by name.
        also: Schemes that say the same of this model.
    """

    scheme: str
    arguments: Mapping[str, Any]
    matched: int
    but: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def rule(self) -> dict[str, Any]:
        """The rule that an ``init_cfg`` would have."""
        return {"type": self.scheme, **self.arguments}

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "scheme": self.scheme,
            "arguments": dict(self.arguments),
            "matched": self.matched,
            "but": list(self.but),
            "also": list(self.also),
        }

    def __str__(self) -> str:
        given = ", ".join(f"{key}={item!r}" for key, item in self.arguments.items())
        text = f"this is {self.scheme}({given}), in {plural(self.matched, 'tensor')}"
        if self.but:
            more = f" and {len(self.but) - _SHOWN} more" if len(self.but) > _SHOWN else ""
            text += f", but for {', '.join(self.but[:_SHOWN])}{more}"
        return text + (f" (here the same as {', '.join(self.also)})" if self.also else "")


@doors.recognize_plan.leads_to
def recognize(plan: Plan, model: nn.Module, *, example: Any = None, roles: Any = None) -> list[Recognized]:
    """See :meth:`Plan.recognize`."""
    request = RoleRequest(roles, example)
    # Without a graph, schemes without roles are recognized all the same.
    known = None
    with contextlib.suppress(InitcfgError):
        known = find_roles(model, example=example, declared=roles)
    found: list[Recognized] = []
    for name, cls in schemes().items():
        best = None
        for arguments in _arguments(cls, plan):
            scheme = _planned(cls, arguments, model, replace(request, known=known))
            one = None if scheme is None else _compared(name, arguments, plan, scheme)
            if one is not None and (best is None or len(one.but) < len(best.but)):
                best = one
        if best is not None:
            found.append(best)
    found.sort(key=lambda each: (len(each.but), len(each.arguments), each.scheme))
    return _without_equals(found)


def _without_equals(found: list[Recognized]) -> list[Recognized]:
    """Of schemes that match the same tensors, the first, with the names of the others."""
    kept: dict[tuple[str, ...], Recognized] = {}
    for each in found:
        first = kept.setdefault(each.but, each)
        if first is not each:
            kept[each.but] = replace(first, also=(*first.also, each.scheme))
    return list(kept.values())


def _arguments(cls: type[Scheme], plan: Plan) -> Iterator[dict[str, Any]]:
    """Arguments to try: none, those that the scheme names itself, and the plan's most frequent numbers."""
    taken = inspect.signature(cls).parameters
    if any(
        each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
        for each in taken.values()
    ):
        return
    for variant in ({}, *cls.variants):
        yield variant
        if "std" in taken:
            for std in _frequent(plan):
                if std != taken["std"].default:
                    yield {**variant, "std": std}


def _frequent(plan: Plan) -> list[float]:
    """The most frequent standard deviations of the plan's matrices."""
    values = (_plain(item.value) for item in plan.values() if len(item.shape) >= 2)
    counted = Counter(value.std for value in values if isinstance(value, (Normal, TruncNormal)))
    return [std for std, _ in counted.most_common(_TRIED)]


def _planned(
    cls: type[Scheme], arguments: dict[str, Any], model: nn.Module, roles: RoleRequest
) -> Plan | None:
    """The plan of the scheme alone; None where it does not fit the model."""
    try:
        program = Compiler(model, compat=False).run_rules({"type": cls, **arguments})
        return make_plan(model, program, compat=False, roles=roles)
    except InitcfgError:
        return None


def _compared(name: str, arguments: dict[str, Any], plan: Plan, scheme: Plan) -> Recognized | None:
    """The comparison, if enough is the same, and all that only this scheme does."""
    reached = {key: item for key, item in scheme.items() if item.rule is not None}
    telling = [key for key, item in plan.items() if _tells(item) or (key in reached and _tells(reached[key]))]
    but = tuple(
        key
        for key in plan
        if key in telling and not (key in reached and _alike(plan[key].value, reached[key].value))
    )
    matched = len(telling) - len(but)
    if not matched or matched < _ENOUGH * len(telling):
        return None
    if any(reached[key].scaling is not None for key in but if key in reached):
        # What the scheme scales is what makes it this one.
        return None
    return Recognized(name, arguments, matched, but)


def _tells(item: Assignment) -> bool:
    """Whether a value is more than what nearly every scheme gives."""
    value = _plain(item.value)
    return not (isinstance(value, Constant) and value.val in (0.0, 1.0)) and value.kind != "Keep"


def _plain(value: Value) -> Value:
    """A value without what makes no difference to its numbers, or only to a row of padding."""
    if isinstance(value, PaddingRow):
        value = value.value
    if isinstance(value, TruncNormal) and value.std > 0:
        low, high = ((bound - value.mean) / value.std for bound in (value.a, value.b))
        if low <= -_NO_CUT and high >= _NO_CUT:
            return Normal(value.mean, value.std)
    if isinstance(value, Normal) and value.std == 0:
        return Constant(value.mean)
    if isinstance(value, Parts) and len({_plain(part) for part in value.values}) == 1:
        return _plain(value.values[0])
    return value


def _alike(first: Value, second: Value) -> bool:
    one, other = _plain(first), _plain(second)
    if type(one) is not type(other):
        return False
    if isinstance(one, Parts) and isinstance(other, Parts):
        return (one.dim, one.sizes) == (other.dim, other.sizes) and all(map(_alike, one.values, other.values))
    if isinstance(one, (Constant, Uniform, Normal, TruncNormal)):
        return all(
            math.isclose(here, there, rel_tol=_CLOSE, abs_tol=1e-12)
            or (math.isnan(here) and math.isnan(there))
            for here, there in zip(vars(one).values(), vars(other).values(), strict=True)
        )
    return one == other
