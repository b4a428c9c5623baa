"""Initialization code of the nasty kind: each of these once came out wrong."""

from __future__ import annotations

import copy
import io
import math
import pickle
import random
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from held_tensors import bits, changed, holding, tensors_of
from torch import nn

import initcfg
from initcfg.errors import ApplyError
from initcfg.values import Constant, Keep, Normal, Opaque


def seed_all(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


# -- with torch's generator: the code's own bits -------------------------------------------------


def in_train_mode():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True)
    )
    module(torch.randn(2, 3, 8, 8))
    return module


def lazy():
    module = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    module(torch.randn(5, 3))
    return module


def trained():
    module = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.ones(2, 4)).pow(2).sum().backward()
        optimizer.step()
    return module


def unpickled():
    return pickle.loads(pickle.dumps(nn.Linear(4, 4)))


def saved():
    module, buffer = nn.Linear(4, 4), io.BytesIO()
    torch.save(nn.Linear(4, 4).state_dict(), buffer)
    buffer.seek(0)
    module.load_state_dict(torch.load(buffer))
    return module


def on_meta():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, device="meta"))
    module[1].to_empty(device="cpu")
    module[1].reset_parameters()
    return module


def forked(tensor):
    with torch.random.fork_rng([]):
        tensor.normal_()
    tensor.add_(torch.randn(16, 8))


def twice_the_same(tensor):
    state = torch.get_rng_state()
    tensor.normal_()
    torch.set_rng_state(state)
    tensor.mul_(torch.randn(16, 8))


def resized():
    out = torch.empty(0)
    torch.mul(torch.randn(3), 2, out=out)
    return holding(p=out)


def elsewhere():
    made = []
    thread = threading.Thread(target=lambda: made.append(nn.Linear(3, 3)))
    thread.start()
    thread.join()
    return made[0]


def whole_numbers():
    return holding(
        large=torch.full((2,), 2**63 - 1), odd=torch.full((2,), 2**53 + 1), one=torch.tensor([2**62 + 1])
    )


def quantized():
    module = nn.Linear(3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.register_buffer("q", torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8))
    return module


def sparse():
    module = nn.Linear(3, 3)
    module.register_buffer("s", torch.eye(3).to_sparse())
    return module


