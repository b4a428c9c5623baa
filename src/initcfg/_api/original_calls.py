"""What code written for MMEngine calls: ``initialize``, ``BaseModule.init_weights``, an initializer itself.

Each makes a small plan of its own. Called by user code that a run executes, it hands the plan to that run;
else it applies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from initcfg._api.functions import SECOND_CALL, Rng, exact_reach, warn_of_second_call
from initcfg._api.original_log import current_logger, write_original_log
from initcfg._model import active_run, doors
from initcfg._plan import Ledger
from initcfg._plan.planner import make_plan, remembered_roles
from initcfg._record import defaults
from initcfg._rules import Compiler, Program, Rule, Step, bias_of, called_with, parse_layers, type_label
from initcfg._rules.initializers import BaseInit, PretrainedInit
from initcfg.errors import PlanError, as_annotated, log, shown


@doors.initialize.leads_to
@as_annotated(PlanError, but=("init_cfg",))
def initialize(
    module: nn.Module,
    init_cfg: Mapping[str, Any] | list[Any],
    *,
    seed: int | None = None,
    rng: Rng = "stream",
    compat: str | None = None,
) -> Ledger | None:
    """The original's function: these rules on this module, in their order, and nothing else.

    The ``init_cfg`` of the module and of its children are not looked at.

    Returns:
        What was done; None when called from within a running ``init_weights``, whose ledger has it.

    Example:
        >>> from initcfg import initialize
        >>> from torch import nn
        >>> module = nn.Sequential(nn.Conv1d(3, 1, 3), nn.Linear(1, 2))
        >>> _ = initialize(module, [dict(type="Constant", layer="Conv1d", val=1),
        ...                         dict(type="Constant", layer="Linear", val=2)])
        >>> module[0].weight.unique().item(), module[1].weight.unique().item()
        (1.0, 2.0)
    """
    run = active_run()
    exact = exact_reach(compat) if run is None else run.compat
    program = Compiler(module, compat=exact).run_rules(init_cfg, written=called_with(init_cfg))
    return _carry_out(program, module, exact=exact, seed=seed, rng=rng)


@doors.init_base_module.leads_to
def init_base_module(module: nn.Module, *, compat: str | None, rng: Rng) -> None:
    """What ``BaseModule.init_weights`` does: the module's own rules, its children's, its Pretrained."""
    if getattr(module, "is_init", False):
        if not module.__dict__.pop("_initcfg_built", False):
            warn_of_second_call(module)
            if compat is not None:
                current_logger().warning(SECOND_CALL, shown(type(module).__name__))
        return
    run = active_run()
    exact = compat is not None if run is None else run.compat
    root_name = "model" if run is None else run.part_name(module)
    program = Compiler(module, compat=exact, root_name=root_name).run(None, own_method=False)
    ledger = _carry_out(program, module, exact=exact, rng=rng, warns=True)
    if ledger is not None and compat is not None:
        write_original_log(module, ledger)


@doors.call_initializer.leads_to
def call_initializer(initializer: BaseInit | PretrainedInit, module: nn.Module) -> None:
    """``KaimingInit(layer="Conv2d")(module)``: now, from torch's generator, with the original's reach."""
    name = type_label(type(initializer))
    where = f"{name} called on a {type(module).__name__}"
    cfg = {"type": name, **initializer.arguments()}
    if isinstance(initializer, PretrainedInit):
        rule = Rule(where, None, cfg, pretrained=initializer, type_name=name)
        step = Step(0, module, "", module, rule, kind="pretrained")
    else:
        layers = parse_layers(initializer.layer or [], compat=True)
        bias = bias_of(initializer)
        rule = Rule(where, None, cfg, weight=initializer, bias=bias, layers=layers, type_name=name)
        step = Step(0, module, "", module, rule, whole=bool(getattr(initializer, "wholemodule", False)))
    _carry_out(Program([step]), module, exact=True, rng="torch")


def _carry_out(
    program: Program,
    module: nn.Module,
    *,
    exact: bool,
    rng: Rng,
    seed: int | None = None,
    warns: bool = False,
) -> Ledger | None:
    """Carry out a program: by the active run, whose ledger has it; else alone."""
    run = active_run()
    roles = None if run is None else run.part_roles(module)
    made = make_plan(
        module, program, compat=exact, first_writes=defaults, roles=roles or remembered_roles(module)
    )
    if run is not None:
        run.run_part(made, module)
        return None
    for item in made.unused if warns else ():
        log("%s reached nothing: %s.", item.rule, item.reason)
    return made.apply(module, seed=seed, rng=rng)
