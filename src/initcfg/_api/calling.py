"""Initializers called on modules, as the original allows: ``KaimingInit(layer="Conv2d")(module)``."""

from __future__ import annotations

from torch import nn

from initcfg._apply.run import active_run
from initcfg._checkpoints.opened import open_pretrained
from initcfg._plan.planner.make import make_plan
from initcfg._rules.initializers.original import BaseInit
from initcfg._rules.initializers.pretrained import PretrainedInit
from initcfg._rules.program import Program, Step
from initcfg._rules.rule import Rule, bias_of
from initcfg._rules.selection import parse_layers
from initcfg._rules.types import type_label


def call_initializer(initializer: BaseInit | PretrainedInit, module: nn.Module) -> None:
    """Initialize ``module`` now, from torch's generator, with the reach of the original."""
    name = type_label(type(initializer))
    where = f"{name} called on a {type(module).__name__}"
    cfg = {"type": name, **initializer.arguments()}
    if isinstance(initializer, PretrainedInit):
        rule, kind, whole = (
            Rule(where, None, cfg, pretrained=initializer, type_name=name),
            "pretrained",
            False,
        )
    else:
        rule = Rule(
            where,
            None,
            cfg,
            weight=initializer,
            bias=bias_of(initializer),
            layers=parse_layers(initializer.layer or [], compat=True),
            type_name=name,
        )
        kind, whole = "rule", bool(getattr(initializer, "wholemodule", False))
    program = Program([Step(0, module, "", module, rule, whole=whole, kind=kind)])
    made = make_plan(module, program, compat=True, strict=False, opener=open_pretrained)
    run = active_run()
    if run is not None:
        run.run_part(made, module)
    else:
        made.apply(module, rng="torch")
