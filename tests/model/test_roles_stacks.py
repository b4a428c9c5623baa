"""Stacks: towers, encoders and decoders each count their own blocks; stages of one stream count together."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg._model import declaration
from initcfg._model.roles import Roles, find_roles
from initcfg.errors import RoleError

SERIES = torch.zeros(2, 6, 4)
DEPTH = dict(type="Normal", role="residual_out", std=1, scale="1/sqrt(2*layers)")


class Block(nn.Module):
    """Attention, to a memory where there is one, and an MLP."""

    def __init__(self, width: int = 16, *, crosses: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(width, 4, batch_first=True) if crosses else None
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x, memory=None):
        at = self.norm(x)
        x = x + self.attend(at, at, at, need_weights=False)[0]
        if self.cross is not None:
            x = x + self.cross(x, memory, memory, need_weights=False)[0]
        return x + self.down(torch.relu(self.up(x)))


class Tower(nn.Module):
    def __init__(self, blocks: int, *, crosses: bool = False) -> None:
        super().__init__()
        self.begin = nn.Linear(4, 16)
        self.blocks = nn.ModuleList(Block(crosses=crosses) for _ in range(blocks))

    def forward(self, x, memory=None):
        x = self.begin(x)
        for block in self.blocks:
            x = block(x, memory)
        return x


class Towers(nn.Module):
    """As CLIP: two towers that meet in a product."""

    def __init__(self) -> None:
        super().__init__()
        self.images, self.texts = Tower(3), Tower(2)

    def forward(self, x):
        return self.images(x).mean(1) @ self.texts(x + 1).mean(1).T


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Tower(2), Tower(3, crosses=True)

    def forward(self, x):
        return self.decoder(x[:, :3], self.encoder(x))


class Siamese(nn.Module):
    """One tower that runs on two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = Tower(3)

    def forward(self, x):
        return self.tower(x).mean(1) - self.tower(x + 1).mean(1)


class Stages(nn.Module):
    """As Swin: a layer between two lists of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.begin, self.merge = nn.Linear(4, 16), nn.Linear(32, 16)
        self.stages = nn.ModuleList(
            nn.ModuleDict({"blocks": nn.ModuleList(Block() for _ in range(count))}) for count in (2, 1)
        )

    def forward(self, x):
        x = self.begin(x)
        for number, stage in enumerate(self.stages):
            if number:
                x = self.merge(torch.cat([x[:, ::2], x[:, 1::2]], -1))
            for block in stage["blocks"]:
                x = block(x)
        return x


class WithHead(nn.Module):
    """As SigLIP: a pooling head that adds once, behind the blocks; and an add before them, as in wav2vec."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.first = Tower(2), nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.query = nn.Parameter(torch.zeros(1, 1, 16))
        self.pool, self.last = nn.MultiheadAttention(16, 4, batch_first=True), nn.Linear(16, 16)

    def forward(self, x):
        x = self.tower(x + self.first(x))
        pooled = self.pool(self.query.expand(len(x), -1, -1), x, x, need_weights=False)[0]
        return pooled + self.last(pooled)


class ClassAttention(nn.Module):
    """As CaiT: a learned token looks at the stream and at itself, in blocks of a list of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.token = Tower(3), nn.Parameter(torch.zeros(1, 1, 16))
        self.looks = nn.ModuleList(Looks() for _ in range(2))

    def forward(self, x):
        x, token = self.tower(x), self.token.expand(len(x), -1, -1)
        for look in self.looks:
            token = look(token, x)
        return token


class Looks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(16, 4, batch_first=True)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, token, x):
        both = torch.cat([token, x], 1)
        token = token + self.attend(both[:, :1], both, both, need_weights=False)[0]
        return token + self.down(torch.relu(self.up(token)))


class Queries(nn.Module):
    """As DETR: learned queries look at an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.begin, self.queries = nn.Linear(4, 16), nn.Embedding(5, 16)
        self.both = nn.Transformer(16, 4, 3, 2, 32, batch_first=True)

    def forward(self, x):
        return self.both(self.begin(x), self.queries.weight.expand(len(x), -1, -1))


def seen(model: nn.Module) -> Roles:
    return find_roles(model, example=SERIES)


def stacks(found: Roles) -> list[tuple[int | None, int | None]]:
    return [(each.layers, each.residuals) for each in found.stacks]


def place(found: Roles, name: str) -> tuple[int | None, int | None, int | None]:
    role = found.tensors[name]
    return role.layer, role.layers, role.residuals


