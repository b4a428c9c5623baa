"""Built: what a model holds as its constructors leave it, where no plan says it: tables, loaded data."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from initcfg._api.locks.words import digest, value_text
from initcfg._model import named_tensors
from initcfg._plan import Assignment, Plan
from initcfg._stream.writing import all_the_same, as_array
from initcfg.values import Computed, Constant, Keep

_NOT_FINITE = "not_finite="
# Of a larger sparse tensor, a dense copy may be more than there is memory for.
_MOST_DENSE = 1 << 24


@dataclass(frozen=True)
class Built:
    """What a model holds that was built, and not initialized.

    Attributes:
        others: The buffers of which the plan does not speak.
        held: In words, what these hold, and what the plan keeps or only code has computed.
        unsaved: Names of the buffers that no state_dict has.
    """

    others: dict[str, torch.Tensor] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    unsaved: frozenset[str] = frozenset()


def built_of(model: nn.Module, plan: Plan) -> Built:
    """What a model holds, of which the plan was made."""
    names = named_tensors(model)
    others = {entry.name: entry.tensor for entry in names.buffers if entry.name not in plan.buffers}
    held = {name: held_text(tensor) for name, tensor in others.items()}
    # Memory that nobody wrote holds something else each time.
    unwritten = {*plan.uninitialized, *plan.partly_written}
    for entry in (*names.parameters, *names.buffers):
        item = plan.parameters.get(entry.name) or plan.buffers.get(entry.name)
        if item is not None and _is_as_built(item) and item.name not in unwritten and not entry.originals:
            text = held_text(entry.tensor)
            if text != value_text(Keep()):
                held[entry.name] = text
    return Built(others, held, names.unsaved)


def _is_as_built(item: Assignment) -> bool:
    """Whether the tensor starts with what the constructor left in it."""
    return item.rule is None and isinstance(item.value, (Keep, Computed))


def is_finite(held: str) -> bool:
    """Whether all that some words tell of are numbers: memory for draws holds none until these are made."""
    return _NOT_FINITE not in held


def held_text(tensor: torch.Tensor) -> str:
    """What a tensor holds: integers by a digest; others in four digits, which all processors agree in, too.

    Functions such as ``sin`` may end in other bits on another processor; so a check tells these apart.
    """
    if not tensor.is_meta and tensor.is_sparse and tensor.numel() <= _MOST_DENSE:
        tensor = tensor.detach().to_dense()
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.numel() == 0:
        return value_text(Keep())
    tensor = tensor.detach().cpu().contiguous()
    if not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized):
        return _exact_text(tensor)
    whole = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    numbers = (whole.dequantize() if whole.is_quantized else whole).to(torch.float64).reshape(-1)
    if all_the_same(numbers) and not bool(numbers[0].isnan()):
        return value_text(Constant(float(numbers[0])))
    finite = numbers[numbers.isfinite()]
    parts: list[str] = []
    if finite.numel():
        # No mean: of numbers that cancel out, it is what rounding left.
        spread = {"min": finite.min(), "max": finite.max(), "rms": finite.square().mean().sqrt()}
        # With weights by place: the same numbers in another order are another buffer.
        places = torch.arange(1, finite.numel() + 1, dtype=torch.float64, device="cpu")
        spread["placed"] = (finite * places / finite.numel()).square().mean().sqrt()
        parts = [f"{name}={float(number):.4g}" for name, number in spread.items()]
    if finite.numel() < numbers.numel():
        parts.append(f"{_NOT_FINITE}{numbers.numel() - finite.numel()}")
        # NaN has many bits; which of them a draw's memory holds says nothing.
        numbers = numbers.nan_to_num(nan=0.0)
    parts.append(f"bits={digest(as_array(numbers).tobytes())}")
    return f"Kept({', '.join(parts)})"


def _exact_text(tensor: torch.Tensor) -> str:
    """What a tensor of integers or truths holds."""
    told = digest(as_array(tensor.reshape(-1).view(torch.uint8)).tobytes())
    try:
        # By NumPy: torch has no minimum of unsigned integers.
        numbers = as_array(tensor)
    except KeyError:
        # A type that NumPy does not have.
        return f"Kept(sha256={told})"
    low, high = int(numbers.min()), int(numbers.max())
    if low == high and int(float(low)) == low:
        return value_text(Constant(float(low)))
    return f"Kept(min={low}, max={high}, sha256={told})"
