"""What torch refuses, with an error that code may expect: it is refused where the code stands, not later."""

from __future__ import annotations

from typing import Any

import torch

from initcfg._model import storage_of
from initcfg._record.recording.aten import Args, Kwargs, disjoint, draws
from initcfg._record.recording.leaves import leaves, mapped
from initcfg._record.recording.regions import region_of

# The largest number of half precision, and of that the half, for the distance of two.
MOST = 65504.0
FAR = 32752.0


def is_ordinary(numbers: Args, kwargs: Kwargs) -> bool:
    """Whether numbers are of those that torch lets any type be filled with, or drawn between."""
    if kwargs or not all(type(each) in (int, float) and -FAR <= each <= FAR for each in numbers):
        return False
    return len(numbers) != 2 or 0 <= numbers[0] <= numbers[1]


def try_numbers(func: Any, args: Args, kwargs: Kwargs) -> None:
    """Do an operation in place on a few numbers, so that torch refuses what it does not take."""
    # For one, torch has another way, that looks at less.
    few = torch.zeros(2, dtype=args[0].dtype, device="cpu")
    if draws(func):
        kwargs = {**kwargs, "generator": torch.Generator()}
    func(few, *args[1:], **kwargs)


def may_be_refused(func: Any, args: Args, kwargs: Kwargs, targets: list[torch.Tensor]) -> bool:
    """Whether torch may not do this in place, as far as no numbers in tensors decide; it says so itself."""
    items = leaves((args, kwargs))
    tensors = [item for item in items if isinstance(item, torch.Tensor)]
    if len(tensors) == 1 and draws(func):
        try_numbers(func, args, kwargs)
    if any(isinstance(each, complex) or (isinstance(each, float) and abs(each) > MOST) for each in items):
        # It depends on the type.
        return True
    for target in targets:
        if not disjoint(target) or any(_overlap(target, each) for each in tensors):
            return True
    try:
        func(*mapped(_on_meta, args), **mapped(_on_meta, kwargs))
    except NotImplementedError:
        return False
    except Exception:
        return True
    return False


def _overlap(target: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors share some of their memory, and are not the same there."""
    if other is target or storage_of(other) != storage_of(target):
        return False
    here, there = region_of(target), region_of(other)
    return here != there and not here.apart(there)


def _on_meta(item: Any) -> Any:
    if not isinstance(item, torch.Tensor):
        return item
    return torch.empty_strided(item.shape, item.stride(), dtype=item.dtype, device="meta")
