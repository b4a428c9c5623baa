"""Tensors that the code computes from the same numbers are functions of one another under the stream, too."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from held_tensors import holding
from torch import nn

import initcfg
from initcfg.errors import ApplyError
from initcfg.values import Formula, Normal, Opaque

TABLE = np.linspace(0, 1, 2000, dtype="float32")


def of_a_table(size):
    """b = -W mean, the mean from NumPy."""

    def build():
        weight = torch.randn(8, size)
        return holding(w=weight, b=-weight @ torch.from_numpy(TABLE[:size]))

    return build, lambda m: m.b + m.w @ torch.from_numpy(TABLE[: m.w.shape[1]])


def of_an_own_generator():
    def build():
        features = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
        weight = torch.randn(8, 8)
        return holding(p=features, w=weight, q=weight @ features)

    return build, lambda m: m.q - m.w @ m.p


def orthogonalized(weight, steps):
    made = weight / weight.norm()
    for _ in range(steps):
        made = 1.5 * made - 0.5 * made @ made.T @ made
    return made


def of_many_operations(steps):
    def build():
        weight = torch.randn(8, 8)
        return holding(w=weight, o=orthogonalized(weight, steps))

    return build, lambda m: m.o - orthogonalized(m.w, steps)


def as_complex():
    def build():
        parts = torch.randn(4, 4, 2)
        whole = torch.view_as_complex(parts.clone())
        return holding(parts=parts, c=whole, imaginary=torch.view_as_real(whole)[..., 1].clone())

    return build, lambda m: torch.stack([m.c.real - m.parts[..., 0], m.imaginary - m.parts[..., 1]])


def conjugated():
    def build():
        whole = torch.randn(4, 4, dtype=torch.complex64)
        return holding(c=whole, d=whole.conj() * 2)

    return build, lambda m: torch.view_as_real((m.d - m.c.conj() * 2).resolve_conj())


def masked():
    mask = [float(index % 3 == 0) for index in range(32)]

    def build():
        weight = torch.randn(32, 4)
        return holding(w=weight, pruned=weight * torch.tensor(mask)[:, None])

    return build, lambda m: m.pruned - m.w * torch.tensor(mask)[:, None]


def looked_at(read):
    def build():
        weight = torch.randn(64, 4)
        shown = weight.clone()
        scale = read(weight)
        return holding(w=shown, v=weight / scale, u=shown + 1)

    return build, lambda m: torch.cat([m.v * read(m.w) - m.w, m.u - m.w - 1])


def by_way_of_numpy():
    def build():
        weight = torch.randn(40, 40)
        shown = weight.clone()
        return holding(w=shown, v=torch.from_numpy(np.flip(weight.numpy(), 0).copy()))

    return build, lambda m: m.v - m.w.flip(0)


def as_a_list():
    def build():
        weight = torch.randn(3, 3)
        return holding(w=weight.clone(), v=torch.tensor(weight.tolist()).T.clone())

    return build, lambda m: m.v - m.w.T


def a_copy_of_an_opaque_module():
    def build():
        online = nn.Linear(8, 8, bias=False)
        online.weight.data @= torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
        target = copy.deepcopy(online)
        moving = copy.deepcopy(online)
        moving.weight.data.mul_(0.5)
        return nn.ModuleList([online, target, moving])

    return build, lambda m: torch.stack([m[0].weight - m[1].weight, m[0].weight - 2 * m[2].weight])


def through_a_sparse_tensor():
    def build():
        weight = torch.randn(6, 6)
        return holding(w=weight.clone(), v=torch.sparse.mm(weight.to_sparse(), torch.eye(6)))

    return build, lambda m: m.v - m.w


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        return tensor * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def by_other_ways_to_compute():
    def build():
        weight = torch.randn(4, 3)
        rows = torch.func.vmap(lambda row: row / row.norm())(weight)
        return holding(w=weight, rows=rows, doubled=Doubled.apply(weight.clone()))

    return build, lambda m: torch.stack([m.rows - m.w / m.w.norm(dim=1, keepdim=True), m.doubled - 2 * m.w])


def solved():
    def build():
        weight = torch.randn(5, 5) + 5 * torch.eye(5)
        return holding(w=weight.clone(), inverse=torch.linalg.inv(weight))

    return build, lambda m: m.w @ m.inverse - torch.eye(5)


def seeded_alike():
    def build():
        tensors = []
        for shift in range(2):
            torch.manual_seed(3)
            tensors.append(torch.randn(5, 5).mul_(0.5) + shift)
        state = torch.get_rng_state()
        tensors.append(torch.rand(4))
        torch.set_rng_state(state)
        return holding(**dict(zip("abcd", (*tensors, torch.rand(4)), strict=True)))

    return build, lambda m: torch.cat([(m.b - m.a - 1).flatten(), m.c - m.d])


RELATED = {
    "seeded alike": seeded_alike(),
    "table": of_a_table(64),
    "long table": of_a_table(2000),
    "own generator": of_an_own_generator(),
    "many operations": of_many_operations(12),
    "too many operations": of_many_operations(150),
    "complex": as_complex(),
    "conjugated": conjugated(),
    "mask": masked(),
    "item": looked_at(lambda w: w.std().item()),
    "tolist": looked_at(lambda w: w[0].tolist()[0]),
    "numpy()": by_way_of_numpy(),
    "list": as_a_list(),
    "copies": a_copy_of_an_opaque_module(),
    "sparse": through_a_sparse_tensor(),
    "vmap and Function": by_other_ways_to_compute(),
    "solved": solved(),
}


@pytest.mark.parametrize("name", RELATED)
def test_a_relation_of_the_code_holds_under_the_stream(name):
    build, residual = RELATED[name]
    model = build()
    assert residual(model).abs().max() < 1e-5
    plan = initcfg.trace(build)
    first = {key: tensor.detach().clone() for key, tensor in model.named_parameters()}
    for seed in (0, 1):
        plan.apply(model, seed=seed)
        assert residual(model).abs().max() < 1e-5
        for key, tensor in model.named_parameters():
            if key != "p":
                assert not torch.equal(tensor, first[key])


@pytest.mark.parametrize("name", RELATED)
def test_a_relation_of_the_code_holds_in_a_deferred_model(name):
    build, residual = RELATED[name]
    with initcfg.deferred():
        model = build()
    initcfg.plan(model).apply(model, seed=0)
    assert residual(model).abs().max() < 1e-5


@pytest.mark.parametrize("name", RELATED)
def test_exported_rules_leave_a_relation_as_it_is(name):
    build, residual = RELATED[name]
    rules = initcfg.trace(build).to_init_cfg()
    model = build()
    initcfg.init_weights(model, rules, seed=0)
    assert residual(model).abs().max() < 1e-5


def test_what_shares_numbers_with_something_opaque_names_it():
    build, _ = of_an_own_generator()
    plan = initcfg.trace(build)
    assert plan["w"].value.code.endswith("build: it shares random numbers with q, which only code can fill")
    assert plan["q"].value.code == "build: it draws from a generator of its own"


def test_draws_after_other_draws_are_not_taken_for_the_same():
    def build():
        torch.manual_seed(3)
        first, second = torch.randn(4), torch.randn(4)
        torch.manual_seed(3)
        return holding(a=first, b=second, c=torch.empty(2).exponential_(), d=torch.randn(4))

    model = build()
    plan = initcfg.trace(build)
    plan.apply(model, seed=0)
    assert len({tuple(tensor.tolist()) for tensor in (model.a, model.b, model.d)}) == 3
    assert "draws of other kinds or shapes are independent" in plan.notes[0]


def test_what_cannot_stay_related_is_a_note_that_names_both():
    def build():
        weight = torch.randn(6, 6)
        return holding(w=weight.clone(), other=torch.randn(2), s=weight.to_sparse())

    plan = initcfg.trace(build)
    left = "s is sparse or quantized: the plan leaves it as the model has it, and no longer fits w."
    assert left in plan.notes


def test_what_shares_nothing_keeps_its_value():
    def build():
        weight, other = torch.randn(4, 4), torch.randn(4, 4)
        return holding(w=weight, other=other, q=weight @ torch.randn(4, 4, generator=torch.Generator()))

    plan = initcfg.trace(build)
    assert isinstance(plan["w"].value, Opaque)
    assert plan["other"].value == Normal(0.0, 1.0)


def test_a_table_alone_is_no_formula_and_a_relation_is():
    build, _ = of_a_table(64)
    assert isinstance(initcfg.trace(build)["b"].value, Formula)
    table = initcfg.trace(lambda: holding(t=torch.from_numpy(TABLE[:64].copy())))
    assert isinstance(table["t"].value, Opaque)


class Changed(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 4))
        self.b = nn.Parameter(torch.zeros(4))
        self.q = nn.Parameter(torch.zeros(4, 4))


def change(model):
    with torch.no_grad():
        model.b.copy_(model.w @ torch.randn(4, generator=torch.Generator().manual_seed(0)))
        model.q.copy_(model.w)
        model.w.mul_(2)


@pytest.mark.parametrize("other", [False, True])
def test_code_finds_what_the_model_holds_to_which_it_is_applied(other):
    traced = Changed()
    plan = initcfg.trace(change, traced)
    model = Changed() if other else traced
    before = model.w.detach().clone()
    plan.apply(model, seed=0)
    assert torch.equal(model.w, before * 2)
    assert torch.equal(model.q, before)
    projection = torch.randn(4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.b, before @ projection)
    assert not other or not torch.equal(traced.w, before)


def test_code_finds_another_layout_and_type_of_device_memory():
    plan = initcfg.trace(change, Changed())
    model = Changed()
    model.w = nn.Parameter(model.w.detach().t().contiguous().t())
    before = model.w.detach().clone()
    plan.apply(model, seed=0)
    assert torch.equal(model.q, before)


def test_related_tensors_are_the_same_in_a_file_and_in_a_model(tmp_path):
    build, residual = of_an_own_generator()
    plan = initcfg.trace(build)
    plan.save_weights(tmp_path, seed=3)
    model, stored = build(), build()
    plan.apply(model, seed=3)
    initcfg.init_weights(stored, dict(type="Pretrained", checkpoint=str(tmp_path)))
    assert residual(stored).abs().max() < 1e-5
    assert torch.equal(stored.w, model.w)


def test_a_plan_that_was_read_says_that_code_must_run():
    build, _ = of_an_own_generator()
    plan = initcfg.Plan.from_json(initcfg.trace(build).to_json())
    with pytest.raises(ApplyError, match="holds code of the model's own, which JSON cannot carry"):
        plan.apply(build(), seed=0)
