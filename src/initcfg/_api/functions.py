"""The functions a person calls: plan, init_weights, build."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from initcfg._api.declared_roles import remember
from initcfg._api.untrusted import check_model, distrusted, distrusting, within_limits
from initcfg._apply import rehearsed
from initcfg._config import MODELS, build_from_cfg, idle_keys, load_config, prepared, told_of_misspelled_types
from initcfg._config.files import Config, is_untrusted, plain_containers
from initcfg._model import (
    fewer_collections,
    group_of_replicas,
    hold_shards,
    named_tensors,
    paused_collector,
    unwrapped,
)
from initcfg._plan import Ledger, Plan
from initcfg._plan.planner import NOTHING_GIVEN, RoleRequest, check_strict, make_plan, remembered_roles
from initcfg._record import defaults, deferred, lost_defaults, recall_defaults
from initcfg._record.recording import current_session
from initcfg._rules import Compiler, called_with, has_init_weights, is_initialized
from initcfg._rules.initializers import BaseInit
from initcfg._stream import check_settings
from initcfg._stream.bits import seed_number
from initcfg._stream.writing import seeded
from initcfg.errors import (
    BuildError,
    InitcfgError,
    PlanError,
    RuleTypeError,
    as_annotated,
    in_words,
    log,
    mistaken,
)

Rng = Literal["stream", "torch"]
SECOND_CALL = "init_weights of %s has been called more than once."
InitCfg = Mapping[str, Any] | Sequence[Any] | BaseInit | None


@as_annotated(PlanError, but=("model", "init_cfg"))
def plan(
    model: nn.Module,
    init_cfg: InitCfg = None,
    *,
    compat: str | None = None,
    strict: bool = False,
    example: Any = None,
    roles: Any = None,
) -> Plan:
    """What every parameter of ``model`` will be, by its rules; reads and writes no weight.

    Args:
        model: Any module. Its own ``init_cfg`` and those of the modules in it are its rules.
        init_cfg: Rules of an outer parent: they count as written around the model, so that the
            model's own beat them.
        compat: ``"mmengine"`` reaches exactly what the original reaches.
        strict: A rule that reaches nothing is an error.
        example: For rules by role: an example of the model's input, a tuple of its arguments, where its
            library has none of its own.
        roles: For rules by role: what a person says of them, ``dict(residual_out=["*.c_proj.weight"],
            blocks="transformer.h")``; or ``"names"``, to let the names of parameters decide.

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
    return located_plan(model, init_cfg, compat=compat, strict=strict, roles=RoleRequest(roles, example))


def located_plan(
    model: nn.Module,
    init_cfg: InitCfg = None,
    *,
    config: Any = None,
    compat: str | None,
    strict: bool,
    roles: RoleRequest = NOTHING_GIVEN,
    rehearse: bool = True,
) -> Plan:
    """See :func:`plan`; rules that are written in ``config``, if that is a config file, say where.

    ``rehearse``: Say what the model's own code means, for which it runs.
    """
    check_settings()
    exact = exact_reach(compat)
    model = _model_in(model)
    hold_shards(model)
    if init_cfg is not None and not isinstance(init_cfg, (Mapping, Sequence, BaseInit)):
        raise RuleTypeError(
            f"An init_cfg is a dict or a list of dicts, not {in_words(init_cfg)}.",
            fix="Write dict(type=...).",
        )
    with fewer_collections():
        with paused_collector(), within_limits() if is_untrusted(config) else contextlib.nullcontext():
            roles = roles.over(remembered_roles(model))
            made = _made(model, init_cfg, exact, _locator(config), roles, called_with(init_cfg))
        made = rehearsed(made, model) if rehearse else made
    if strict:
        check_strict(made, config.where if isinstance(config, Config) else lambda rule: None)
    return made


