"""Recognition: the schemes of the catalogue that amount to what a plan says.

Each scheme is planned on the same model, with the numbers of the plan where it takes any, and the two plans
are compared tensor by tensor. What every scheme says alike (biases of zero, norms of one) tells nothing.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args, get_origin

import torch
from torch import nn

from initcfg._model import Names, doors, find_roles, named_tensors
from initcfg._plan.assignment import Assignment
from initcfg._plan.plan import Plan
from initcfg._plan.planner import RoleRequest, make_plan, remembered_roles
from initcfg._rules import Compiler, Scheme, schemes
from initcfg._rules.initializers import KaimingInit, XavierInit
from initcfg._stream.writing import fill_stream
from initcfg.errors import InitcfgError, log, plural
from initcfg.values import Constant, Formula, Normal, PaddingRow, Parts, TruncNormal, Uniform, Value

# A truncation further out cuts nothing that float32 could show.
_NO_CUT = 6.0
# The library may compute in float32 what a scheme computes in float64.
_CLOSE = 2e-6
_ENOUGH = 0.9
_SHOWN = 4
# Elements of a tensor whose numbers are compared.
_DRAWN = 1 << 20
# Numbers of a plan that are tried as an argument.
_TRIED = 2
_GIVEN = ("ls", "value", "head_bias")
_DEPTH = {"layers", "layer", "residuals"}
# What every library has.
_BY_FANS = [
    XavierInit(distribution="uniform"),
    XavierInit(distribution="normal"),
    *(
        KaimingInit(mode=mode, distribution=distribution)
        for mode in ("fan_in", "fan_out")
        for distribution in ("normal", "uniform")
    ),
]


@dataclass(frozen=True)
class Recognized:
    """A scheme that amounts to what a plan says.

    Attributes:
        scheme: Its name.
        arguments: The arguments with which it does.
        matched: Tensors of which both say the same, but for biases of zero and the like.
        but: Tensors of which they do not, by name.
        silent: Of a scheme for a part of a model: how many tensors it says nothing of.
        also: Schemes that say the same of this model.
        idle: Of its rules those that reach nothing in it.
        names: The tensors that ``matched`` counts.
        covered: These, and the biases of zero and the like.
    """

    scheme: str
    arguments: Mapping[str, Any]
    matched: int
    but: tuple[str, ...] = ()
    silent: int = 0
    also: tuple[str, ...] = ()
    idle: int = 0
    names: frozenset[str] = field(default=frozenset(), repr=False)
    covered: frozenset[str] = field(default=frozenset(), repr=False)

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
            "silent": self.silent,
            "also": list(self.also),
        }

    def __str__(self) -> str:
        given = ", ".join(f"{key}={item!r}" for key, item in self.arguments.items())
        text = f"this is {self.scheme}({given}), in {plural(self.matched, 'tensor')}"
        if self.but:
            more = f" and {len(self.but) - _SHOWN} more" if len(self.but) > _SHOWN else ""
            text += f", but for {', '.join(self.but[:_SHOWN])}{more}"
        text += f"; of {plural(self.silent, 'tensor')} it says nothing" if self.silent else ""
        return text + (f" (here the same as {', '.join(self.also)})" if self.also else "")


@doors.recognize_plan.leads_to
def recognize(plan: Plan, model: nn.Module, *, example: Any = None, roles: Any = None) -> list[Recognized]:
    """See :meth:`Plan.recognize`."""
    request = RoleRequest(roles, example)
    if plan.given is not None:
        request = request.over(plan.given.request)
    request = request.over(remembered_roles(model))
    # Without a graph, schemes without roles are recognized all the same.
    known = None
    try:
        known = find_roles(model, example=request.example, declared=request.declared)
    except InitcfgError as error:
        log(
            "Schemes that scale by what a tensor does are not recognized here. %s Give one: example=...",
            error.problem,
        )
    names = named_tensors(model)
    found: list[Recognized] = []
    for name, cls in schemes().items():
        best = None
        for arguments in _arguments(cls, plan):
            scheme = _planned(cls, arguments, model, names, replace(request, known=known))
            one = None if scheme is None else _compared(name, arguments, plan, scheme)
            if one is not None and (best is None or _order(one) < _order(best)):
                best = one
        if best is not None:
            found.append(best)
    return _without_lesser(sorted(found, key=_order))


def _order(each: Recognized) -> tuple[Any, ...]:
    """The one that says most, and with the fewest words, comes first."""
    return len(each.but) - each.matched, each.idle, len(each.arguments), each.scheme


def _without_lesser(found: list[Recognized]) -> list[Recognized]:
    """Those that say something of their own; of those that say the same, the first names the others."""
    kept: list[Recognized] = []
    explained: set[str] = set()
    for each in found:
        same = next((i for i, one in enumerate(kept) if (one.names, one.but) == (each.names, each.but)), None)
        if same is not None:
            kept[same] = replace(kept[same], also=(*kept[same].also, each.scheme))
        elif not each.names <= explained:
            kept.append(each)
            explained |= each.covered
    return kept


def _idle(scheme: Plan) -> int:
    """How many rules of a scheme's recipe reach nothing."""
    used = {item.rule for item in scheme.values()} | {
        each.rule for item in scheme.values() for each in item.shadowed
    }
    return len(scheme.rules.keys() - used)


