"""Small models as people write them, with names of their own: for tests of roles."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class GPTBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix_in, self.mix_back = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.mix_in(self.ln_1(x)).split(width, 2)
        q, k, v = (each.view(batch, length, self.heads, -1).transpose(1, 2) for each in parts)
        scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        mask = torch.tril(torch.ones(length, length, device=x.device))
        weights = F.softmax(scores.masked_fill(mask == 0, float("-inf")), dim=-1)
        x = x + self.mix_back((weights @ v).transpose(1, 2).contiguous().view(batch, length, width))
        return x + self.down(F.gelu(self.up(self.ln_2(x))))


class NanoGPT(nn.Module):
    """Attention that is written out, and a tied head."""

    def __init__(self, layers: int = 3, width: int = 16) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, width), nn.Embedding(32, width)
        self.h = nn.ModuleList(GPTBlock(width, 4) for _ in range(layers))
        self.ln_f, self.out = nn.LayerNorm(width), nn.Linear(width, 50, bias=False)
        self.out.weight = self.tokens.weight

    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        return self.out(self.ln_f(x))


class MambaBlock(nn.Module):
    def __init__(self, width: int, states: int = 4) -> None:
        super().__init__()
        inner = 2 * width
        self.norm, self.states = nn.LayerNorm(width), states
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, 4, groups=inner, padding=3)
        self.x_proj = nn.Linear(inner, 4 + 2 * states, bias=False)
        self.dt_proj, self.out_proj = nn.Linear(4, inner), nn.Linear(inner, width, bias=False)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))

    def forward(self, u):
        x, z = self.in_proj(self.norm(u)).chunk(2, -1)
        x = F.silu(self.conv1d(x.transpose(1, 2))[..., : u.shape[1]]).transpose(1, 2)
        dt, b, c = self.x_proj(x).split([4, self.states, self.states], -1)
        dt, a = F.softplus(self.dt_proj(dt)), -torch.exp(self.A_log)
        h, ys = 0, []
        for i in range(u.shape[1]):
            h = torch.exp(dt[:, i, :, None] * a) * h + dt[:, i, :, None] * b[:, i, None, :] * x[:, i, :, None]
            ys.append((h * c[:, i, None, :]).sum(-1))
        y = torch.stack(ys, 1) + x * self.D
        return u + self.out_proj(y * F.silu(z))


class Mamba(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layers = nn.Embedding(20, 8), nn.ModuleList(MambaBlock(8) for _ in range(2))
        self.norm_f, self.readout = nn.LayerNorm(8), nn.Linear(8, 20)

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.readout(self.norm_f(x))


class Encoder(nn.Module):
    """torch.nn's own layers, with norms before the branches or behind the adds."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=norm_first)
        self.e = nn.Embedding(20, 16)
        self.t = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.o = nn.Linear(16, 5)

    def forward(self, ids):
        return self.o(self.t(self.e(ids)))


class ConvBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, convolution: type = nn.Conv2d) -> None:
        super().__init__()
        self.a = convolution(inputs, outputs, 3, stride, 1, bias=False)
        self.b = convolution(outputs, outputs, 3, 1, 1, bias=False)
        self.norm_a, self.norm_b = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.side = None
        if inputs != outputs:
            self.side = nn.Sequential(
                convolution(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = self.norm_b(self.b(F.relu(self.norm_a(self.a(x)))))
        y += x if self.side is None else self.side(x)
        return F.relu_(y)


class ResNet(nn.Module):
    """Adds in place; shortcuts where the width changes."""

    def __init__(self, convolution: type = nn.Conv2d) -> None:
        super().__init__()
        self.first = convolution(3, 8, 3, padding=1, bias=False)
        self.stage1 = nn.Sequential(ConvBlock(8, 8, 1, convolution), ConvBlock(8, 8, 1, convolution))
        self.stage2 = nn.Sequential(ConvBlock(8, 16, 2, convolution), ConvBlock(16, 16, 1, convolution))
        self.classes = nn.Linear(16, 10)

    def forward(self, x):
        return self.classes(self.stage2(self.stage1(F.relu(self.first(x)))).mean((2, 3)))


class StandardizedConv2d(nn.Conv2d):
    def forward(self, x):
        mean, std = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / (std + 1e-5), self.bias, self.stride, self.padding)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.g


class GatedBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.n = RMSNorm(width)
        self.w1, self.w3 = nn.Linear(width, 32, bias=False), nn.Linear(width, 32, bias=False)
        self.w2 = nn.Linear(32, width, bias=False)

    def forward(self, x):
        h = self.n(x)
        gate = self.w1(h)
        return x + self.w2(gate * torch.sigmoid(gate) * self.w3(h))


class GatedMLP(nn.Module):
    """SwiGLU with an activation that is written out, and a written-out RMSNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.blocks = nn.Linear(6, 16), nn.Sequential(GatedBlock(16), GatedBlock(16))
        self.final, self.outp = RMSNorm(16), nn.Linear(16, 3)

    def forward(self, x):
        return self.outp(self.final(self.blocks(self.inp(x))))


class ParallelBlock(nn.Module):
    """Attention and MLP side by side, each with its own gate (LayerScale)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.n = nn.LayerNorm(width)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.o, self.i, self.u = nn.Linear(width, width), nn.Linear(width, 32), nn.Linear(32, width)
        self.s1, self.s2 = nn.Parameter(torch.full((width,), 1e-4)), nn.Parameter(torch.full((width,), 1e-4))

    def forward(self, x):
        h = self.n(x)
        k, v = self.kv(h).chunk(2, -1)
        q, k, v = (each.unflatten(-1, (2, -1)).transpose(1, 2) for each in (self.q(h), k, v))
        a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.s1 * self.o(a) + self.s2 * self.u(F.gelu(self.i(h)))


class Parallel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.pos = nn.Linear(12, 16), nn.Parameter(torch.zeros(1, 5, 16))
        self.body, self.top = nn.ModuleList([ParallelBlock(16), ParallelBlock(16)]), nn.Linear(16, 4)

    def forward(self, x):
        x = self.patches(x) + self.pos
        for block in self.body:
            x = block(x)
        return self.top(x.mean(1))


class Experts(nn.Module):
    """A mixture whose experts are modules, each run on the tokens that chose it."""

    def __init__(self, width: int, count: int = 4) -> None:
        super().__init__()
        self.choose = nn.Linear(width, count, bias=False)
        self.members = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width)) for _ in range(count)
        )

    def forward(self, x):
        flat = x.flatten(0, 1)
        weights, chosen = self.choose(flat).softmax(-1).topk(2, -1)
        result = torch.zeros_like(flat)
        for number, member in enumerate(self.members):
            token, slot = torch.where(chosen == number)
            if len(token):
                result.index_add_(0, token, member(flat[token]) * weights[token, slot, None])
        return result.view_as(x)


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.layers, self.out = nn.ModuleList(Experts(8) for _ in range(2)), nn.Linear(8, 20)

    def forward(self, ids):
        x = self.tokens(ids)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return self.out(x)
