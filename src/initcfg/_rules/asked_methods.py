"""Which modules' own ``init_weights`` a rule of type ``InitWeights`` asks for."""

from __future__ import annotations

from torch import nn

from initcfg._model import relative_name
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
    below = [each for each in owner.modules() if each is not owner and has_init_weights(each)]
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


def _wrong(rule: Rule, problem: str) -> PatternError:
    return PatternError(problem, rule=str(rule), where=rule.place)
