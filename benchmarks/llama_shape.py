"""A model of the shape of Llama, in plain torch, for benchmarks of size: it is built, and never run."""

from __future__ import annotations

import torch
from torch import nn

# Hidden size, feed-forward size, layers, heads, heads of keys and values, vocabulary.
SHAPES = {
    "100m": (512, 1536, 12, 8, 4, 32000),
    "1b": (2048, 8192, 16, 32, 8, 128256),
    "8b": (4096, 14336, 32, 32, 8, 128256),
}


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, pairs: int) -> None:
        super().__init__()
        head = width // heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, pairs * head, bias=False)
        self.v_proj = nn.Linear(width, pairs * head, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)


class Mlp(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)


class Layer(nn.Module):
    def __init__(self, width: int, inner: int, heads: int, pairs: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, pairs)
        self.mlp = Mlp(width, inner)
        self.input_layernorm = Norm(width)
        self.post_attention_layernorm = Norm(width)


class Body(nn.Module):
    def __init__(self, width: int, inner: int, layers: int, heads: int, pairs: int, words: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(words, width)
        self.layers = nn.ModuleList(Layer(width, inner, heads, pairs) for _ in range(layers))
        self.norm = Norm(width)


class Llama(nn.Module):
    def __init__(self, shape: str = "8b") -> None:
        super().__init__()
        self.model = Body(*SHAPES[shape])
        self.lm_head = nn.Linear(SHAPES[shape][0], SHAPES[shape][5], bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)


def llama(shape: str = "8b") -> Llama:
    """The builder: ``initcfg init llama_shape:llama --set shape=1b``."""
    return Llama(shape)
