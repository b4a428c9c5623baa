"""The whole product of models, layouts, flows and types; and random models on random meshes."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from all_layouts import all_layouts
from layout_models import MODELS
from layouts import LAYOUTS, differences, fsdp_over_tp, indices, mesh_of, placed, sharded, tensors
from processes import run_ranks, values_of
from torch import nn

import initcfg
from initcfg.values import Constant, Eye, Normal, Orthogonal, PaddingRow, Parts, Sparse, TruncNormal, Uniform

pytestmark = pytest.mark.peers
MESHES = {
    6: ((6,), (2, 3), (3, 2), (1, 3, 2)),
    8: ((8,), (2, 4), (4, 2), (8, 1), (2, 2, 2), (1, 4, 2), (4, 1, 2)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("world", [2, 3, 4])
def test_every_flow_and_type(world: int, name: str) -> None:
    for result in values_of(run_ranks(world, all_layouts, name, 3, timeout=240)):
        assert result["wrong"] == {}
        assert result["looked"] >= 3 * 15 * len(LAYOUTS[world])


class Random(nn.Module):
    """Linear layers of random sizes, and parameters of random shapes with random values."""

    columns = ("0",)
    rows = ("1",)

    def __init__(self, choice: random.Random, dtype: torch.dtype) -> None:
        super().__init__()

        def size() -> int:
            return choice.randint(1, 19)

        sizes = [(size(), size(), size()) for _ in range(2)]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b, dtype=dtype), nn.Linear(b, c, dtype=dtype)) for a, b, c in sizes
        )
        for number in range(4):
            shape = [size() for _ in range(choice.randint(1, 4))]
            self.register_parameter(f"p{number}", nn.Parameter(torch.empty(shape, dtype=dtype)))


def random_rules(choice: random.Random, model: nn.Module) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = []
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        simple = [Normal(0.1, 0.5), Uniform(-1.0, 2.0), TruncNormal(0.0, 1.0, -1.5, 0.5), Constant(0.25)]
        kinds: list[Any] = [*simple]
        if len(shape) > 1:
            kinds += [Orthogonal(1.5), PaddingRow(choice.randrange(shape[0]), choice.choice(simple))]
        if len(shape) == 2:
            kinds += [Sparse(0.3, 0.2), Eye(2.0)]
        dim = choice.randrange(len(shape))
        cut = choice.randint(0, shape[dim])
        kinds.append(Parts(dim, (cut, shape[dim] - cut), (choice.choice(simple), choice.choice(simple))))
        rules.append(dict(type="Value", param=name, value=choice.choice(kinds)))
    return rules


def random_models(rank: int, world: int, start: int, count: int) -> dict[int, list[str]]:
    wrong: dict[int, list[str]] = {}
    for seed in range(start, start + count):
        choice = random.Random(seed)
        dtype = choice.choice([torch.float32, torch.float64, torch.bfloat16, torch.float16])
        made = choice.getrandbits(32)

        def build(made: int = made, dtype: torch.dtype = dtype) -> Any:
            return Random(random.Random(made), dtype)

        shape = choice.choice(MESHES[world])
        layout = placed(*shape, seed=seed)
        if len(shape) > 1 and choice.random() < 0.6:
            layout = fsdp_over_tp(*shape)
        elif len(shape) == 1 and choice.random() < 0.5:
            mesh = mesh_of(shape)

            def layout(model: Any, mesh: Any = mesh) -> None:
                sharded(model, mesh)

        whole = build()
        plan = initcfg.plan(whole, random_rules(choice, whole))
        plan.apply(whole, seed=seed)
        held = indices(build(), layout)
        with torch.device("meta"):
            model = build()
        layout(model)
        initcfg.materialize(model, plan=plan, seed=seed)
        if found := differences(model, tensors(whole), held):
            wrong[seed] = found
    return wrong


@pytest.mark.parametrize("start", [0, 15])
@pytest.mark.parametrize("world", MESHES)
def test_random_models_on_random_meshes(world: int, start: int) -> None:
    for wrong in values_of(run_ranks(world, random_models, start, 15, timeout=240)):
        assert wrong == {}
