"""Parameter groups: a plan's multipliers of learning rate, weight decay and eps, as optimizers take them."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from initcfg._model import Entry, block_of, named_tensors, targets, unwrapped
from initcfg._plan import Plan
from initcfg.errors import ArgumentValueError, PlanError, as_annotated, nearest, plural

Optimizer = Literal["adamw", "adam", "sgd", "muon"]
# What a plan that was made for the first may be given to.
_FITTING = {"adamw": ("adamw", "muon"), "adam": ("adam",), "sgd": ("sgd",)}
_NOT_HIDDEN = {"embedding", "position", "head", "stem", "router"}


@dataclass(frozen=True)
class _Numbers:
    """What the parameters of a group have in common."""

    lr: float
    weight_decay: float
    eps: float | None
    by_muon: bool


@as_annotated(PlanError, but=("no_decay",))
def param_groups(
    model: nn.Module,
    plan: Plan,
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps: float = 1e-8,
    optimizer: Optimizer = "adamw",
    no_decay: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The parameters of ``model`` in groups, each with its learning rate, weight decay and eps.

    A plan of a scheme such as ``MuP`` has multipliers (``plan[name].tune``). The groups go as they are into
    an optimizer of torch, ``transformers.Trainer(optimizers=...)``, or what Lightning's
    ``configure_optimizers`` returns; schedulers keep the ratios.

    Args:
        model: The model; frozen parameters are left out.
        plan: Its plan.
        lr: Learning rate of what has no multiplier: that of the base.
        weight_decay: Weight decay, likewise.
        eps: Of Adam, likewise.
        optimizer: What the groups are for. A scheme is made for one (``MuP(optimizer="sgd")``), since the
            multipliers differ. ``"muon"`` has the matrices of blocks in groups with ``use_muon=True``, whose
            learning rate is ``lr`` by what a scheme says of the depth alone (Muon's steps do not grow with
            the width), all else with ``use_muon=False`` for AdamW.
        no_decay: Patterns of names that have no weight decay: ``("*.bias", "*norm*")``.

    Returns:
        Groups with the keys ``params``, ``names``, ``lr``, ``weight_decay``, ``eps`` (not of SGD), and
        ``initcfg``: what is in it, in words.

    Raises:
        PlanError: The plan lacks a parameter, has it in another shape, or was made for another optimizer.
        ArgumentValueError: An argument is none; a pattern of ``no_decay`` matches nothing.

    Example:
        >>> import initcfg
        >>> from torch import nn, optim
        >>> model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
        >>> rules = dict(type="Normal", layer="Linear", std=0.02, tune=dict(lr="8/fan_in"))
        >>> groups = initcfg.param_groups(model, initcfg.plan(model, rules), lr=0.1)
        >>> [(group["lr"], group["initcfg"]) for group in groups]
        [(0.1, '3 tensors'), (0.025, 'lr ×0.25, 1 tensor')]
        >>> optimizer = optim.AdamW(groups)
    """
    _check_arguments(lr=lr, weight_decay=weight_decay, eps=eps, optimizer=optimizer, no_decay=no_decay)
    model = unwrapped(model)
    names = named_tensors(model)
    names.refuse_lazy()
    _check_patterns(no_decay, [name for entry in names.parameters for name in entry.names])
    hidden = _hidden_matrices(model, plan) if optimizer == "muon" else set()
    groups: dict[_Numbers, list[tuple[str, Any]]] = {}
    for entry in names.parameters:
        tune = _tune_of(entry, plan, optimizer)
        decays = not any(fnmatch.fnmatchcase(name, each) for name in entry.names for each in no_decay)
        by_muon = entry.name in hidden
        scale = _of_muon(tune) if by_muon else tune
        numbers = _Numbers(
            lr * scale.get("lr", 1.0),
            weight_decay * scale.get("weight_decay", 1.0) if decays else 0.0,
            None if optimizer == "sgd" or by_muon else eps * scale.get("eps", 1.0),
            by_muon,
        )
        for tensor in entry.stored:
            if tensor.requires_grad:
                groups.setdefault(numbers, []).append((entry.name, tensor))
    _check_all_there(plan, {name for entry in names.parameters for name in entry.names})
    return [_group(each, found, lr, optimizer) for each, found in groups.items()]


def _check_arguments(*, optimizer: str, no_decay: Any, **numbers: Any) -> None:
    known = get_args(Optimizer)
    if optimizer not in known:
        raise ArgumentValueError(
            f"optimizer is one of {', '.join(known)}, not {optimizer!r}.",
            meant=nearest(str(optimizer), known),
            fix=f"Write {known[0]!r}, for one.",
        )
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < float("inf"):
            raise ArgumentValueError(
                f"{name} is a finite number of at least 0, not {number!r}.", fix="Write a number from 0 on."
            )
    listed = isinstance(no_decay, Collection) and not isinstance(no_decay, str)
    if not listed or not all(isinstance(each, str) for each in no_decay):
        raise ArgumentValueError(
            f"no_decay is a list of patterns, not {no_decay!r}.", fix="Write no_decay=('*.bias', '*norm*')."
        )


