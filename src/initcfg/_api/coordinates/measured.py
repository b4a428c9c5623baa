"""The training at each width, and the slopes that it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from initcfg._diagnose import Batch, as_batch, batch_for, first_tensor, loss_of
from initcfg.errors import ArgumentError

LIMIT = 0.1
"""How far from 0 a slope may lie."""
ZERO = 1e-30
"""What a size of zero is taken for, which has no logarithm."""

Made = tuple[nn.Module, list[dict[str, Any]]]
"""A model with its weights, and the groups that its optimizer takes."""


@dataclass(frozen=True)
class Curve:
    """The output of one module.

    Attributes:
        sizes: Mean of its absolute values, by width and then by step: the geometric mean of all seeds.
        slope: Of the logarithm of that on the logarithm of the width, after the last step.
    """

    sizes: tuple[tuple[float, ...], ...]
    slope: float

    @property
    def passes(self) -> bool:
        """Whether it keeps its size."""
        return abs(self.slope) <= LIMIT


@dataclass(frozen=True)
class Coordinates:
    """What a coordinate check has found.

    Attributes:
        widths: The widths.
        curves: By module: of each block, what it holds directly, and all that is in no block.
        losses: By width and then by step: the mean of all seeds.
        seeds: Number of seeds.
    """

    widths: tuple[float, ...]
    curves: Mapping[str, Curve]
    losses: tuple[tuple[float, ...], ...]
    seeds: int
    notes: tuple[str, ...] = field(default=())

    @property
    def passes(self) -> bool:
        """Whether all modules keep their size."""
        return all(each.passes for each in self.curves.values())

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "passes": self.passes,
            "limit": LIMIT,
            "widths": list(self.widths),
            "seeds": self.seeds,
            "modules": {
                name: {"slope": each.slope, "passes": each.passes, "sizes": [list(row) for row in each.sizes]}
                for name, each in self.curves.items()
            },
            "losses": [list(row) for row in self.losses],
        }


def measure(
    make: Callable[[float, int], Made],
    widths: Sequence[float],
    *,
    seeds: int = 3,
    steps: int = 3,
    example: Any = None,
    optimizer: str = "adamw",
) -> Coordinates:
    """Train a few steps at each width, and see how large the modules' outputs are.

    Args:
        make: From a width and a seed to a model and its parameter groups.
        widths: At least two.
        steps: Steps of training before the outputs are compared.
        example: Arguments of the model: a tensor, a tuple, or a dict by name; else what the model tells.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
    """
    if len(set(widths)) < 2 or min(widths) <= 0:
        raise ArgumentError(
            f"A slope needs two widths above 0, and these are {', '.join(f'{each:g}' for each in widths)}.",
            fix="Write --vary hidden_size=64,128,256,512.",
        )
    given = None if example is None else as_batch(example)
    sizes: dict[str, list[list[float]]] = {}
    losses: list[list[float]] = []
    for place, width in enumerate(widths):
        runs = [_train(*make(width, seed), steps, given, optimizer) for seed in range(seeds)]
        losses.append([sum(row) / seeds for row in zip(*(lost for _, lost in runs), strict=True)])
        for name in runs[0][0]:
            logs = [[math.log(max(each, ZERO)) for each in seen[name]] for seen, _ in runs]
            means = [math.exp(sum(row) / seeds) for row in zip(*logs, strict=True)]
            sizes.setdefault(name, [])
            if len(sizes[name]) == place:
                sizes[name].append(means)
    whole = {name: rows for name, rows in sizes.items() if len(rows) == len(widths)}
    curves = {
        name: Curve(tuple(map(tuple, rows)), _slope(widths, [row[-1] for row in rows]))
        for name, rows in whole.items()
    }
    return Coordinates(tuple(widths), curves, tuple(map(tuple, losses)), seeds)


def _slope(widths: Sequence[float], sizes: Sequence[float]) -> float:
    """The slope of a straight line through the logarithms, by least squares."""
    if not all(map(math.isfinite, sizes)):
        return math.inf
    x, y = [math.log(each) for each in widths], [math.log(each) for each in sizes]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((each - middle_x) ** 2 for each in x)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / spread


def _train(
    model: nn.Module, groups: list[dict[str, Any]], steps: int, given: Batch | None, optimizer: str
) -> tuple[dict[str, list[float]], list[float]]:
    """The sizes of outputs by module and step, and the losses."""
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    stepping = kinds[optimizer](groups)
    batch = batch_for(model) if given is None else given
    # Dropout would add noise; batch norms see the batch.
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    seen: dict[str, list[float]] = {}
    handles = [module.register_forward_hook(_noting(seen, name)) for name, module in model.named_modules()]
    losses: list[float] = []
    try:
        for step in range(steps + 1):
            loss = loss_of(model(*batch[0], **batch[1]), batch)
            losses.append(loss.item())
            if step < steps:
                stepping.zero_grad()
                loss.backward()
                stepping.step()
    finally:
        for handle in handles:
            handle.remove()
    # A module that is called several times in a step is none whose steps can be told apart.
    return {name: found for name, found in seen.items() if len(found) == steps + 1}, losses


def _noting(seen: dict[str, list[float]], name: str) -> Any:
    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        found = first_tensor(output)
        if found is not None and found.numel():
            seen.setdefault(name, []).append(found.detach().float().abs().mean().item())

    return note
