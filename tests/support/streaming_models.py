"""Models for the tests of streaming, and what their checkpoints must hold."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrizations

import initcfg

RULES = [
    dict(type="Orthogonal", layer="Linear", name="square"),
    dict(type="Sparse", layer="Linear", name="sparse", sparsity=0.5),
    dict(type="Kaiming", layer="Conv2d"),
    dict(type="TruncNormal", layer="Embedding", std=0.02),
    dict(type="Xavier", layer="Linear", name="normed"),
]


class Everything(nn.Module):
    """Tensors of every kind that a checkpoint can meet."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16, padding_idx=3)
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(16, 2)
        self.square = nn.Linear(16, 16)
        self.sparse = nn.Linear(16, 24)
        self.normed = parametrizations.weight_norm(nn.Linear(4, 6))
        self.lstm = nn.LSTM(4, 5)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight
        self.wide = nn.Parameter(torch.randn(3, 5, dtype=torch.float64))
        self.narrow = nn.Parameter(torch.randn(7, dtype=torch.float16))
        self.brain = nn.Parameter(torch.randn(3, 3, 3, dtype=torch.bfloat16))
        self.scalar = nn.Parameter(torch.tensor(2.5))
        self.empty = nn.Parameter(torch.empty(0, 4))
        self.computed = nn.Parameter(torch.randn(4).cumsum(0))
        self.register_buffer("mask", torch.arange(5) > 2)
        self.register_buffer("ids", torch.arange(6, dtype=torch.int64))
        self.register_buffer("byte", torch.arange(3, dtype=torch.uint8))
        self.register_buffer("scratch", torch.ones(3), persistent=False)
        self.add_module('odd Ünïcode "name"\t', nn.Linear(2, 3))


def pending(cls: type[nn.Module] = Everything) -> nn.Module:
    """A model that was built deferred, always with the same draws."""
    torch.manual_seed(3)
    with initcfg.deferred():
        return cls()


def applied(
    seed: int, rules: object = RULES, cls: type[nn.Module] = Everything
) -> tuple[nn.Module, initcfg.Ledger]:
    """The same model in memory, as :meth:`Plan.apply` leaves it."""
    model = pending(cls)
    return model, initcfg.plan(model, rules).apply(model, seed=seed)


def stored(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, as the safetensors library reads them."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return load_file(folder / "model.safetensors")
    files = json.loads(index.read_text())["weight_map"]
    return {key: load_file(folder / file)[key] for key, file in files.items()}


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    """Type, shape and bytes."""
    flat = tensor.detach().contiguous().reshape(-1)
    return tensor.dtype, tuple(tensor.shape), bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def all_bits(state: dict[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    return {key: bits(tensor) for key, tensor in state.items()}
