"""Tensors without elements, memory that nobody writes, and parameters that are written in part."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import initcfg
from initcfg import Plan
from initcfg.errors import ApplyError, UnusedRuleError

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")


class WithCaches(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.register_buffer("k_cache", torch.empty(0), persistent=False)
        self.register_buffer("v_cache", torch.empty(2, 8), persistent=False)
        self.register_buffer("counts", torch.empty(3, dtype=torch.int64))


class WithoutElements(nn.Module):
    def __init__(self):
        super().__init__()
        self.none, self.table = nn.Linear(0, 4), nn.Embedding(3, 0)
        self.conv, self.lin = nn.Conv2d(2, 0, 3), nn.Linear(2, 2)


@pytest.mark.parametrize("build", [WithCaches, WithoutElements])
def test_they_go_all_roads(build, tmp_path):
    plan = initcfg.trace(build)
    assert plan.uninitialized == plan.partly_written == ()
    with torch.device("meta"):
        meta = build()
    initcfg.materialize(meta, plan=plan, seed=0)
    model = build()
    plan.apply(model, seed=0)
    with initcfg.deferred():
        pending = build()
    assert initcfg.plan(pending, strict=True).uninitialized == ()
    initcfg.init_weights(pending, seed=0)
    with torch.device("meta"):
        saved = build()
    ledger = plan.save_weights(tmp_path / "a", saved, seed=0)
    with initcfg.deferred():
        saved = build()
    initcfg.plan(saved).save_weights(tmp_path / "b", saved, seed=0)
    stored = [load_file(tmp_path / each / "model.safetensors") for each in "ab"]
    for name, tensor in meta.state_dict().items():
        assert not tensor.is_meta
        for other in (model.state_dict(), pending.state_dict(), *stored):
            assert torch.equal(other[name], tensor), name
    assert all(not each.is_meta for each in meta.buffers())
    assert ledger["lin.weight"].by == "rule"


def test_memory_that_nobody_writes_is_zeros_and_a_note():
    plan = initcfg.trace(WithCaches)
    assert [str(plan[name].value) for name in ("v_cache", "counts")] == ["Constant(0)"] * 2
    assert (
        "memory that the code leaves as torch.empty gives it is filled with zeros: counts, v_cache"
        in plan.notes
    )
    with torch.device("meta"):
        model = WithCaches()
    initcfg.materialize(model, plan=plan, seed=0)
    assert model.v_cache.tolist() == [[0.0] * 8] * 2 and model.counts.tolist() == [0, 0, 0]


def test_rules_suffice_where_there_is_no_element():
    with torch.device("meta"):
        model = WithoutElements()
    rules = [dict(type="Normal", layer=["Linear", "Conv2d"])]
    initcfg.materialize(model, rules, seed=0)
    assert model.none.weight.shape == (4, 0) and model.conv.weight.shape == (0, 2, 3, 3)


def test_a_parameter_that_nobody_writes_is_refused_as_before():
    def build():
        module = nn.Linear(2, 2)
        module.p = nn.Parameter(torch.empty(3))
        return module

    plan = initcfg.trace(build)
    assert plan.uninitialized == ("p",)
    with torch.device("meta"):
        model = build()
    with pytest.raises(ApplyError, match="Nothing says"):
        initcfg.materialize(model, plan=plan, seed=0)


def rows(w):
    w[:4].normal_()


def column(w):
    w[:, 0].fill_(1)


def diagonal(w):
    w.diagonal().fill_(1)


def checkers(w):
    w[::2, ::2].uniform_()
    w[1::2, 1::2].uniform_()


def data(w):
    w[:4] = torch.arange(32.0).reshape(4, 8) ** 0.5


def both_halves(w):
    w[:4].normal_()
    w[4:].zero_()


def quarters(w):
    for i in (0, 4):
        for j in (0, 4):
            nn.init.normal_(w[i : i + 4, j : j + 4])


def row_by_row(w):
    for row in w:
        nn.init.uniform_(row)


def every_other(w):
    w[::2].normal_()
    w[1::2].fill_(3)


PARTS = [rows, column, diagonal, checkers, data]
WHOLE = [both_halves, quarters, row_by_row, every_other]


def partly(write):
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.empty(8, 8))
            with torch.no_grad():
                write(self.w)

    return Half


@pytest.mark.parametrize("write", [*PARTS, *WHOLE])
def test_what_is_written_in_part_is_told(write):
    wanted = ("w",) if write in PARTS else ()
    plan = initcfg.trace(partly(write))
    assert plan.partly_written == wanted and plan.uninitialized == ()
    assert ("partly written  w: only a part of each has a value." in str(plan)) == bool(wanted)
    assert ("Only a part of it is written" in plan.explain("w")) == bool(wanted)
    assert Plan.from_json(plan.to_json()).partly_written == wanted
    with initcfg.deferred():
        model = partly(write)()
    assert initcfg.plan(model).partly_written == wanted


def test_strict_refuses_a_part_and_a_rule_mends_it():
    with initcfg.deferred():
        model = partly(rows)()
    with pytest.raises(UnusedRuleError, match="Only a part is written of 1 parameter"):
        initcfg.plan(model, strict=True)
    assert initcfg.plan(model, dict(type="Normal", param="w"), strict=True).partly_written == ()


def test_code_that_writes_a_part_of_what_nobody_wrote():
    class Own(initcfg.BaseModule):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.empty(8, 8))

        def init_weights(self):
            nn.init.normal_(self.w[:4])

    with initcfg.deferred():
        model = Own()
    assert initcfg.plan(model).partly_written == ("w",)
    with pytest.raises(UnusedRuleError, match="Only a part is written"):
        initcfg.plan(model, strict=True)
