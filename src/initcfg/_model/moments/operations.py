"""Operations: what a softmax, a mean and the like make of what elements are like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from initcfg._model.moments.distribution import Distribution, constant
from initcfg._model.moments.nodes import by_size


def with_tensors(
    args: Any, kwargs: Any, names: Sequence[torch.Tensor], values: Sequence[torch.Tensor]
) -> Any:
    """The arguments with tensors in the places of others."""
    left = list(values)
    return tree_map_only(torch.Tensor, lambda _: left.pop(0), (args, dict(kwargs)))


def called(func: Any, taken: Any) -> torch.Tensor:
    """An operation on the nodes; one in place leaves them alone."""
    args, kwargs = taken
    kwargs = {
        key: each for key, each in kwargs.items() if key not in ("dtype", "device", "layout", "memory_format")
    }
    if func.overloadpacket.__name__.endswith("_"):
        shapes = [each.shape for each in args if isinstance(each, torch.Tensor)]
        args = (args[0].expand(torch.broadcast_shapes(*shapes)).clone(), *args[1:])
    made = func(*args, **kwargs)
    return made if isinstance(made, torch.Tensor) else made[0]


def squares_of(spread: float, keys: int, masked: bool) -> float:
    """Mean of Σ a² of a softmax over Gaussian scores of this variance; masked, over 1, 2, ... of them."""
    heavy = math.exp(min(spread, 50.0))
    if masked:
        return sum(min(heavy / count, 1.0) for count in range(1, keys + 1)) / keys
    return min(heavy / keys, 1.0)


def softmax(scores: Distribution, keys: int) -> Distribution:
    """A softmax: of its weights, only the sum of their squares is known."""
    spread = scores.second - scores.mean**2
    found = constant(1.0 / keys)
    return replace(found, squares=squares_of(spread, keys, scores.masked), masked=scores.masked)


def reduced(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], tensor: torch.Tensor, found: Distribution
) -> Distribution:
    """A mean, a sum and the like, over channels or positions."""
    rank = tensor.dim()
    given = args[1] if len(args) > 1 else kwargs.get("dim")
    if name in ("linalg_vector_norm", "norm"):
        given = args[2] if len(args) > 2 else None
    dims = (
        given
        if isinstance(given, (list, tuple))
        else [given]
        if isinstance(given, int)
        else list(range(rank))
    )
    dims = [each % rank for each in dims if isinstance(each, int)] or list(range(rank))
    count = math.prod(tensor.shape[each] for each in dims)
    channels = 1 if rank == 4 else rank - 1
    if name in ("var", "std", "var_mean"):
        power = 0.5 if name == "std" else 1.0
        return found.of_samples(lambda grid: (by_size(grid.square()) - by_size(grid).square()) ** power)
    if name in ("linalg_vector_norm", "norm"):
        return found.of_samples(lambda grid: (count * by_size(grid.square())).sqrt())
    if name == "amax":
        return found.largest(count)
    made = found.of_samples(by_size) if channels in dims else found.averaged(1.0 / count)
    return made if name != "sum" else Distribution(made.values * count, made.source)
