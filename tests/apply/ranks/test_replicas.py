"""Replicas of DistributedDataParallel: one seed, the same weights, and ledgers that say so."""

from __future__ import annotations

from typing import Any

import torch
from processes import run_ranks, values_of
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import initcfg

RULE = dict(type="Normal", layer="Linear", std=0.1)


def replicas(rank: int, world: int) -> dict[str, Any]:
    """What each rank has: a seed of its own in torch's generator, and none is given."""
    torch.manual_seed(rank)
    found: dict[str, Any] = {}
    for name in ("init_weights", "apply", "group"):
        inner = nn.Linear(3, 3)
        if name == "group":
            ledger = initcfg.init_weights(inner, RULE, process_group=torch.distributed.group.WORLD)
            model = DistributedDataParallel(inner)
        else:
            model = DistributedDataParallel(inner)
            if name == "init_weights":
                ledger = initcfg.init_weights(model, RULE)
            else:
                ledger = initcfg.plan(inner, RULE).apply(model)
        verified = initcfg.verify(inner, ledger).exit_code
        found[name] = (ledger.seed, inner.weight.tolist(), verified)
    return found


def test_every_ledger_names_the_seed_of_its_weights() -> None:
    first, second = values_of(run_ranks(2, replicas))
    assert first == second
    assert all(code == 0 for _, _, code in first.values())
    assert len({seed for seed, _, _ in first.values()}) == 3