CASES: dict[str, tuple[type[nn.Module], list[tuple[int, int]]]] = {
    "towers": (Towers, [(3, 6), (2, 4)]),
    "encoder and decoder": (EncoderDecoder, [(2, 4), (3, 9)]),
    "siamese": (Siamese, [(3, 6)]),
    "stages": (Stages, [(3, 6)]),
    "class attention": (ClassAttention, [(5, 10)]),
}


@pytest.mark.parametrize(("make", "expected"), CASES.values(), ids=CASES)
def test_stacks_and_how_a_person_would_say_them(make: Any, expected: list[tuple[int, int]]) -> None:
    model = make()
    found = seen(model)
    assert stacks(found) == expected
    assert found.layers == sum(layers for layers, _ in expected)
    said = declaration(model, found)
    again = find_roles(model, declared=said)
    in_blocks = {
        name: place(found, name)[:2] for name, role in found.tensors.items() if role.layer is not None
    }
    assert {name: place(again, name)[:2] for name in in_blocks} == in_blocks
    assert again.layers == found.layers


def test_queries_that_are_learned_begin_a_stack() -> None:
    assert [each.layers for each in seen(Queries()).stacks] == [3, 2]


def test_the_place_of_a_tensor_is_that_in_its_stack() -> None:
    found = seen(Towers())
    assert place(found, "images.blocks.2.down.weight") == (2, 3, 6)
    assert place(found, "texts.blocks.1.down.weight") == (1, 2, 4)
    found = seen(Stages())
    assert place(found, "stages.1.blocks.0.down.weight") == (2, 3, 6)


def test_adds_outside_of_the_blocks_do_not_count_as_blocks() -> None:
    found = seen(WithHead())
    assert found.layers == 2 and found.stacks[0].layers == 2
    assert found.tensors["last.weight"].layer is None


@pytest.mark.parametrize(
    ("make", "halves"), [(Towers, ("images", "texts")), (EncoderDecoder, ("decoder", "encoder"))]
)
def test_a_rule_counts_the_blocks_of_the_stack(make: Any, halves: tuple[str, str]) -> None:
    plan = initcfg.plan(make(), DEPTH, example=(SERIES,))
    large, small = (plan[f"{half}.blocks.0.down.weight"] for half in halves)
    assert large.value.args["std"] == pytest.approx(1 / math.sqrt(6), rel=1e-12)
    assert small.value.args["std"] == pytest.approx(1 / math.sqrt(4), rel=1e-12)
    assert "layer 0 of 3" in plan.explain(large.name) and "layer 0 of 2" in plan.explain(small.name)
    again = initcfg.Plan.from_json(plan.to_json())
    assert again[small.name].role == small.role and again[large.name].role == large.role
    adds = initcfg.plan(make(), DEPTH | {"scale": "1/residuals"}, example=(SERIES,))
    count = 9 if make is EncoderDecoder else 6
    assert adds[large.name].value.args["std"] == pytest.approx(1 / count, rel=1e-12)
    assert adds[small.name].value.args["std"] == pytest.approx(1 / 4, rel=1e-12)


def test_what_is_in_no_stack_has_no_number_where_there_are_several() -> None:
    rule = dict(type="Normal", param="images.begin.weight", std=1, scale="1/layers")
    with pytest.raises(RoleError, match="in none of the 2 stacks of blocks of its model, which have 3, 2"):
        initcfg.plan(Towers(), rule, example=(SERIES,))
    one = initcfg.plan(Stages(), rule | {"param": "begin.weight"}, example=(SERIES,))
    assert one["begin.weight"].value.args["std"] == pytest.approx(1 / 3)


def test_stacks_that_are_declared() -> None:
    ends = dict(residual_out="*.down.weight")
    found = find_roles(Towers(), declared=dict(ends, blocks=["images.blocks", "texts.blocks"]))
    assert place(found, "images.blocks.2.down.weight") == (2, 3, 3)
    assert place(found, "texts.blocks.1.down.weight") == (1, 2, 2)
    together = find_roles(Towers(), declared=dict(ends, blocks=[["images.blocks", "texts.blocks"]]))
    assert place(together, "texts.blocks.1.down.weight") == (4, 5, 5)
    one = find_roles(Towers(), declared=dict(ends, blocks="texts.blocks"))
    assert place(one, "texts.blocks.1.down.weight")[:2] == (1, 2)
    number = find_roles(Towers(), declared=dict(ends, blocks=["images.blocks", "texts.blocks"], layers=12))
    assert place(number, "texts.blocks.1.down.weight")[:2] == (1, 12)
    with_graph = find_roles(Towers(), example=SERIES, declared=dict(blocks=["images.blocks", "texts.blocks"]))
    assert place(with_graph, "texts.blocks.1.down.weight") == (1, 2, 4)
