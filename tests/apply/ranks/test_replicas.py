"""Replicas of DistributedDataParallel: one seed, the same weights, and ledgers that say so."""

from __future__ import annotations

from typing import Any

import pytest
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


def alone(rank: int, world: int) -> dict[str, Any]:
    """A model that is wrapped only after each rank has initialized it, by a seed of its own."""
    torch.manual_seed(rank)
    found: dict[str, Any] = {}
    for name, options in (("none", {}), ("seed", {"seed": 5}), ("torch", {"rng": "torch"})):
        inner = nn.Linear(3, 3)
        ledger = initcfg.init_weights(inner, RULE, **options)
        DistributedDataParallel(inner)
        found[name] = (ledger, initcfg.verify(inner, ledger).exit_code if name != "torch" else None)
    return {name: (ledger.to_json(), str(ledger), code) for name, (ledger, code) in found.items()}


def test_a_seed_that_a_rank_drew_for_itself_is_said() -> None:
    results = values_of(run_ranks(2, alone))
    for rank, found in enumerate(results):
        data, text, code = found["none"]
        assert data["drawn_by"] == rank and f"(drawn by rank {rank} for itself)" in text
        # DDP has sent the weights of rank 0 to all.
        assert code == (0 if rank == 0 else 1)
        assert initcfg.Ledger.from_json(data).to_json() == data
        for name in ("seed", "torch"):
            assert "drawn_by" not in found[name][0] and "rank" not in found[name][1]
        assert found["seed"][2] == 0
    assert results[0]["none"][0]["seed"] != results[1]["none"][0]["seed"]


@pytest.mark.parametrize(
    ("rank", "world", "drawn_by"),
    [("1", "4", 1), ("0", "2", 0), ("0", "1", None), ("4", "4", None), ("x", "4", None), ("-1", "4", None)],
)
def test_before_the_process_group_is_made(
    rank: str, world: str, drawn_by: int | None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    ledger = initcfg.init_weights(nn.Linear(2, 2), RULE)
    assert ledger.drawn_by == drawn_by
    assert ("drew a seed of its own" in caplog.text) is (drawn_by is not None)
    assert initcfg.init_weights(nn.Linear(2, 2), RULE, seed=1).drawn_by is None
    constant = dict(type="Constant", layer="Linear", val=1)
    assert initcfg.init_weights(nn.Linear(2, 2), constant).drawn_by is None
