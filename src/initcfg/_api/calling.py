"""Initializers called on modules, as the original allows: ``KaimingInit(layer="Conv2d")(module)``."""

from __future__ import annotations

from torch import nn

from initcfg._model import doors
from initcfg._plan.planner import make_plan
from initcfg._record import defaults
from initcfg._rules import Program, Rule, Step, bias_of, parse_layers, type_label
from initcfg._rules.initializers import BaseInit, PretrainedInit


@doors.call_initializer.leads_to
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
    made = make_plan(module, program, compat=True, strict=False, first_writes=defaults)
    run = doors.active_run()
    if run is not None:
        run.run_part(made, module)
    else:
        made.apply(module, rng="torch")