def _arguments(cls: type[Scheme], plan: Plan) -> Iterator[dict[str, Any]]:
    """Arguments to try: the defaults, and instead of one of them another word or a number of the plan."""
    taken = inspect.signature(cls, eval_str=True).parameters
    named = [each for each in taken.values() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    # What looks at an example analyzes the model anew for every guess, and nobody writes that by hand.
    if "example" in taken or any(each.default is each.empty for each in named):
        return
    words = [each for each in named if get_origin(each.annotation) is Literal]
    choices = [{}, *({each.name: word} for each in words for word in get_args(each.annotation))]
    for choice in choices:
        if all(item != taken[key].default for key, item in choice.items()):
            yield choice
            for each in named:
                numbers = (
                    _frequent(plan) if each.name == "std" else _constants(plan) if each.name in _GIVEN else []
                )
                yield from ({**choice, each.name: number} for number in numbers if number != each.default)


def _frequent(plan: Mapping[str, Assignment]) -> list[float]:
    """The most frequent standard deviations of a plan's matrices."""
    values = (_plain(item.value) for item in plan.values() if len(item.shape) >= 2)
    counted = Counter(value.std for value in values if isinstance(value, (Normal, TruncNormal)))
    return [std for std, _ in counted.most_common(_TRIED)]


def _constants(plan: Plan) -> list[float]:
    """The most frequent constants of the plan, other than 0 and 1."""
    values = (_plain(item.value) for item in plan.values())
    counted = Counter(
        value.val for value in values if isinstance(value, Constant) and value.val not in (0, 1)
    )
    return [val for val, _ in counted.most_common(_TRIED)]


def _planned(
    cls: type[Scheme], arguments: dict[str, Any], model: nn.Module, names: Names, roles: RoleRequest
) -> Plan | None:
    """The plan of the scheme alone; None where it does not fit the model."""
    try:
        compiler = Compiler(model, compat=False, declared=roles.known)
        program = compiler.run_rules({"type": cls, **arguments})
        return make_plan(model, program, compat=False, names=names, roles=roles)
    except InitcfgError:
        return None


def _compared(name: str, arguments: dict[str, Any], plan: Plan, scheme: Plan) -> Recognized | None:
    """The comparison, if enough is the same, and nearly all that sets this scheme apart from others."""
    reached = {key: item for key, item in scheme.items() if item.rule is not None}
    ours = {key: item for key, item in plan.items() if key in reached}
    differing = [key for key, item in ours.items() if not _same_numbers(item, reached[key])]
    matched = [key for key, item in ours.items() if _tells(item) and key not in differing]
    usual = next(iter(_frequent(reached)), 0.0)
    apart = [key for key, item in reached.items() if key in ours and not _is_usual(item, usual)]
    missed = len(set(apart).intersection(differing))
    if not apart or missed > (1 - _ENOUGH) * len(apart):
        return None
    if any(_by_depth(reached[key]) for key in differing):
        # What the scheme scales by depth is what makes it this one.
        return None
    if _halved(ours.values(), reached, differing):
        return None
    said = len(ours) - sum(not _tells(item) for item in ours.values() if item.name not in differing)
    if len(differing) > (1 - _ENOUGH) * max(said, len(apart)):
        return None
    silent = [
        key for key, item in plan.items() if key not in reached and _tells(item) and not _of_torch(item)
    ]
    whole = len(silent) <= (1 - _ENOUGH) * (said + len(silent))
    but = [key for key in plan if key in differing or (whole and key in silent)]
    names = matched or [key for key in apart if key not in differing]
    return Recognized(
        name,
        arguments,
        len(names),
        tuple(but),
        0 if whole else len(silent),
        idle=_idle(scheme),
        names=frozenset(names),
        covered=frozenset(ours.keys() - set(differing)),
    )


def _halved(ours: Iterable[Assignment], scheme: Mapping[str, Assignment], differing: list[str]) -> bool:
    """Whether a rule of a scheme holds for all matrices that it reaches, and for none of the kernels."""
    same: dict[tuple[str | None, int], bool] = {}
    for item in ours:
        axes = len(item.shape)
        if axes >= 2:
            key = (scheme[item.name].rule, axes)
            same[key] = same.get(key, False) or item.name not in differing
    return any(not each and same.get((rule, 2), False) for (rule, axes), each in same.items() if axes > 2)


def _by_depth(item: Assignment) -> bool:
    return item.scaling is not None and not item.scaling.numbers.keys().isdisjoint(_DEPTH)


def _of_torch(item: Assignment) -> bool:
    """Whether torch's own constructor wrote it: a scheme that is silent leaves that."""
    return (item.rule or "").startswith("torch/nn/")


def _is_usual(item: Assignment, std: float) -> bool:
    """Whether it is what a model has that nobody thought about.

    Biases of 0 and norms of 1; for the rest the same ``std``, or what Xavier or Kaiming make of the fans.
    """
    value = _plain(item.value)
    if len(item.shape) < 2:
        return value == Constant(0.0 if item.name.endswith("bias") else 1.0)
    if isinstance(value, Normal) and value.mean == 0 and _close(value.std, std):
        return True
    layout = item.layout
    return layout is not None and any(_alike(value, each.resolve(layout)) for each in _BY_FANS)


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


def _same_numbers(ours: Assignment, scheme: Assignment) -> bool:
    """Whether two values are the same, or two ways to compute the same: these are drawn."""
    if _alike(ours.value, scheme.value):
        return True
    both = (_plain(ours.value), _plain(scheme.value))
    if not any(isinstance(each, Formula) for each in both) or ours.elements > _DRAWN:
        return False
    drawn = [torch.empty(ours.shape, device="cpu") for _ in both]
    try:
        for tensor, value in zip(drawn, both, strict=True):
            fill_stream(tensor, value, seed=0, name=ours.name)
    except InitcfgError:
        return False
    # What should be zero is, in float32, what rounding of the largest leaves.
    largest = max((each.abs().max().item() for each in drawn if each.numel()), default=0.0)
    return torch.allclose(*drawn, rtol=1e-5, atol=1e-6 * largest, equal_nan=True)


def _alike(first: Value, second: Value) -> bool:
    one, other = _plain(first), _plain(second)
    if type(one) is not type(other):
        return False
    if isinstance(one, Parts) and isinstance(other, Parts):
        return (one.dim, one.sizes) == (other.dim, other.sizes) and all(map(_alike, one.values, other.values))
    if isinstance(one, (Constant, Uniform, Normal, TruncNormal)):
        return all(map(_close, vars(one).values(), vars(other).values()))
    return one == other


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=1e-12) or (math.isnan(one) and math.isnan(other))