HOSTILE = {
    "batch norm moves its statistics": in_train_mode,
    "lazy": lazy,
    "trained": trained,
    "unpickled": unpickled,
    "saved": saved,
    "meta": on_meta,
    "resized": resized,
    "thread": elsewhere,
    "whole numbers": whole_numbers,
    "sparse": sparse,
    "seeded": changed(lambda p: (p.normal_(), torch.manual_seed(5), p.add_(torch.randn(16, 8)))),
    "seeded last": changed(lambda p: (p.normal_(), torch.manual_seed(5))),
    "seeded itself": changed(lambda p: (torch.default_generator.manual_seed(5), p.normal_())),
    "forked": changed(forked),
    "twice": changed(twice_the_same),
    "noise": changed(lambda p: p.copy_(F.rrelu(torch.randn(16, 8), training=True))),
    "conjugated": changed(lambda p: p.copy_(torch.randn(16, 8, dtype=torch.complex64).conj().imag)),
    "negated view": changed(lambda p: p.copy_(torch.imag(torch.randn(16, 8, dtype=torch.cfloat).conj()))),
    "list of tensors": changed(lambda p: p.copy_(torch.tensor([torch.randn(()) for _ in range(8)]))),
    "printed": changed(lambda p: (p.normal_(), p.mul_(len(str(p[0, 0])) * 0.1))),
    "numpy draws": changed(lambda p: p.copy_(torch.from_numpy(np.random.randn(16, 8)))),
    "numpy draws few": changed(lambda p: p.copy_(torch.from_numpy(np.random.randn(8)))),
    "python draws": changed(lambda p: p.normal_(0, random.random())),
    "random number": changed(lambda p: p.fill_(torch.rand(()))),
    "random element": changed(lambda p: p.fill_(torch.rand(1)[0])),
    "too large": changed(lambda p: p.fill_(1e38).mul_(10)),
    "times infinity": changed(lambda p: p.normal_().mul_(math.inf)),
    "times nothing": changed(lambda p: p.normal_().mul_(0.0)),
    "minus zero": changed(lambda p: p.zero_().neg_()),
    "singular values": changed(lambda p: (p.normal_(), p.div_(torch.linalg.matrix_norm(p, 2)))),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("deferred", [False, True])
def test_with_torch_it_is_the_code_itself(name, deferred):
    build = HOSTILE[name]
    seed_all(11)
    expected = build()
    after = torch.get_rng_state()
    seed_all(8)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    plan = initcfg.trace(build)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    if deferred:
        with initcfg.deferred():
            model = build()
    else:
        model = build()
    seed_all(11)
    plan.apply(model, rng="torch")
    assert torch.equal(torch.get_rng_state(), after)
    for key, tensor in tensors_of(expected).items():
        if tensor.layout is torch.strided:
            assert bits(tensor) == bits(tensors_of(model)[key]), key


@pytest.mark.parametrize("name", [*HOSTILE, "quantized"])
def test_one_seed_gives_one_model(name):
    build = {**HOSTILE, "quantized": quantized}[name]
    plan = initcfg.trace(build)
    one, two = build(), build()
    plan.apply(one, seed=3)
    random.random()
    np.random.rand()
    plan.apply(two, seed=3)
    for key, tensor in tensors_of(one).items():
        if key not in "qs":
            assert bits(tensor) == bits(tensors_of(two)[key]), key


# -- what depends on numbers that the code saw ---------------------------------------------------


def chosen():
    module = nn.ModuleList([nn.Linear(4, 4) for _ in range(40)])
    nn.init.zeros_(module[int(torch.randint(0, 40, ()))].weight)
    return module


SEEN = {
    "its number": changed(lambda p: p.fill_(torch.randn(1).item())),
    "its place": changed(lambda p: (p.zero_(), p.__setitem__(int(torch.randint(0, 16, (1,))), 1.0))),
    "how many": changed(lambda p: p.fill_(float((torch.rand(99) > 0.5).nonzero().shape[0]))),
    "list": changed(lambda p: p.normal_(torch.rand(3).tolist()[1])),
    "any": changed(lambda p: (p.normal_(), p.zero_() if bool((p > 3).any()) else None)),
    "equal": changed(lambda p: (p.normal_(), p.zero_() if torch.equal(p[0], p[1]) else None)),
    "close": changed(lambda p: (p.normal_(), p.zero_() if torch.allclose(p, p + 1) else None)),
    "python": changed(lambda p: p.normal_(0, random.random())),
    "numpy": changed(lambda p: p.fill_(np.random.rand())),
    "printed": changed(lambda p: (p.normal_(), p.mul_(len(repr(p))))),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_was_seen_is_said(name):
    plan = initcfg.trace(SEEN[name])
    value = plan["p"].value
    assert isinstance(value, Opaque)
    assert "test_hostile_code.py" in value.code
    assert "look" in value.code


def test_only_what_depends_is_opaque():
    plan = initcfg.trace(chosen)
    opaque = [name for name, item in plan.items() if isinstance(item.value, Opaque)]
    assert opaque
    assert len(opaque) <= 3
    assert all(name.endswith(".weight") for name in opaque)


def test_numbers_that_are_not_random_may_be_seen():
    def build():
        module = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])
        for layer, rate in zip(module, torch.linspace(0, 0.5, 3), strict=True):
            nn.init.normal_(layer.weight, std=1 - rate.item())
        assert torch.isfinite(torch.arange(3.0)).all()
        return module

    assert initcfg.trace(build)["1.weight"].value == Normal(0.0, 0.75)


def test_an_opaque_buffer_does_not_go_through_json():
    def build():
        module = nn.Linear(2, 2)
        module.register_buffer("b", torch.full((2,), torch.rand(1).item()))
        return module

    plan = initcfg.trace(build)
    assert isinstance(plan["b"].value, Opaque)
    with pytest.raises(ApplyError, match="code"):
        initcfg.Plan.from_json(plan.to_json()).apply(build(), seed=0)


