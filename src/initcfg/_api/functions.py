"""The functions a person calls: plan, init_weights, initialize, build."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from initcfg._apply import rehearsed
from initcfg._config import MODELS, build_from_cfg, load_config, prepared
from initcfg._config.files import Config
from initcfg._model import active_run, doors, hold_shards, unwrapped
from initcfg._plan import Ledger, Plan
from initcfg._plan.planner import make_plan
from initcfg._record import defaults, deferred, meta_defaults, recall_defaults
from initcfg._rules import Compiler, has_init_weights
from initcfg._stream.writing import seeded
from initcfg.errors import BuildError, PlanError, RuleTypeError

Rng = Literal["stream", "torch"]
InitCfg = Mapping[str, Any] | list[Any] | tuple[Any, ...] | None


def plan(
    model: nn.Module,
    init_cfg: InitCfg = None,
    *,
    compat: str | None = None,
    strict: bool = False,
    locate: Any = None,
) -> Plan:
    """What every parameter of ``model`` will be, by its rules; reads and writes no weight.

    Args:
        model: Any module. Its own ``init_cfg`` and those of the modules in it are its rules.
        init_cfg: Rules of an outer parent: they count as written around the model, so that the
            model's own beat them.
        compat: ``"mmengine"`` reaches exactly what the original reaches.
        strict: A rule that reaches nothing is an error.
        locate: Finds file and line of rules; :func:`build` and the command pass that of the config.

    Returns:
        The plan; print it, then ``plan.apply(model)``.

    Raises:
        RuleError: A rule is wrong.
        PlanError: A parameter cannot be planned.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> plan = initcfg.plan(model, dict(type="Kaiming", layer="Conv2d"))
        >>> print(plan["0.weight"].value, plan["1.weight"].value)
        Normal(mean=0, std=0.1667) Keep
    """
    exact = _check_compat(compat)
    model = _model_in(model)
    hold_shards(model)
    if init_cfg is not None and not isinstance(init_cfg, (Mapping, list, tuple)):
        raise RuleTypeError(f"An init_cfg is a dict or a list of dicts, not {init_cfg!r}.")
    recall_defaults(model)
    with _no_collections():
        program = Compiler(model, compat=exact, locate=locate).run(init_cfg)
        executed = [step.owner for step in program.steps if step.kind == "method"]
        made = make_plan(
            model,
            program,
            compat=exact,
            strict=strict,
            first_writes=defaults,
            lost=lambda missing: meta_defaults(model, missing, executed),
        )
    return rehearsed(made, model)


def init_weights(
    model: nn.Module,
    init_cfg: InitCfg = None,
    *,
    seed: int | None = None,
    rng: Rng = "stream",
    compat: str | None = None,
    strict: bool = False,
    process_group: Any = None,
) -> Ledger:
    """Plan and apply in one: see :func:`plan` and :meth:`Plan.apply`.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> model = nn.Linear(2, 1)
        >>> ledger = initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=1, bias=2))
        >>> model.weight.tolist(), model.bias.tolist()
        ([[1.0, 1.0]], [2.0])
    """
    made = plan(model, init_cfg, compat=compat, strict=strict)
    return made.apply(_model_in(model), seed=seed, rng=rng, process_group=process_group)


@doors.initialize.leads_to
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
    exact = _check_compat(compat) if run is None else run.compat
    program = Compiler(module, compat=exact).run_rules(init_cfg)
    made = make_plan(module, program, compat=exact, strict=False, first_writes=defaults)
    if run is not None:
        run.run_part(made, module)
        return None
    return made.apply(module, seed=seed, rng=rng)


@doors.init_base_module.leads_to
def run_base_init_weights(module: nn.Module, *, compat: str | None, rng: Rng) -> None:
    """What ``BaseModule.init_weights`` does: the module's own rules, its children's, its Pretrained."""
    import logging

    run = active_run()
    if getattr(module, "is_init", False):
        if not module.__dict__.pop("_initcfg_built", False):
            logging.getLogger("initcfg").warning(
                "init_weights of %s has been called more than once.", type(module).__name__
            )
        return
    exact = compat is not None if run is None else run.compat
    root_name = "model" if run is None else run.part_name(module)
    program = Compiler(module, compat=exact, root_name=root_name).run(None, own_method=False)
    made = make_plan(module, program, compat=exact, strict=False, first_writes=defaults)
    for item in made.unused if run is None else ():
        logging.getLogger("initcfg").warning("%s reached nothing: %s.", item.rule, item.reason)
    if run is None:
        made.apply(module, rng=rng)
    else:
        run.run_part(made, module)


def build(
    config: str | Path | Mapping[str, Any],
    *,
    init: bool = True,
    seed: int | None = None,
    rng: Rng = "stream",
    compat: str | None = None,
    strict: bool = False,
) -> nn.Module:
    """A ready model from a config: build deferred, plan, apply; each weight is written once.

    Args:
        config: Path of a config file, a builder (``"timm:resnet18"``), a :class:`Config`, or a dict: one with
            ``model=dict(type=...)``, or such a model dict itself.
        init: Whether to initialize it too. If not, the model is *pending*, as after :class:`deferred`.
        seed: See :meth:`Plan.apply`; the constructors' own draws, which stay where no rule writes, depend
            on it too. Likewise ``rng``, and ``compat`` and ``strict`` of :func:`plan`.

    Example:
        >>> import initcfg
        >>> model = initcfg.build(dict(type="Linear", in_features=2, out_features=1))
        >>> type(model).__name__
        'Linear'
    """
    loaded, cfg = model_cfg(config)
    locate = locator(loaded)
    # With a seed, what the constructors draw (and no rule writes) depends on it too.
    drawn = contextlib.nullcontext() if seed is None else seeded(seed, "")
    with prepared(loaded, cfg), drawn, deferred(guard=not init):
        model = construct(cfg)
    if init:
        plan(model, compat=compat, strict=strict, locate=locate).apply(model, seed=seed, rng=rng)
        if has_init_weights(model):
            # The documented flow calls model.init_weights() next; that is no second call.
            model.__dict__["_initcfg_built"] = True
    return model


def construct(cfg: Mapping[str, Any]) -> nn.Module:
    """What a model's config builds, by its constructors alone: no rule is carried out, nothing deferred."""
    model = build_from_cfg(cfg, MODELS)
    if not isinstance(model, nn.Module):
        raise BuildError(f"The config builds a {type(model).__name__}, which is no torch.nn.Module.")
    return model


