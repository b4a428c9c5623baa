"""Orthogonal matrices that ranks make for each other: the bits of one process, and no rank waits in vain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from layout_models import Model
from layouts import LAYOUTS, differences, fsdp, indices, local, tensors
from processes import run_ranks, values_of
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import initcfg
from initcfg._apply.collective import dealing, exchange, together
from initcfg.errors import ApplyError, InitcfgError

RULES: list[dict[str, Any]] = [
    dict(type="Orthogonal", layer=["Linear", "Conv2d", "MultiheadAttention", "LSTM"], gain=1.4, bias=0.5),
    dict(type="DeltaOrthogonal", layer="Conv1d"),
    dict(type="Orthogonal", param="*.experts", in_axis=2, out_axis=1, batch_axis=0),
    dict(type="Normal", layer="Embedding"),
]


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(20, 24)
        self.down = nn.Linear(24, 20)
        self.square = nn.Linear(100, 100)
        self.patches = nn.Conv2d(4, 6, 3)
        self.experts = nn.Parameter(torch.empty(4, 6, 10))


class _Matrices(Model):
    """Tall, wide and square ones, fused, stacked, in other types, in a kernel, and smaller than a mesh."""

    columns, rows, experts = ("up",), ("down",), ("experts",)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Block() for _ in range(2)])
        self.attention = nn.MultiheadAttention(8, 2)
        self.gates = nn.LSTM(5, 6)
        self.kernel = nn.Conv1d(3, 5, 3)
        self.double = nn.Linear(111, 63, dtype=torch.float64)
        self.half = nn.Linear(9, 7, dtype=torch.bfloat16)
        self.few = nn.Linear(3, 1)
        self.table = nn.Embedding(5, 4)


def _planned(model: nn.Module) -> initcfg.Plan:
    return initcfg.plan(model, RULES)


def _whole() -> dict[str, torch.Tensor]:
    model = _Matrices()
    _planned(model).apply(model, seed=3)
    return tensors(model)


@contextmanager
def _by(way: str) -> Iterator[dict[str, int]]:
    """Matrices whole, or all by panels that are worth nothing else; how often each was done."""
    done = {"hands": 0, "panels": 0}
    hands, panels = together._Session._by_hands, together._Session._by_panels

    def by_hands(self: Any, *given: Any) -> None:
        done["hands"] += 1
        hands(self, *given)

    def by_panels(self: Any, *given: Any) -> None:
        done["panels"] += 1
        panels(self, *given)

    def all_by_panels(wanted: Any, ranks: int, possible: bool) -> Any:
        fit = [possible and len(each.matrix.form.orthogonal_axes) == 1 for each in wanted]
        rest = [each for each, fits in zip(wanted, fit, strict=True) if not fits]
        return rest, [each for each, fits in zip(wanted, fit, strict=True) if fits]

    with (
        mock.patch.object(together._Session, "_by_hands", by_hands),
        mock.patch.object(together._Session, "_by_panels", by_panels),
        mock.patch.object(together, "split", all_by_panels if way == "panels" else dealing.split),
        # Several portions.
        mock.patch.object(exchange, "_AT_ONCE", 5000),
    ):
        yield done


def laid_out(rank: int, world: int, way: str) -> dict[str, Any]:
    whole, found = _whole(), {}
    for name, layout in LAYOUTS[world].items():
        held = indices(_Matrices(), layout)
        model = _Matrices()
        layout(model)
        with _by(way) as done:
            _planned(model).apply(model, seed=3, collective=True)
        found[name] = differences(model, whole, held), done
    return found


@pytest.mark.parametrize("way", ["hands", "panels"])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_every_layout_holds_the_whole(world: int, way: str) -> None:
    for found in values_of(run_ranks(world, laid_out, way, timeout=240)):
        assert found.keys() == LAYOUTS[world].keys()
        assert [wrong for wrong, _ in found.values()] == [[]] * len(found)
        # Ranks of a mesh of one dimension hold parts of everything.
        assert found["fsdp"][1][way] > 0


def materialized(rank: int, world: int) -> dict[str, Any]:
    """From the meta device, without the kernel on one rank, with more threads; replicas; and stages."""
    whole, found = _whole(), {}
    held = indices(_Matrices(), fsdp)
    for name, environment in {
        "plain": {},
        "without the kernel": {"INITCFG_KERNEL": str(int(rank > 0))},
        "threads": {"INITCFG_THREADS": "3"},
    }.items():
        with torch.device("meta"):
            model = _Matrices()
        fsdp(model)
        with mock.patch.dict("os.environ", environment), _by("panels") as done:
            initcfg.materialize(model, RULES, seed=3, collective=True)
        found[name] = differences(model, whole, held), done["panels"] > 0
    model = DistributedDataParallel(_Matrices())
    with _by("hands") as done:
        initcfg.init_weights(model, RULES, seed=3, collective=True)
    here = tensors(model.module)
    found["DDP"] = [each for each in whole if not torch.equal(here[each], whole[each])], done["hands"] > 0
    # Stages hold different tensors.
    stage = _Matrices()
    delattr(stage, "gates" if rank else "attention")
    plan = _planned(_Matrices()).part(stage)
    with _by("hands") as done:
        plan.apply(stage, seed=3, process_group=torch.distributed.group.WORLD, collective=True)
    wrong = [name for name, each in tensors(stage).items() if not torch.equal(each, whole[name])]
    found["stages"] = wrong, done["hands"] > 0
    return found


def test_other_ways_to_the_same_bits() -> None:
    for found in values_of(run_ranks(2, materialized, timeout=120)):
        assert found == {
            "plain": ([], True),
            # Then whole matrices are dealt out.
            "without the kernel": ([], False),
            "threads": ([], True),
            "DDP": ([], True),
            # Each makes what it holds.
            "stages": ([], False),
        }


def work(rank: int, world: int) -> dict[str, Any]:
    """How many elements of matrices a rank makes, of eight that are alike and of one."""
    made: list[int] = []
    fill = together.fill_matrices

    def counted(matrices: Any, *given: Any) -> None:
        made.append(sum(each.form.elements for each in matrices))
        fill(matrices, *given)

    model = _Matrices()
    for name in [name for name, _ in model.named_children()]:
        delattr(model, name)
    model.blocks = nn.ModuleList([nn.Linear(40, 40) for _ in range(8)])
    fsdp(model)
    with mock.patch.object(together, "fill_matrices", counted):
        initcfg.plan(model, RULES[:1]).apply(model, seed=0, collective=True)
    return {"made": sum(made), "held": local(model.blocks[0].weight).shape[0]}


def test_each_rank_makes_its_part() -> None:
    assert values_of(run_ranks(4, work)) == [{"made": 2 * 1600, "held": 10}] * 4


def failing(rank: int, world: int, where: str) -> Any:
    """The last rank fails: before, while or after it computes, or while it sends."""
    model = _Matrices()
    fsdp(model)
    plan = _planned(model)
    last = rank == world - 1

    def fail(*_: Any) -> Any:
        raise MemoryError("no more memory here")

    target = {
        "drawing": (together, "fill_matrices"),
        "sending": (exchange.Exchange, "_send"),
        "panels": (exchange.Exchange, "everywhere"),
        "giving": (together._Session, "_give"),
    }[where]
    with _by("panels" if where == "panels" else "hands"):
        try:
            if last:
                with mock.patch.object(*target, fail):
                    plan.apply(model, seed=0, collective=True)
            else:
                plan.apply(model, seed=0, collective=True)
        except InitcfgError as error:
            return type(error).__name__, error.problem
    return None


@pytest.mark.parametrize("where", ["drawing", "sending", "panels", "giving"])
def test_a_rank_that_fails_keeps_nobody_waiting(where: str) -> None:
    results = values_of(run_ranks(3, failing, where, timeout=40))
    assert results[2][0] == ApplyError.__name__
    assert "no more memory here" in results[2][1]
    for kind, said in results[:2]:
        assert kind == "AgreementError"
        assert said.startswith("Rank 2 failed")
        assert "no more memory here" in said


def asked_by_one(rank: int, world: int) -> str | None:
    """Only one rank asks for it."""
    model = _Matrices()
    fsdp(model)
    try:
        _planned(model).apply(model, seed=0, collective=bool(rank))
    except InitcfgError as error:
        return error.problem
    return None


def test_all_ask_for_it_or_none_does() -> None:
    for said in values_of(run_ranks(2, asked_by_one, timeout=40)):
        assert said == "The ranks do not agree on collective: rank 0 has False, rank 1 has True."


def test_alone_it_changes_nothing() -> None:
    model, whole = _Matrices(), _whole()
    _planned(model).apply(model, seed=3, collective=True)
    assert all(torch.equal(each, whole[name]) for name, each in tensors(model).items())
    assert not any(isinstance(each, DTensor) for each in model.parameters())
    with pytest.raises(ApplyError, match="takes True or False as collective"):
        _planned(model).apply(model, seed=3, collective="yes")  # type: ignore[arg-type]
