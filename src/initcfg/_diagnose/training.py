"""A few steps of training on the one batch: what moves, and how the loss goes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from initcfg._diagnose.facts import ProbeRun
from initcfg._diagnose.progress import tell
from initcfg._diagnose.task import Task
from initcfg._diagnose.untouched import Pairs, start_again
from initcfg._diagnose.users_code import users_code
from initcfg.errors import DiagnosisError, nearest

ALIVE_STEPS, _ALIVE_LR = 4, 1e-3
OPTIMIZERS: dict[str, Any] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}
_MOMENTUM = 0.9
# Hooks of the user run in both.
_BACKWARD, _STEP = "The backward pass failed in training", "The optimizer failed on the model"


def check_optimizer(name: Any) -> str:
    """The name of an optimizer that training is tried with.

    Raises:
        DiagnosisError: There is none of that name.
    """
    if isinstance(name, str) and name.lower() in OPTIMIZERS:
        return name.lower()
    meant = nearest(str(name), OPTIMIZERS)
    raise DiagnosisError(
        f"There is no optimizer {name!r} here.",
        meant=meant,
        fix="Write optimizer='adamw', 'adam' or 'sgd'; lr says how far it goes.",
    )


def made_optimizer(name: str, parameters: Iterable[torch.Tensor], lr: float) -> torch.optim.Optimizer:
    """An optimizer that works tensor by tensor, so that it needs no copy of the model for its arithmetic."""
    more = {"momentum": _MOMENTUM} if name == "sgd" else {}
    return OPTIMIZERS[name](list(parameters), lr=lr, foreach=False, **more)


def precision(
    dtype: str, device: torch.device, weights: torch.dtype
) -> contextlib.AbstractContextManager[Any]:
    """Autocast, where weights of more bits are computed in fewer; float16 on a GPU alone, see there."""
    if dtype == "bfloat16" and weights == torch.float32:
        return torch.autocast(device.type, torch.bfloat16)
    if dtype == "float16" and weights == torch.float32 and device.type == "cuda":
        return torch.autocast(device.type, torch.float16)
    return contextlib.nullcontext()


def moving(model: nn.Module, task: Task, names: Mapping[str, tuple[torch.Tensor, ...]]) -> set[str]:
    """The tensors that have a gradient in some of a few steps of Adam, by name."""
    optimizer = made_optimizer("adam", _trained(model), _ALIVE_LR)
    alive: set[str] = set()
    for _ in range(ALIVE_STEPS):
        optimizer.zero_grad()
        loss = task(model)
        if not math.isfinite(loss.item()) or not loss.requires_grad:
            break
        with users_code(_BACKWARD):
            loss.backward()
        alive |= {name for name, stored in names.items() if any(map(_has_gradient, stored))}
        with users_code(_STEP):
            optimizer.step()
    return alive


def _has_gradient(tensor: torch.Tensor) -> bool:
    return tensor.grad is not None and bool(tensor.grad.any())


def probed(
    model: nn.Module, pairs: Pairs, task: Task, *, optimizer: str, lr: float, steps: int, scaled: bool = False
) -> ProbeRun:
    """The loss before each step at this learning rate, and after the last; it ends where it is not finite."""
    start_again(model, pairs)
    return ProbeRun(lr, trained_losses(model, task, optimizer, lr, steps, scaled=scaled))


def trained_losses(
    model: nn.Module, task: Task, optimizer: str, lr: float, steps: int, *, scaled: bool = False
) -> tuple[float, ...]:
    """The loss before each step of training, and after the last; it ends where it is not finite."""
    stepping = made_optimizer(optimizer, _trained(model), lr)
    scaler = torch.amp.GradScaler(next(model.parameters()).device.type, enabled=scaled)
    losses: list[float] = []
    for step in range(steps + 1):
        if step < steps:
            tell(f"training at lr {lr:g}, step {step + 1} of {steps}")
        # After the last step too: a model may take gradients itself, of energies or for a penalty.
        with torch.enable_grad():
            loss = task(model)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or step == steps or not loss.requires_grad:
            break
        stepping.zero_grad()
        with users_code(_BACKWARD):
            scaler.scale(loss).backward()
        with users_code(_STEP):
            scaler.step(stepping)
            scaler.update()
    return tuple(losses)


def _trained(model: nn.Module) -> list[torch.Tensor]:
    found: list[torch.Tensor] = [each for each in model.parameters() if each.requires_grad]
    if not found:
        raise DiagnosisError(
            "No parameter of this model is trained: all have requires_grad=False.",
            fix="Diagnose it before it is frozen.",
        )
    return found