def model_cfg(config: str | Path | Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The whole config, and the model in it."""
    loaded = load_config(str(config)) if isinstance(config, (str, Path)) else config
    if not isinstance(loaded, (Mapping, Config)):
        raise BuildError(f"A config is a file or a dict, not {config!r}.")
    cfg: Any = loaded
    if "type" not in loaded:
        if "model" not in loaded:
            raise BuildError(
                "The config has no model: neither a key 'model' nor a key 'type'.",
                where=str(config) if isinstance(config, (str, Path)) else None,
                fix="Write model = dict(type=...).",
            )
        cfg = loaded["model"]
    if not isinstance(cfg, Mapping):
        raise BuildError(
            f"The config's model is {cfg!r}, and should be a dict.", fix="Write model = dict(type=...)."
        )
    return loaded, cfg


def locator(config: Any) -> Any:
    """A function from a rule's path to file and line, for rules that stand in a config file."""
    if not isinstance(config, Config):
        return None

    def locate(where: str, init_cfg: Any) -> Any:
        found: Any = config
        for part in where.split("."):
            found = found.get(part) if isinstance(found, Mapping) or hasattr(found, "get") else None
        # The path is the module's; only if the config says the same there, it was written there.
        return config.where if found is not None and found == init_cfg else None

    return locate


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Planning makes many small objects and no cycles; collecting meanwhile would only walk the model."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_compat(compat: str | None) -> bool:
    if compat not in (None, "mmengine"):
        raise PlanError(f"compat must be None or 'mmengine', not {compat!r}.")
    return compat is not None


def _model_in(model: nn.Module) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise PlanError(f"A plan is made for a torch.nn.Module, not for {model!r}.")
    return unwrapped(model)
