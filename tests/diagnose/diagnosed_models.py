"""Small models that are broken in one way each, and healthy ones."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def perceptron(depth: int = 3, width: int = 32, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers, from 16 numbers to 8 classes."""
    layers: list[nn.Module] = []
    before = 16
    for _ in range(depth):
        layers += [nn.Linear(before, width), act()]
        before = width
    model = nn.Sequential(*layers, nn.Linear(before, 8))
    torch.manual_seed(0)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.normal_(model[-1].weight, 0, 0.05)
    return model


def classes(rows: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and their classes."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 16, generator=generator), torch.arange(rows) % 8


class Norm(nn.Module):
    """RMSNorm, as libraries write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.variance_epsilon = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


class Block(nn.Module):
    """A block of a transformer, with norms before its branches or none."""

    def __init__(self, width: int, heads: int, norms: bool, after: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (Norm(width) if norms else nn.Identity() for _ in range(2))
        self.out_norm = Norm(width) if after else nn.Identity()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.out_norm(self.proj(mixed.transpose(1, 2).reshape(rows, length, width)))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Language(nn.Module):
    """A small language model."""

    def __init__(
        self, layers: int = 4, norms: bool = True, padding: int | None = None, after: bool = False
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(100, 32, padding_idx=padding)
        self.blocks = nn.ModuleList(Block(32, 4, norms, after) for _ in range(layers))
        self.norm = Norm(32)
        self.head = nn.Linear(32, 100, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, 0, 0.05)
        if padding is not None:
            with torch.no_grad():
                self.embed.weight[padding] = 0

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def tokens(first: int = 1) -> torch.Tensor:
    """Token ids from ``first`` on."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(first, 100, (8, 16), generator=generator)
