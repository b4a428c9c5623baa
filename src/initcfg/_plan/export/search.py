"""The search for rules: drafts by class, then exceptions by name, then the check by the planner itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from initcfg._model import children_of, doors, unwrapped
from initcfg._plan.export.cells import View, view_of
from initcfg._plan.export.classes import class_drafts
from initcfg._plan.export.drafts import State, rule_of
from initcfg._plan.export.exceptions import exception_drafts
from initcfg._plan.export.marked import known_roles, marked_rules
from initcfg._plan.export.patterns import literal
from initcfg._plan.plan import Plan
from initcfg._plan.planner import make_plan
from initcfg._rules import Compiler
from initcfg.errors import InitcfgError, PlanError
from initcfg.values import FromBatch, FromCheckpoint, to_json


@doors.export_plan.leads_to
def init_cfg_of(plan: Plan, model: nn.Module) -> list[dict[str, Any]]:
    """Rules that give every tensor of ``model`` the value that it has in ``plan``, without its constructors.

    Tensors that the plan keeps, or that only code fills, are not reached. Of the model, only modules,
    classes and shapes are looked at.

    Example:
        >>> import initcfg
        >>> from initcfg._plan.export import init_cfg_of
        >>> from torch import nn
        >>> with initcfg.deferred():
        ...     model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
        >>> for rule in init_cfg_of(initcfg.plan(model), model):
        ...     print(rule)
        {'type': 'TorchDefault', 'layer': 'Conv2d'}
        {'type': 'Constant', 'layer': 'BatchNorm2d', 'val': 1, 'bias': 0}
    """
    model = unwrapped(model)
    for load in plan.loads:
        if load.checkpoint is None:
            raise PlanError(
                f"The plan loads {load.source}, which no rule can name.",
                where=load.rule,
                fix="Save the state_dict, and give its path.",
            )
    for item in plan.parameters.values():
        if isinstance(item.value, FromBatch):
            raise PlanError(
                f"{item.value} has no numbers yet.",
                parameter=item.name,
                fix="Apply the plan, and export the finished one: ledger.plan.to_init_cfg(model).",
            )
    view = view_of(plan, model)
    loading, rest = _loading_rules(view)
    rules = [*_shortest(rest), *loading]
    problem: InitcfgError | None = None
    left: list[int] = []
    # What the search gets wrong is put right name by name; or else the whole model is said that way.
    ways: list[Callable[[], list[dict[str, Any]]]] = [
        lambda: rules,
        lambda: [*rules, *_exact(view, left)],
        lambda: _shortest(view),
        lambda: _exact(view),
    ]
    for attempt in ways:
        made = attempt()
        try:
            left, problem = differing(view, plan_of_rules(view, made)), None
        except InitcfgError as error:
            left, problem = [], error
        if not left and problem is None:
            return made
    if problem is not None:
        problem.rule = problem.where = None
        raise PlanError(
            f"No rule can give this tensor what it has in the plan: {problem.problem}",
            parameter=problem.parameter,
            shape=problem.shape,
            fix=problem.fix,
        ) from problem
    name = view.canonical(left[0])
    raise PlanError("No rule can give this tensor what it has in the plan.", parameter=name)


def _shortest(view: View) -> list[dict[str, Any]]:
    """The fewer rules of two ways: each value by its numbers, or scales by role too."""
    ways: list[list[dict[str, Any]]] = []
    for by_role in (False, True):
        marked, rest = marked_rules(view, by_role=by_role)
        if marked or not by_role:
            ways.append([*searched(rest), *marked])
    return min(ways, key=len)


def _loading_rules(view: View) -> tuple[list[dict[str, Any]], View]:
    """Rules that load checkpoints into the model or a child of it, and the view of what is left to say."""
    sources: dict[str, dict[int, str]] = {}
    for number, value in enumerate(view.wanted):
        if isinstance(value, FromCheckpoint):
            sources.setdefault(value.source, {})[number] = value.key
    rules: list[dict[str, Any]] = []
    given: set[int] = set()
    for source, keys in sources.items():
        rule = _loading_rule(view, source, keys)
        if rule is not None:
            rules.append(rule)
            given |= keys.keys()
    wanted = [None if number in given else value for number, value in enumerate(view.wanted)]
    return rules, replace(view, wanted=wanted, given=frozenset(given))


def _loading_rule(view: View, source: str, keys: dict[int, str]) -> dict[str, Any] | None:
    names = {number: view.canonical(number) for number in keys}
    heads = {name.partition(".")[0] for name in names.values()}
    children = [head for head in heads if head in children_of(view.model)] if len(heads) == 1 else []
    for module in (*children, ""):
        start = f"{module}." if module else ""
        local = {number: name[len(start) :] for number, name in names.items()}
        prefixes = {key.removesuffix(local[number]) for number, key in keys.items()}
        prefix = min(prefixes)
        if len(prefixes) == 1 and all(key == prefix + local[number] for number, key in keys.items()):
            load = {"checkpoint": source, **({"prefix": prefix} if prefix else {})}
            if not module:
                return {"type": "Pretrained", **load}
            # An override, since Pretrained takes no name; what it stands in leaves all else alone.
            return {"weight": None, "override": {"type": "Pretrained", "name": module, **load}}
    return None


def plan_of_rules(view: View, rules: list[dict[str, Any]]) -> Plan:
    """The plan of these rules and nothing else: no ``init_cfg`` of a module, and no constructor's default."""
    program = Compiler(view.model, compat=False, root_name="model").run_rules(rules)
    return make_plan(view.model, program, compat=False, names=view.names, roles=known_roles(view))


def differing(view: View, made: Plan) -> list[int]:
    """The tensors that would get something else than the plan says, or nothing, or something for nothing."""
    found: list[int] = []
    for number, wanted in enumerate(view.wanted):
        name = view.canonical(number)
        item = made.buffers.get(name) if view.is_buffer(number) else made.parameters.get(name)
        given = None if item is None or item.rule is None else item.value
        before = view.assignments[number]
        tuned = wanted is not None and item is not None and before is not None and item.tune != before.tune
        if given != wanted or tuned:
            found.append(number)
    return found


def searched(view: View) -> list[dict[str, Any]]:
    """Rules that a model of the planner finds right: few, and not checked yet."""
    state = State(view)
    drafts = class_drafts(state)
    drafts += exception_drafts(state)
    return [rule_of(draft, view) for draft in drafts]


def _exact(view: View, numbers: Iterable[int] | None = None) -> list[dict[str, Any]]:
    """Rules that say each tensor by its name and its value by its numbers: always possible, and long."""
    groups: dict[str, dict[str, Any]] = {}
    for number in range(len(view.wanted)) if numbers is None else numbers:
        value = view.wanted[number]
        if value is not None:
            item = view.assignments[number]
            data, tune = to_json(value), {} if item is None else dict(item.tune)
            made = {
                "type": "Value",
                "param": [],
                "buffer": [],
                "value": data,
                **({"tune": tune} if tune else {}),
            }
            rule = groups.setdefault(json.dumps([data, tune]), made)
            rule["buffer" if view.is_buffer(number) else "param"].append(literal(view.canonical(number)))
    return [{key: item for key, item in rule.items() if item != []} for rule in groups.values()]