def _made(
    model: nn.Module, init_cfg: InitCfg, exact: bool, locate: Any, roles: RoleRequest, written: Any
) -> Plan:
    """The plan before the model's own code is rehearsed; what it took is let go of here."""
    names = named_tensors(model)
    if recall_defaults(names.pending):
        names.noted = True
    compiler = Compiler(
        model,
        compat=exact,
        locate=locate,
        example=roles.example,
        declared=roles.declared,
        names=names,
    )
    program = compiler.run(init_cfg, written=written)
    executed = [step.owner for step in program.steps if step.kind == "method"]
    return make_plan(
        model,
        program,
        compat=exact,
        names=names,
        first_writes=defaults,
        lost=lambda missing: lost_defaults(names, missing, executed),
        roles=roles,
    )


@as_annotated(PlanError, but=("model", "init_cfg"))
def init_weights(
    model: nn.Module,
    init_cfg: InitCfg = None,
    *,
    seed: int | None = None,
    rng: Rng = "stream",
    compat: str | None = None,
    strict: bool = False,
    atomic: bool = False,
    assign: bool = False,
    process_group: Any = None,
    collective: bool = False,
    example: Any = None,
    roles: Any = None,
) -> Ledger:
    """Plan and apply in one: see :func:`plan` and :meth:`Plan.apply`, for their arguments, too.

    A model that was initialized before (``is_init``) does not run its own rules again: a warning is logged,
    and only ``init_cfg`` is carried out, as that of a parent.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> model = nn.Linear(2, 1)
        >>> ledger = initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=1, bias=2))
        >>> model.weight.tolist(), model.bias.tolist()
        ([[1.0, 1.0]], [2.0])
    """
    asked = RoleRequest(roles, example)
    # Code that is recorded has its own code recorded when it runs.
    plain = current_session() is None
    made = located_plan(model, init_cfg, compat=compat, strict=strict, roles=asked, rehearse=plain)
    if process_group is None:
        process_group = group_of_replicas(model)
    if is_initialized(_model_in(model)):
        warn_of_second_call(model)
    ranks = {"process_group": process_group, "collective": collective}
    return made.apply(_model_in(model), seed=seed, rng=rng, atomic=atomic, assign=assign, **ranks)


@as_annotated(BuildError, but=("config",))
def build(
    config: str | Path | Mapping[str, Any],
    *,
    init: bool = True,
    seed: int | None = None,
    rng: Rng = "stream",
    compat: str | None = None,
    strict: bool = False,
    untrusted: bool = False,
) -> nn.Module:
    """A ready model from a config: build deferred, plan, apply; each weight is written once.

    Args:
        config: Path of a config file, a builder (``"timm:resnet18"``), a :class:`Config`, or a dict: one with
            ``model=dict(type=...)``, or such a model dict itself.
        init: Whether to initialize it too. If not, the model is *pending*, as after :class:`deferred`.
        seed: See :meth:`Plan.apply`; the constructors' own draws, which stay where no rule writes, depend
            on it too. Likewise ``rng``, and ``compat`` and ``strict`` of :func:`plan`.
        untrusted: Whether the config is somebody's whom you do not trust: see ``SECURITY.md``. A config that
            was read so is built so.

    Raises:
        UntrustedError: Under ``untrusted``, the config asks for what it may not.

    Example:
        >>> import initcfg
        >>> model = initcfg.build(dict(type="Linear", in_features=2, out_features=1))
        >>> type(model).__name__
        'Linear'
    """
    loaded, cfg = model_cfg(config, untrusted=untrusted)
    untrusted = untrusted or is_untrusted(loaded)
    # With a seed, what the constructors draw (and no rule writes) depends on it too.
    drawn = contextlib.nullcontext() if seed is None else _drawing_for(seed, rng)
    with within_limits() if untrusted else contextlib.nullcontext():
        with making(loaded, cfg, untrusted=untrusted), drawn, deferred(guard=not init):
            model = construct(cfg)
        if untrusted:
            check_model(loaded, model, in_memory=init)
        remember(loaded, model, untrusted=untrusted)
        if init:
            made = located_plan(model, config=loaded, compat=compat, strict=strict)
            made.apply(model, seed=seed, rng=rng)
            if has_init_weights(model):
                # The documented flow calls model.init_weights() next; that is no second call.
                model.__dict__["_initcfg_built"] = True
    return model


