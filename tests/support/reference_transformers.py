"""Small models by hand, for schemes: a GPT with norms before its branches, and what its tensors do."""

from __future__ import annotations

from typing import Any

from torch import nn

WIDTH, INNER, HEADS, LAYERS, WORDS = 64, 256, 4, 12, 100

ROLES: dict[str, Any] = dict(
    embedding="words.weight",
    position="places.weight",
    attn_q="*.q.weight",
    attn_k="*.k.weight",
    attn_v="*.v.weight",
    attn_out="*.o.weight",
    mlp_in="*.up.weight",
    mlp_out="*.down.weight",
    residual_out=["*.o.weight", "*.down.weight"],
    head="head.weight",
    blocks="blocks",
    width=WIDTH,
    heads=HEADS,
)
"""The roles of a :class:`GPT`, declared."""


class Block(nn.Module):
    """Attention and an MLP, each behind a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.LayerNorm(WIDTH)
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.o = nn.Linear(WIDTH, WIDTH)
        self.between = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)


class GPT(nn.Module):
    """Shape G of the catalogue: width 64, inner width 256, 4 heads, 12 blocks."""

    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(32, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
