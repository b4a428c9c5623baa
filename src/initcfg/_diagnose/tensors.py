"""The parameters of a model after a pass: their numbers, and those of their gradients."""

from __future__ import annotations

import math

import torch
from torch import nn

from initcfg._diagnose.checks import TensorSeen
from initcfg._diagnose.measuring import largest, rms
from initcfg._model import Entry, named_tensors

_BINS = 32
_TINY = 6e-8
# Weights this small start near zero by design, and any step is large beside them.
_NEAR_ZERO = 1e-4
_FEWEST_ROWS = 4


def tensors_seen(
    model: nn.Module, optimizer: str, lr: float, multiplied: frozenset[str] = frozenset()
) -> dict[str, TensorSeen]:
    """Each parameter by its canonical name.

    Args:
        multiplied: Parameters that functions multiply by, without a module.
    """
    names = named_tensors(model)
    weights = (getattr(module, "weight", None) for module in model.modules())
    layers = {id(each) for each in weights if isinstance(each, torch.Tensor) and each.dim() >= 2}
    found = {}
    with torch.no_grad():
        for entry in names.parameters:
            is_layer = id(entry.tensor) in layers or entry.holder is not None or entry.name in multiplied
            seen = _seen(entry, is_layer=is_layer)
            _add_gradient(seen, entry, optimizer, lr)
            found[entry.name] = seen
    return found


def _seen(entry: Entry, *, is_layer: bool) -> TensorSeen:
    weight = (entry.tensor if entry.holder is None else getattr(*entry.holder)).detach()
    far = largest(weight)
    finite = math.isfinite(far)
    edges, histogram = (0.0, 0.0), (0,) * _BINS
    mean = 0.0
    if finite and weight.numel():
        low, high = (each.item() for each in torch.aminmax(weight))
        edges = low, high
        mean = weight.mean(dtype=torch.float32).item()
        histogram = _histogram(weight, low, high)
    return TensorSeen(
        entry.name,
        entry.name.rpartition(".")[0],
        tuple(weight.shape),
        str(weight.dtype).removeprefix("torch."),
        trained=any(each.requires_grad for each in entry.stored),
        finite=finite,
        rms=rms(weight) if finite else math.nan,
        mean=mean,
        largest=far,
        edges=edges,
        histogram=histogram,
        equal_rows=_equal_rows(weight) if is_layer and finite else None,
        layer=is_layer,
    )


def _histogram(weight: torch.Tensor, low: float, high: float) -> tuple[int, ...]:
    if low == high:
        return (weight.numel(), *(0,) * (_BINS - 1))
    numbers = weight if weight.dtype in (torch.float32, torch.float64) else weight.float()
    return tuple(int(each) for each in torch.histc(numbers, _BINS, low, high).tolist())


def _equal_rows(weight: torch.Tensor) -> float | None:
    if weight.dim() < 2 or weight.shape[0] < _FEWEST_ROWS or weight.numel() == weight.shape[0]:
        return None
    rows = weight.flatten(1)
    first = rows[0]
    if not bool(first.any()):
        # Rows of zeros, of padding perhaps, are none of these.
        first = next((row for row in rows[1:_FEWEST_ROWS] if bool(row.any())), None)
        if first is None:
            return None
    return (rows == first).all(1).float().mean().item()


def _add_gradient(seen: TensorSeen, entry: Entry, optimizer: str, lr: float) -> None:
    gradients = [each.grad for each in entry.stored if each.grad is not None]
    if not gradients:
        return
    seen.used = True
    count = sum(each.numel() for each in gradients) or 1
    moved = sum(int(torch.count_nonzero(each)) for each in gradients)
    seen.zero_gradient = moved == 0
    seen.moved = moved / count
    seen.gradient_rms = math.sqrt(sum(rms(each) ** 2 * each.numel() for each in gradients) / count)
    seen.gradients = moved
    seen.pull = sum(_product(each, each.grad) for each in entry.stored)
    seen.tiny_gradients = sum(int(((each != 0) & (each.abs() < _TINY)).sum()) for each in gradients)
    wide = sum(size > 1 for size in seen.shape) >= 2
    if wide and moved and seen.finite and seen.rms >= _NEAR_ZERO:
        # Adam's first step is the learning rate itself, wherever there is a gradient.
        step = lr * seen.gradient_rms if optimizer == "sgd" else lr * math.sqrt(seen.moved)
        seen.update = step / seen.rms


def _product(weight: torch.Tensor, gradient: torch.Tensor | None) -> float:
    if gradient is None or not weight.numel():
        return 0.0
    gradient = gradient.to_dense() if gradient.layout is not torch.strided else gradient
    return torch.dot(weight.detach().flatten().float(), gradient.flatten().float()).item()


def norm_of(model: nn.Module) -> float:
    """The norm of the gradient of all parameters."""
    norms = [
        torch.linalg.vector_norm(each.grad, dtype=torch.float64)
        for each in model.parameters()
        if each.grad is not None
    ]
    return torch.stack(norms).norm().item() if norms else 0.0
