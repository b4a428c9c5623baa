"""Rules for models that know nothing of them: a small language model, as transformer and as LSTM.

No class here is one of initcfg's, and none carries an ``init_cfg``: the rules stand apart and are
given to ``initcfg.plan``. Run it to see what every weight would be, and what came of it:

    python examples/plain/transformer.py
"""

from __future__ import annotations

import torch
from torch import nn

import initcfg

DEPTH = 4
WIDTH = 64
PADDING = 0  # the token that fills up short sentences


class Block(nn.Module):
    """Attention and a feed-forward net, each beside a shortcut, norm first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        normed = self.norm1(features)
        features = features + self.attention(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        return features + self.feedforward(self.norm2(features))


class Transformer(nn.Module):
    """A decoder: logits of the next token, at every place. The head is tied to the embedding."""

    def __init__(self, tokens: int = 1000, width: int = WIDTH, depth: int = DEPTH, length: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width, padding_idx=PADDING)
        self.positions = nn.Parameter(torch.empty(length, width))
        self.blocks = nn.ModuleList([Block(width, heads=4) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, tokens, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        features = self.embedding(tokens) + self.positions[:length]
        for block in self.blocks:
            features = block(features, mask)
        return self.head(self.norm(features))


class Recurrent(nn.Module):
    """The same task with an LSTM."""

    def __init__(self, tokens: int = 1000, width: int = WIDTH, depth: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width, padding_idx=PADDING)
        self.lstm = nn.LSTM(width, width, depth, batch_first=True)
        self.head = nn.Linear(width, tokens)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0])


# Of a list, the later rule beats the earlier one: from the general to the particular.
TRANSFORMER_RULES = [
    # GPT-2's 0.02, cut at two sigma. The bounds are counted in sigmas: a=-2, b=2 would be absolute, and
    # cut at a hundred.
    dict(type="TruncNormal", layer="Linear", std=0.02, a_sigma=-2, b_sigma=2),
    # The head is the same tensor as the embedding, so the later of the two rules decides; of this one,
    # the padding row stays zero.
    dict(type="TruncNormal", layer="Embedding", std=0.02, a_sigma=-2, b_sigma=2),
    # The fused in_proj_weight is three matrices, each with fans of its own.
    dict(type="Xavier", layer="MultiheadAttention", distribution="uniform"),
    # Weight and bias apart, each with an initializer of its own, or a number; None leaves one alone.
    dict(layer="LayerNorm", weight=1, bias=None),
    # Modules by name, counted from the model: the layers that write into the shortcut start smaller,
    # the deeper the model. `re:` begins a regular expression; other patterns are globs.
    dict(
        type="Normal",
        name=[r"re:blocks\.\d+\.feedforward\.2", "blocks.*.attention.out_proj"],
        std=0.02 / (2 * DEPTH) ** 0.5,
    ),
    # Linear layers but for those that write into the shortcut: a small bias, and no weight.
    dict(
        layer="Linear",
        exclude=["blocks.*.feedforward.2", "*.out_proj"],
        weight=None,
        bias=dict(type="Uniform", a=-0.01, b=0.01),
    ),
    # A bare parameter, which belongs to no layer.
    dict(type="Normal", param="positions", std=0.01),
]

RECURRENT_RULES = [
    dict(type="Normal", layer="Embedding", std=0.1),
    # The four gates lie on top of each other in one tensor; each is initialized as the matrix it is.
    dict(type="Xavier", layer="LSTM", gain=1, distribution="normal", bias=0),
    # Tensors by name: of the two biases of each gate, one is left to move.
    dict(type="Constant", param="lstm.bias_hh_*", val=0.5),
    dict(type="Xavier", name="head", distribution="uniform", bias=-6.9),
]


def main() -> None:
    for model, rules in ((Transformer(), TRANSFORMER_RULES), (Recurrent(), RECURRENT_RULES)):
        print(f"{type(model).__name__}\n")
        plan = initcfg.plan(model, rules, strict=True)
        print(plan, end="\n\n")
        print(plan.apply(model, seed=0))
        with torch.no_grad():
            loss = nn.functional.cross_entropy(
                model(torch.arange(1, 25).reshape(1, -1)).flatten(0, 1), torch.arange(2, 26)
            )
        print(f"loss before the first step {loss:.2f}; of a guess, log 1000 = 6.91\n")


if __name__ == "__main__":
    main()
