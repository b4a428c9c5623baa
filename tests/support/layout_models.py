"""Small models in the shapes of Llama, ViT and ResNet, and one with every kind of value; with sizes that no
number of ranks divides.

Each has ``blocks``, the modules that FSDP takes one by one; ``columns`` and ``rows``, the layers that tensor
parallelism cuts; ``norms``, those of sequence parallelism; and ``example``, an input.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


class Model(nn.Module):
    blocks: nn.ModuleList
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    experts: tuple[str, ...] = ()

    def example(self) -> torch.Tensor:
        raise NotImplementedError


# -- Llama ---------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, groups * self.size, bias=False)
        self.v = nn.Linear(width, groups * self.size, bias=False)
        self.o = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q = self.q(x).view(batch, length, self.heads, self.size).transpose(1, 2)
        k, v = (
            layer(x)
            .view(batch, length, self.groups, self.size)
            .repeat_interleave(self.heads // self.groups, dim=2)
            .transpose(1, 2)
            for layer in (self.k, self.v)
        )
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(out.transpose(1, 2).reshape(batch, length, width))


class Experts(nn.Module):
    """Stacked weights, each expert's drawn by itself."""

    def __init__(self, count: int, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(count, hidden, width))
        self.down = nn.Parameter(torch.empty(count, width, hidden))
        for expert in range(count):
            nn.init.normal_(self.up[expert], std=0.02 * (expert + 1))
            nn.init.xavier_uniform_(self.down[expert])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.einsum("blw,ehw->bleh", x, self.up).relu()
        return torch.einsum("bleh,ewh->blw", hidden, self.down)


class LlamaBlock(nn.Module):
    def __init__(self, width: int, depth: int, experts: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width)
        self.attention = Attention(width, 4, 2)
        self.ffn_norm = nn.RMSNorm(width)
        self.gate = nn.Linear(width, 22, bias=False)
        self.up = nn.Linear(width, 22, bias=False)
        self.down = nn.Linear(22, width, bias=False)
        self.experts = Experts(experts, width, 6)
        for layer in (self.attention.o, self.down):
            nn.init.trunc_normal_(layer.weight, std=0.02 / math.sqrt(2 * (depth + 1)), a=-0.04, b=0.04)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        hidden = self.ffn_norm(x)
        return x + self.down(functional.silu(self.gate(hidden)) * self.up(hidden)) + self.experts(hidden)


class Llama(Model):
    columns = ("attention.q", "attention.k", "attention.v", "gate", "up")
    rows = ("attention.o", "down")
    norms = ("attention_norm", "ffn_norm")
    experts = ("experts.up", "experts.down")

    def __init__(self, depth: int = 2, experts: int = 7) -> None:
        super().__init__()
        self.embed = nn.Embedding(51, 16, padding_idx=7)
        self.blocks = nn.ModuleList(LlamaBlock(16, each, experts) for each in range(depth))
        self.norm = nn.RMSNorm(16)
        self.head = nn.Linear(16, 51, bias=False)
        self.head.weight = self.embed.weight
        frequencies = 1.0 / (10000 ** (torch.arange(0, 4, 2, dtype=torch.float32) / 4))
        self.register_buffer("inv_freq", frequencies, persistent=False)
        self.register_buffer("mask", torch.ones(6, 6, dtype=torch.bool).tril(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def example(self) -> torch.Tensor:
        return torch.arange(12).view(2, 6)


# -- ViT -----------------------------------------------------------------------------------------


class VitBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.up, self.down = nn.Linear(width, 23), nn.Linear(23, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.norm1(x)
        x = x + self.scale * self.attention(hidden, hidden, hidden, need_weights=False)[0]
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Vit(Model):
    columns = ("up",)
    rows = ("down",)
    norms = ("norm1", "norm2")

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 12))
        self.positions = nn.Parameter(torch.zeros(1, 5, 12))
        self.blocks = nn.ModuleList(VitBlock(12) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 7)
        self.register_buffer("position_ids", torch.arange(5)[None])
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])

    def example(self) -> torch.Tensor:
        return torch.linspace(-1, 1, 2 * 3 * 8 * 8, dtype=torch.get_default_dtype()).view(2, 3, 8, 8)


# -- ResNet --------------------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        nn.init.dirac_(self.conv2.weight)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()


class ResNet(Model):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 9, 3, bias=False), nn.BatchNorm2d(9)
        self.blocks = nn.ModuleList(ResidualBlock(9) for _ in range(2))
        self.fc = nn.Linear(9, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.stem(x)).relu()
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))

    def example(self) -> torch.Tensor:
        return torch.linspace(-1, 1, 2 * 3 * 8 * 8, dtype=torch.get_default_dtype()).view(2, 3, 8, 8)


# -- every kind of value -------------------------------------------------------------------------


def _until_small(shape: tuple[int, ...]) -> torch.Tensor:
    """Code that looks at its random numbers, so that no plan can say what it does."""
    numbers = torch.randn(shape)
    while not numbers.is_meta and numbers.abs().max() > 3:
        numbers = torch.randn(shape)
    return numbers


class Kinds(Model):
    """A parameter for each kind of value that a constructor can mean."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(6, 10)])
        self.constant = nn.Parameter(torch.full((5, 3), 0.3))
        self.uniform = nn.Parameter(torch.empty(7, 4).uniform_(-0.1, 0.2))
        self.normal = nn.Parameter(torch.empty(9, 6).normal_(0.1, 0.02))
        self.truncated = nn.Parameter(nn.init.trunc_normal_(torch.empty(6, 5), std=0.5, a=-0.6, b=0.4))
        self.orthogonal = nn.Parameter(nn.init.orthogonal_(torch.empty(9, 5, dtype=torch.float32)))
        self.sparse = nn.Parameter(nn.init.sparse_(torch.empty(11, 4), 0.4))
        self.dirac = nn.Parameter(nn.init.dirac_(torch.empty(6, 3, 3), groups=2))
        self.eye = nn.Parameter(nn.init.eye_(torch.empty(6, 7)))
        self.table = nn.Embedding(13, 4, padding_idx=3)
        self.parts = nn.Parameter(torch.empty(10, 4))
        with torch.no_grad():
            self.parts[:3].normal_()
            self.parts[3:4].zero_()
            self.parts[4:].uniform_(-1, 1)
        self.copied = copy.deepcopy(self.normal)
        self.formula = nn.Parameter(torch.randn(7, 3).tanh())
        self.slopes = nn.Parameter(torch.linspace(1, 4, 10).log())
        self.opaque = nn.Parameter(_until_small((7, 3)))
        self.register_buffer("noise", torch.randn(6, 3))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("factor", torch.tensor(0.7))


MODELS: dict[str, Callable[[], Model]] = {"llama": Llama, "vit": Vit, "resnet": ResNet, "kinds": Kinds}


def built(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Model:
    """A model, of that type, as its constructors make it under a seed."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        torch.manual_seed(seed)
        return MODELS[name]()
    finally:
        torch.set_default_dtype(before)
