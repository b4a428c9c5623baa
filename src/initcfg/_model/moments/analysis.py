"""The analysis of a model: which standard deviation each weight needs, from shapes alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from initcfg._model.moments.distribution import Distribution, constant, gaussian
from initcfg._model.moments.propagation import Propagation, Seen
from initcfg._model.names import named_tensors, unwrapped
from initcfg._model.roles import arguments_of, stand_in
from initcfg.errors import RoleError


def analyzed(
    model: nn.Module,
    example: Any,
    target: Callable[[str], float],
    *,
    centers: bool = True,
    preserve: str = "forward",
) -> Seen:
    """What standard deviation each weight needs so that its output has its target.

    The model itself is not run: a stand-in on the meta device is, on inputs of the example's shapes. Inputs
    are taken for Gaussian of variance 1. ``centers``: where a layer's input has a mean, the mean of the
    weights is taken out, so that it goes no further. ``preserve``: ``"forward"`` for outputs, ``"backward"``
    for gradients where only a function stands before a weight, ``"both"`` for the geometric mean of the two.

    Raises:
        RoleError: There is no example, or the model cannot run without memory.
    """
    problems: list[Exception] = []
    for arguments in arguments_of(model, example):
        try:
            return _pass(model, arguments, target, centers, preserve)
        except Exception as error:
            problems.append(error)
    error = problems[0]
    raise RoleError(
        f"The model cannot be run without memory: {type(error).__name__}: {error}",
        fix="Use mode='empirical', with a batch.",
    ) from error


def _pass(
    model: nn.Module, arguments: Any, target: Callable[[str], float], centers: bool, preserve: str
) -> Seen:
    real = named_tensors(model)
    made = stand_in(model, "meta")
    made.train(unwrapped(model).training)
    names = named_tensors(made)
    held = {entry.name: entry.tensor for entry in real.entries.values()}
    weights = {
        entry.name: entry.tensor
        for entry in names.parameters
        if entry.tensor.dim() >= 2 and entry.holder is None and max(entry.shape) < entry.tensor.numel()
    }
    zero = {f"{name.removesuffix('weight')}bias" for name in weights if name.endswith("weight")}
    others = {
        id(entry.tensor): constant(0.0) if entry.name in zero else _held(entry.name, held.get(entry.name))
        for entry in (*names.parameters, *names.buffers)
        if entry.name not in weights and entry.tensor.is_floating_point()
    }
    known = {key: each for key, each in others.items() if each is not None}
    mode = Propagation(weights, known, target, centers=centers, preserve=preserve)
    positional, named = arguments
    moved = (
        [_moved(each, mode) for each in positional],
        {key: _moved(each, mode) for key, each in named.items()},
    )
    with torch.no_grad(), torch.device("meta"), mode:
        made(*moved[0], **moved[1])
    return mode.seen


def _moved(value: Any, mode: Propagation) -> Any:
    if isinstance(value, torch.Tensor):
        made = torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
        mode.begin_with(made)
        return made
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(each, mode) for each in value)
    return {key: _moved(each, mode) for key, each in value.items()} if isinstance(value, dict) else value


def _held(name: str, tensor: torch.Tensor | None) -> Distribution | None:
    """What a small parameter or a buffer holds, where it has numbers; else what its name says."""
    last = name.rpartition(".")[2]
    if tensor is None or tensor.is_meta or not tensor.numel() or hasattr(tensor, "_initcfg_default"):
        return constant(0.0 if "bias" in last or "beta" in last else 1.0)
    numbers = tensor.detach().double()
    if not bool(torch.isfinite(numbers).all()):
        return None
    mean, second = float(numbers.mean()), float(numbers.square().mean())
    if second - mean**2 <= 1e-9 * max(second, 1e-30):
        return constant(mean)
    return gaussian(second, mean**2, mean)