@contextlib.contextmanager
def _drawing_for(seed: int, rng: Rng) -> Iterator[None]:
    """Within, constructors draw what they draw for this seed; under torch's generator, in its order."""
    if rng == "torch":
        torch.manual_seed(seed_number(seed))
        yield
    else:
        with seeded(seed, ""):
            yield


@contextlib.contextmanager
def making(config: Any, cfg: Mapping[str, Any], *, untrusted: bool) -> Iterator[None]:
    """Within, a model may be constructed from its config."""
    try:
        with distrusting(cfg) if untrusted else contextlib.nullcontext(), prepared(config, cfg):
            yield
    except InitcfgError as error:
        # Further inside, nobody knows the file.
        prefix = "" if cfg is config else "model."
        below = _file_of(config, prefix + ".".join(error.key_path)) if error.key_path else None
        error.where = error.where or below or _file_of(config, "type" if cfg is config else "model")
        raise


def construct(cfg: Mapping[str, Any]) -> nn.Module:
    """What a model's config builds, by its constructors alone: no rule is carried out, nothing deferred."""
    with told_of_misspelled_types(cfg):
        model = build_from_cfg(cfg, MODELS)
    if not isinstance(model, nn.Module):
        raise BuildError(f"The config builds a {type(model).__name__}, which is not a torch.nn.Module.")
    return model


def model_cfg(
    config: str | Path | Mapping[str, Any], *, untrusted: bool = False
) -> tuple[Any, Mapping[str, Any]]:
    """The whole config, and the model in it."""
    read = isinstance(config, (str, Path))
    loaded = load_config(str(config), untrusted=untrusted) if read else config
    if not read and not isinstance(loaded, Config):
        loaded = plain_containers(loaded, package="omegaconf")
    if not isinstance(loaded, (Mapping, Config)):
        raise BuildError(
            f"A config is a file or a dict, not {in_words(config)}.", fix="Give a path, or dict(type=...)."
        )
    if "type" not in loaded and "model" not in loaded:
        raise BuildError(
            f"The config has no model: neither a key 'model' nor a key 'type'{mistaken('model', loaded)}.",
            where=_file_of(loaded),
            meant=["model"] if mistaken("model", loaded) else (),
            fix="Write model = dict(type=...).",
        )
    cfg: Any = loaded if "type" in loaded else loaded["model"]
    if not isinstance(cfg, Mapping):
        raise BuildError(
            f"The config's model is {cfg!r}, and should be a dict.",
            where=_file_of(loaded, "model"),
            fix="Write model = dict(type=...).",
        )
    for told in idle_keys(loaded):
        log("%s", told)
    return loaded, distrusted(cfg) if untrusted and not is_untrusted(loaded) else cfg


def _file_of(config: Any, key: str = "") -> str | None:
    """The file of a config, with the line of a key, of its type where that is known."""
    if not isinstance(config, Config):
        return None
    return config.where(f"{key}.type") or config.where(key) or config.filename


def _locator(config: Any) -> Any:
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


def warn_of_second_call(model: nn.Module) -> None:
    """As the original does; its own rules do not run again."""
    log(SECOND_CALL, type(unwrapped(model)).__name__)


def exact_reach(compat: str | None) -> bool:
    """Whether ``compat`` asks for exactly what the original reaches."""
    if compat not in (None, "mmengine"):
        raise PlanError(
            f"compat must be None or 'mmengine', not {compat!r}.", fix="Leave it out, or write 'mmengine'."
        )
    return compat is not None


def _model_in(model: nn.Module) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise PlanError(
            f"A plan is made for a torch.nn.Module, not for {in_words(model)}.", fix="Give the model itself."
        )
    return unwrapped(model)
