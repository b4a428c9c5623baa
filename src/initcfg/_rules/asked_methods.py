"""Which modules a rule means whose type is code: their own ``init_weights``, or a function of a module."""

from __future__ import annotations

from torch import nn

from initcfg._model import modules_of, relative_name
from initcfg._rules.methods import has_init_weights
from initcfg._rules.patterns import Pattern, unmatched
from initcfg._rules.rule import Rule
from initcfg.errors import PatternError


def asked_methods(rule: Rule, owner: nn.Module, owner_name: str, names: dict[int, str]) -> list[nn.Module]:
    """The modules below the owner that the rule means and that have the method, in registration order.

    ``names`` has the canonical name of each module, by ``id``.
    """
    if rule.params or rule.buffers:
        raise _wrong(rule, "InitWeights calls methods of modules: it takes name, layer and exclude.")
    below = [each for each in modules_of(owner) if each is not owner and has_init_weights(each)]
    relative = {id(each): relative_name(names[id(each)], owner_name) or "" for each in below}
    candidates = list(filter(None, relative.values()))

    def hit(pattern: Pattern, name: str) -> bool:
        return bool(name) and (pattern.covers(name) if rule.layers else pattern.matches(name))

    for pattern in rule.names:
        if not any(hit(pattern, name) for name in candidates):
            error = unmatched("name", pattern, candidates, rule=str(rule), where=rule.place)
            error.problem = f"name={pattern.text!r} names no module that has an init_weights()."
            raise error
    for pattern in rule.excludes:
        if not any(map(pattern.covers, candidates)):
            raise unmatched("exclude", pattern, candidates, rule=str(rule), where=rule.place)
    return [
        each
        for each in below
        if (not rule.names or any(hit(pattern, relative[id(each)]) for pattern in rule.names))
        and (not rule.layers or rule.layers.matches(type(each)))
        and not any(pattern.covers(relative[id(each)]) for pattern in rule.excludes)
    ]


def selected_modules(rule: Rule, owner: nn.Module, owner_name: str, names: dict[int, str]) -> list[nn.Module]:
    """The modules at or below the owner that a rule means whose type is a function of a module.

    Without a selection that is the owner itself.
    """
    if rule.params or rule.buffers:
        raise _wrong(rule, f"{rule.type_name} is called with modules: it takes name, layer and exclude.")
    if not rule.selects:
        return [] if rule.overrides else [owner]
    known = ((each, names.get(id(each))) for each in modules_of(owner))
    relative = {each: relative_name(name, owner_name) or "" for each, name in known if name is not None}
    below = list(filter(None, relative.values()))

    def meant(pattern: Pattern, name: str) -> bool:
        return bool(name) and (pattern.covers(name) if rule.layers else pattern.matches(name))

    for pattern in rule.names:
        if not any(meant(pattern, name) for name in below):
            raise unmatched("name", pattern, below, rule=str(rule), where=rule.place)
    for pattern in rule.excludes:
        if not any(map(pattern.covers, below)):
            raise unmatched("exclude", pattern, below, rule=str(rule), where=rule.place)
    return [
        each
        for each, name in relative.items()
        if (not rule.names or any(meant(pattern, name) for pattern in rule.names))
        and (not rule.layers or rule.layers.matches(type(each)))
        and not (name and any(pattern.covers(name) for pattern in rule.excludes))
    ]


def _wrong(rule: Rule, problem: str) -> PatternError:
    return PatternError(problem, rule=str(rule), where=rule.place)