def test_code_that_seeds_is_told():
    def build():
        torch.manual_seed(0)
        return nn.Linear(2, 2)

    plan = initcfg.trace(build)
    assert "seeds torch's generator" in plan.notes[0]
    assert "test_hostile_code.py" in plan.notes[0]
    assert not initcfg.trace(lambda: nn.Linear(2, 2)).notes
    assert "s is sparse" in initcfg.trace(sparse).notes[0]


# -- numbers that are known ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_constants_are_rounded_as_the_code_rounds(dtype):
    def build():
        return holding(
            a=torch.full((3,), 0.1, dtype=dtype) * 3,
            b=torch.empty(3, dtype=dtype).fill_(0.1).mul_(0.1).mul_(7.0),
            c=(torch.ones(3) * 0.1).to(dtype) + 1e-3,
            d=torch.full((3,), 0.1).to(dtype).float(),
            e=torch.ones(3, dtype=dtype).div(3).add(1 / 7),
        )

    plan, expected, model = initcfg.trace(build), build(), build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    plan.apply(model, seed=0)
    for name, tensor in tensors_of(expected).items():
        assert isinstance(plan[name].value, Constant)
        assert torch.equal(tensor, tensors_of(model)[name]), name
    assert initcfg.trace(changed(lambda p: p.fill_(0.1).mul_(2)))["p"].value == Constant(0.2)


def test_rounded_draws_stay_rounded():
    build = changed(lambda p: p.copy_(torch.randn(16, 8).half().float()))
    model = build()
    initcfg.trace(build).apply(model, seed=0)
    assert torch.equal(model.p, model.p.half().float())


def test_parts_on_the_meta_device_are_kept():
    plan = initcfg.trace(lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, device="meta")))
    assert plan["0.weight"].value.kind == "Uniform"
    assert isinstance(plan["1.weight"].value, Keep)


def test_the_older_weight_norm():
    def build():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return nn.utils.weight_norm(nn.Linear(6, 4))

    model = build()
    initcfg.trace(build).apply(model, seed=0)
    torch.testing.assert_close(model.weight_g, model.weight_v.norm(dim=1, keepdim=True))


def test_inference_mode_does_not_break_a_deferred_build():
    with initcfg.deferred(), torch.inference_mode():
        model = nn.Linear(3, 3)
    with pytest.raises(initcfg.errors.TensorError, match="inference_mode"):
        initcfg.plan(model).apply(model, seed=0)


def test_deferred_code_that_looks_can_be_replayed():
    def fill(tensor):
        draw = torch.randn(500)
        tensor.copy_(draw[draw > 0][:128].view(16, 8))

    with initcfg.deferred():
        model = changed(fill)()
    before = model.p.detach().clone()
    initcfg.plan(model).apply(model, rng="torch")
    assert torch.equal(model.p, before)
    assert bool((model.p > 0).all())


def test_replay_begins_with_what_the_model_holds():
    def average(module):
        with torch.no_grad():
            module[1].weight[:3].mul_(0.5).add_(module[0].weight[:3])
            module[1].bias.add_(torch.randn(4))

    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    expected, turned = copy.deepcopy(model), copy.deepcopy(model)
    for layer in turned:
        layer.weight.data = layer.weight.data.t().contiguous().t()
    plan = initcfg.trace(average, model)
    torch.manual_seed(2)
    average(expected)
    for each in (model, turned):
        torch.manual_seed(2)
        plan.apply(each, rng="torch")
        for key, tensor in tensors_of(expected).items():
            assert torch.equal(tensor, tensors_of(each)[key]), key


@pytest.mark.parametrize("change", ["backward", "zero_grad", "in place"])
def test_gradients_stay(change):
    model = nn.Linear(3, 3)
    model.weight.grad = torch.ones(3, 3)
    kept = model.weight.grad

    def init(module):
        if change == "backward":
            module(torch.randn(2, 3)).sum().backward()
        elif change == "zero_grad":
            module.zero_grad()
        else:
            module.weight.grad.zero_()
        nn.init.normal_(module.weight)

    assert initcfg.trace(init, model)["weight"].value == Normal(0.0, 1.0)
    assert model.weight.grad is kept
    assert kept.tolist() == [[1.0] * 3] * 3
    assert model.bias.grad is None