def _check_all_there(plan: Plan, names: set[str]) -> None:
    """Refuse a plan of a larger model, whose multipliers are for another depth or width."""
    there = names | {plan.aliases[name] for name in names if name in plan.aliases}
    missing = [name for name in plan if name not in there]
    if missing:
        raise PlanError(
            f"The plan has {plural(len(missing), 'parameter')} that the model lacks: it was made for another "
            "model, or before a part was taken away.",
            parameter=missing[0],
            meant=nearest(missing[0], sorted(names)),
            fix="Plan this model.",
        )


def _check_patterns(no_decay: Sequence[str], names: list[str]) -> None:
    for pattern in no_decay:
        if not fnmatch.filter(names, pattern):
            raise ArgumentValueError(
                f"no_decay: {pattern!r} matches no parameter.",
                meant=nearest(pattern, names),
                fix="Give whole names of parameters; '*' stands for any run of characters, dots too.",
            )


def _tune_of(entry: Entry, plan: Plan, optimizer: str) -> Mapping[str, Any]:
    found = next((plan[name] for name in (entry.name, *entry.names) if name in plan), None)
    if found is None:
        raise PlanError(
            "The plan has no such parameter: it was made for another model, or before a part was added.",
            parameter=entry.name,
            shape=entry.shape,
            meant=nearest(entry.name, list(plan)),
            fix="Plan this model.",
        )
    if tuple(found.shape) != tuple(entry.shape):
        raise PlanError(
            f"The plan was made for another model: this parameter has shape {tuple(entry.shape)}, and "
            f"{tuple(found.shape)} in the plan, for which its multipliers are.",
            parameter=entry.name,
            shape=entry.shape,
            fix="Plan this model.",
        )
    made_for = found.tune.get("optimizer")
    if isinstance(made_for, str) and optimizer not in _FITTING[made_for]:
        raise PlanError(
            f"The multipliers of this plan are for {made_for}, and {optimizer} is asked for: they differ.",
            parameter=entry.name,
            where=found.rule,
            fix=f"Plan with the scheme's optimizer={optimizer!r}, or ask for optimizer={made_for!r}.",
        )
    return found.tune


def _of_muon(tune: Mapping[str, Any]) -> dict[str, float]:
    """Multipliers for Muon; what decays a weight, the product of both, stays as in the base."""
    rate = tune.get("muon", 1.0)
    return {"lr": rate, "weight_decay": 1 / rate if rate else 1.0}


def _hidden_matrices(model: nn.Module, plan: Plan) -> set[str]:
    """The parameters that Muon is for: matrices, but for embeddings and heads."""
    candidates = list(_matrices(model))
    known = {name: set(role.roles) for name in candidates if (role := plan[name].role) is not None}
    if any(roles & {"head", "embedding"} for roles in known.values()):
        return {name for name in candidates if known.get(name) and not known[name] & _NOT_HIDDEN}
    in_blocks = {name for name in candidates if block_of(name) is not None}
    # Of a plain stack of layers, the first reads the data, and the last is the head.
    return in_blocks or set(candidates[1:-1])


def _matrices(model: nn.Module) -> Iterator[str]:
    names = named_tensors(model)
    tables = {
        id(module.weight)
        for module in names.module_of.values()
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    }
    known = {id(tensor): slot for module in names.module_of.values() for tensor, slot, *_ in targets(module)}
    for entry in names.parameters:
        tensor = entry.stored[0]
        if tensor.dim() == 2 and id(tensor) not in tables and known.get(id(tensor)) == "weight":
            yield entry.name


def _group(numbers: _Numbers, found: list[tuple[str, Any]], lr: float, optimizer: str) -> dict[str, Any]:
    ratio = numbers.lr / lr if lr else 1.0
    told = [f"lr ×{ratio:.6g}"] if ratio != 1.0 else []
    if numbers.by_muon:
        told.append("by Muon")
    group: dict[str, Any] = {
        "params": [tensor for _, tensor in found],
        "names": [name for name, _ in found],
        "lr": numbers.lr,
        "weight_decay": numbers.weight_decay,
        "initcfg": ", ".join([*told, plural(len(found), "tensor")]),
    }
    if numbers.eps is not None:
        group["eps"] = numbers.eps
    if optimizer == "muon":
        group["use_muon"] = numbers.by_muon
    return group
