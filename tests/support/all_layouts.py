"""Every layout of a number of ranks, by every flow and type: what is wrong with what the ranks hold."""

from __future__ import annotations

from typing import Any

import torch
from layout_models import built
from layouts import LAYOUTS, differences, gathered_differences, indices, tensors
from torch.distributed.tensor import DTensor

import initcfg

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
FLOWS = ("meta", "deferred", "real")


def whole_of(name: str, dtype: torch.dtype) -> tuple[initcfg.Plan, dict[str, torch.Tensor]]:
    """The plan of the code that builds the model, and what one process makes of it."""
    plan = initcfg.trace(lambda: built(name, dtype))
    model = built(name, dtype, seed=1)
    plan.apply(model, seed=3)
    return plan, tensors(model)


def laid_out(name: str, dtype: torch.dtype, layout: Any, flow: str, plan: initcfg.Plan) -> Any:
    """The model by one of the flows, sharded and initialized."""
    if flow == "meta":
        with torch.device("meta"):
            model = built(name, dtype)
    elif flow == "deferred":
        with initcfg.deferred():
            model = built(name, dtype)
    else:
        model = built(name, dtype, seed=2)
    layout(model)
    if flow == "real":
        plan.apply(model, seed=3)
    else:
        initcfg.materialize(model, plan=plan, seed=3)
    return model


def all_layouts(rank: int, world: int, name: str, turns: int = 1) -> dict[str, Any]:
    """By layout, flow and type: what is wrong; and how many tensors were looked at, how many were sharded.

    Args:
        rank: This rank.
        world: How many there are.
        name: The model.
        turns: How many of the three pairs of a flow and a type each layout sees, in turn.
    """
    wrong: dict[str, Any] = {}
    looked = shards = 0
    wholes = {dtype: whole_of(name, dtype) for dtype in DTYPES}
    for number, (layout_name, layout) in enumerate(LAYOUTS[world].items()):
        held = indices(built(name), layout)
        for turn in range(turns):
            flow, dtype = FLOWS[(number // 3 + number + turn) % 3], DTYPES[(number + turn) % 3]
            plan, whole = wholes[dtype]
            model = laid_out(name, dtype, layout, flow, plan)
            found = differences(model, whole, held)
            if turn == 0:
                found += gathered_differences(model, whole)
            if name == "llama" and model.head.weight is not model.embed.weight:
                found.append("the tie")
            here = tensors(model).values()
            looked += len(here)
            shards += sum(isinstance(tensor, DTensor) for tensor in here)
            if found:
                wrong[f"{layout_name}, {flow}, {dtype}"] = found
    return {"wrong": wrong, "looked": looked, "shards": shards}
