"""A small GPT of BaseModules, its declared roles, and plans of it."""

from __future__ import annotations

from typing import Any

from torch import nn

import initcfg
from initcfg import BaseModule, Plan

L = 12
ROLES = {
    "residual_out": ["*.c_proj.weight"],
    "mlp_in": "*.c_fc.weight",
    "embedding": "wte.weight",
    "blocks": "h",
}


class Block(BaseModule):
    def __init__(self, d: int = 8, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.ln_1 = nn.LayerNorm(d)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(d, 3 * d), "c_proj": nn.Linear(d, d)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(d, 4 * d), "c_proj": nn.Linear(4 * d, d)})


class GPT(BaseModule):
    def __init__(self, layers: int = L, d: int = 8, init_cfg: Any = None, block_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.wte = nn.Embedding(11, d)
        self.h = nn.ModuleList(Block(d, block_cfg) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d)


def planned(*rules: Any, **given: Any) -> Plan:
    return initcfg.plan(GPT(), list(rules), **({"roles": ROLES} | given))
