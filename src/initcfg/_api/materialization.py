"""Materialize: a model without memory gets it, and every tensor in it gets its numbers.

A large model is built on the meta device, sharded there, and given memory last, a rank its shards. What its
constructors meant is lost by then, buffers and ties too, so all of it comes from the plan.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from initcfg._api.functions import InitCfg
from initcfg._api.functions import plan as make_plan
from initcfg._apply import agreeing_ranks, check_fits
from initcfg._apply.ranks import Agreement
from initcfg._model import (
    Entry,
    Names,
    buffers_of,
    hold_shards,
    is_sharded,
    named_tensors,
    note_shards,
    parameters_of,
    replace_tensor,
)
from initcfg._plan import Ledger, Plan
from initcfg._record import close, is_closed, meta_defaults, waits
from initcfg.errors import ApplyError, ArgumentValueError, as_annotated, plural
from initcfg.values import Computed, Keep

_SHOWN = 4


@as_annotated(ApplyError, but=("init_cfg",))
def materialize(
    model: nn.Module,
    init_cfg: InitCfg = None,
    *,
    device: torch.device | str | None = None,
    plan: Plan | None = None,
    seed: int | None = None,
    process_group: Any = None,
    collective: bool = False,
    example: Any = None,
    roles: Any = None,
) -> Ledger:
    """Give a model that was built on the meta device its memory, and all its tensors their numbers.

    Build it under ``torch.device("meta")`` or :class:`initcfg.deferred`, shard it (``parallelize_module``,
    ``fully_shard``), then call this on every rank. Parameters and buffers come from the plan, each rank's
    shards alone; tensors that were one are one again.

    On the meta device constructors leave no trace. What no rule reaches is taken from ``reset_parameters``
    of the layers, where nothing else can have been meant; else it is an error, which names the code that may
    have been. ``plan=initcfg.trace(build)`` knows all that the constructors do.

    Args:
        model: The model.
        init_cfg: Rules, as for :func:`initcfg.plan`; not with ``plan``.
        device: Where to; by default the device of the meshes, or the CPU. Real tensors are moved there too.
        plan: The plan of this model, of :func:`initcfg.plan` or :func:`initcfg.trace`.
        seed: See :meth:`Plan.apply`, as for ``process_group`` and ``collective``.
        example, roles: See :func:`initcfg.plan`, for the rules; not with ``plan``.

    Raises:
        ApplyError: Nothing says what a tensor is to hold; or the plan is another model's. No memory has been
            given then.
        InitcfgError: See :func:`initcfg.plan` and :meth:`Plan.apply`.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> with torch.device("meta"):
        ...     model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        >>> ledger = initcfg.materialize(model, dict(type="Normal", layer="Linear", std=0.02), seed=0)
        >>> print(ledger["1.running_var"].value, model[1].running_var.tolist())
        Constant(1) [1.0, 1.0, 1.0, 1.0]
    """
    if isinstance(init_cfg, Plan):
        raise ApplyError(
            "Rules were to be given, and a plan was.", fix="Name it: initcfg.materialize(model, plan=plan)."
        )
    if plan is not None and init_cfg is not None:
        raise ApplyError("A plan and rules were given, and either says everything.", fix="Give one of them.")
    if plan is not None and not (example is None and roles is None):
        raise ApplyError(
            "A plan was given, and an example or roles, which are for making one.",
            fix="Give these to initcfg.plan.",
        )
    hold_shards(model)
    # A rank whose part of the model is refused lets all the others know.
    with Agreement(agreeing_ranks(model, process_group)):
        made = make_plan(model, init_cfg, example=example, roles=roles) if plan is None else plan
        names = named_tensors(model)
        names.refuse_lazy()
        check_fits(made, names, "stream", memory=False)
        _check_complete(made, model, names)
    with Agreement(agreeing_ranks(model, process_group)):
        replaced = _give_memory(model, _target(names, device))
    try:
        return made.apply(model, seed=seed, process_group=process_group, collective=collective)
    except BaseException:
        # Memory that holds no numbers yet must not be taken for a model's: the next plan would keep it.
        for module, name, tensor in replaced:
            replace_tensor(module, name, tensor)
        if not is_closed(model):
            close(
                model,
                "This model was given memory, which was taken back when its initialization was refused.",
            )
        raise


def _target(names: Names, device: torch.device | str | None) -> torch.device:
    if device is not None:
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise ArgumentValueError(
                f"device={device!r} is no device of torch.", fix="Write device='cpu' or device='cuda'."
            ) from error
    meshes = (entry.tensor.device_mesh for entry in names.entries.values() if is_sharded(entry.tensor))
    return next((torch.device(mesh.device_type) for mesh in meshes), torch.get_default_device())


def _check_complete(plan: Plan, model: nn.Module, names: Names) -> None:
    """Every tensor without memory must be said."""
    missing = [
        entry
        for entry in (*names.parameters, *names.buffers)
        if any(tensor.is_meta for tensor in entry.stored) and _says_nothing(plan, entry)
    ]
    if not missing:
        return
    first = missing[0]
    reasons = meta_defaults(names, missing).unwritten
    code = next((reason for entry in missing if (reason := reasons.get(entry.name))), None)
    listed = ", ".join(entry.name for entry in missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
    what = "buffer" if all(entry.buffer for entry in missing) else "tensor"
    raise ApplyError(
        f"Nothing says what {plural(len(missing), what)} of this model should hold: {listed}."
        + (f" It may be {code} that does, and on the meta device its work is lost." if code else ""),
        parameter=first.name,
        shape=first.shape,
        fix="Apply the plan of the code that builds it (plan=initcfg.trace(build)), build it under "
        "initcfg.deferred(), or give them rules.",
    )


def _says_nothing(plan: Plan, entry: Entry) -> bool:
    item = plan.parameters.get(entry.name) or plan.buffers.get(entry.name)
    if entry.name in plan.before_code or 0 in entry.shape:
        # The model's own code decides; or there is nothing to say.
        return False
    return item is None or isinstance(item.value, (Keep, Computed))


def _give_memory(model: nn.Module, device: torch.device) -> list[tuple[nn.Module, str, torch.Tensor]]:
    """Put tensors with memory in the place of those without; the result says what was where before."""
    replaced: list[tuple[nn.Module, str, torch.Tensor]] = []
    made: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    with torch.no_grad():
        for module in model.modules():
            for name, tensor in (*parameters_of(module).items(), *buffers_of(module).items()):
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    made[id(tensor)] = tensor, _with_memory(tensor, device)
                if made[id(tensor)][1] is not tensor:
                    replace_tensor(module, name, made[id(tensor)][1])
                    replaced.append((module, name, tensor))
    if any(is_sharded(new) and new is not old for old, new in made.values()):
        note_shards(model)
    return replaced


def _with_memory(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if tensor.is_meta or (waits(tensor) and not is_sharded(tensor) and tensor.device != device):
        new = torch.empty_like(tensor, device=device)
    elif is_sharded(tensor) or tensor.device == device:
        return tensor
    else:
        new = tensor.to(device)
    if isinstance(tensor, nn.Parameter):
        new = nn.Parameter(new, requires_grad=tensor.requires_grad)
    # What others have noted on it: which it shares, whether it decays, what its constructor meant.
    for name, noted in vars(tensor).items():
        if name not in vars(new):
            setattr(new, name, noted)
    return new
