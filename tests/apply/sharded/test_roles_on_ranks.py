"""Rules by role on sharded models: each rank has the block of what one process has."""

from __future__ import annotations

from typing import Any

from layout_models import built
from layouts import gathered_differences, sharded
from processes import run_ranks, values_of
from whole_models import mesh_of_all

import initcfg

ROLES = {"residual_out": "*.down.weight", "blocks": "blocks"}
RULES = [
    dict(type="Normal", layer="Linear", std=0.02),
    dict(
        type="Normal",
        role="residual_out",
        std=0.02,
        scale="1/sqrt(2*layers*(layer+1))",
        tune=dict(lr="1/fan_in"),
    ),
]


def by_role(rank: int, world: int) -> dict[str, Any]:
    whole = built("llama", seed=1)
    plan = initcfg.plan(whole, RULES, roles=ROLES)
    plan.apply(whole, seed=3)
    model = built("llama", seed=1)
    sharded(model, mesh_of_all())
    made = initcfg.plan(model, RULES, roles=ROLES)
    ledger = made.apply(model, seed=3)
    name = "blocks.1.down.weight"
    return {
        "differs": gathered_differences(model, whole.state_dict()),
        "same": made.digest == plan.digest,
        "scaled": made[name].value.args["std"] == plan[name].value.args["std"] != 0.02,
        "tune": dict(ledger[name].tune) == dict(plan[name].tune) != {},
    }


def test_shards_are_blocks_of_the_whole() -> None:
    for found in values_of(run_ranks(2, by_role)):
        assert found == {"differs": [], "same": True, "scaled": True, "tune": True}
