"""Loading: what apply checks before the first write, reads, and puts into the ledger."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from loading_models import Backbone, Detector, bits, loading, state_of
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import errors
from initcfg._checkpoints.formats.into_memory import Numbers

# -- apply ---------------------------------------------------------------------------------------


def test_buffers_are_loaded_and_reported_like_parameters():
    state = state_of(Backbone())
    model = Backbone(loading(state))
    ledger = initcfg.init_weights(model)
    assert torch.equal(model.bn.running_var, state["bn.running_var"])
    assert ledger["bn.num_batches_tracked"].loaded.dtype == "int64"
    with pytest.raises(errors.CheckpointError, match=re.escape("bn.running_mean")):
        initcfg.plan(Backbone(loading({k: v for k, v in state.items() if "mean" not in k}, strict="model")))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_not_finite(number):
    state = state_of(Backbone())
    state["fc.weight"][1, 1:3] = number
    model = Backbone(loading(state))
    ledger = initcfg.init_weights(model)
    assert ledger["fc.weight"].loaded.non_finite == 2
    assert ledger["conv.weight"].loaded.non_finite == 0
    assert "fc.weight (2)" in str(ledger)
    model = Backbone([dict(type="Constant", layer="Conv2d", val=1), loading(state, finite=True)])
    before = bits(model)
    with pytest.raises(errors.CheckpointError, match=r"fc\.weight \(2 numbers\)"):
        initcfg.init_weights(model)
    assert bits(model) == before
    # What is not loaded may be as it is.
    initcfg.init_weights(Backbone(loading(state, finite=True, exclude="fc")))


def test_numbers_that_the_type_here_cannot_hold():
    state = {"weight": torch.full((2, 2), 1e6), "bias": torch.zeros(2)}
    model = nn.Linear(2, 2).half()
    before = bits(model)
    with pytest.raises(errors.CheckpointError, match=r"does not hold 1000000\.0 and 3 other numbers"):
        initcfg.init_weights(model, loading(state))
    assert bits(model) == before
    ledger = initcfg.init_weights(model, loading(state, adapt="dtype"))
    assert ledger["weight"].loaded.non_finite == 4
    with pytest.raises(errors.CheckpointError, match=r"weight \(4 numbers\)"):
        initcfg.init_weights(nn.Linear(2, 2).half(), loading(state, finite=True, adapt="dtype"))


def test_a_file_that_changes_after_the_plan_is_found_before_the_first_write(tmp_path):
    path = tmp_path / "a.pth"
    state = state_of(Backbone())
    for change in ({"fc.weight": torch.ones(2, 2)}, {"fc.weight": None}):
        torch.save(state, path)
        model = Backbone([dict(type="Constant", layer="Conv2d", val=1), loading(str(path))])
        plan = initcfg.plan(model)
        torch.save({k: change.get(k, v) for k, v in state.items() if change.get(k, v) is not None}, path)
        before = bits(model)
        elsewhere = initcfg.Plan.from_json(plan.to_json())
        for each, says in ((plan, "has changed since"), (elsewhere, r"planned with|any more")):
            with pytest.raises(errors.CheckpointError, match=says):
                each.apply(model)
        assert bits(model) == before


def test_sha256(tmp_path):
    import hashlib

    path = tmp_path / "a.pth"
    torch.save(state_of(Backbone()), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    model = Backbone(loading(path, sha256=digest.upper()))
    ledger = initcfg.init_weights(model)
    assert ledger["conv.weight"].loaded.sha256 == digest
    assert ledger.loads[0].sha256 == digest
    wrong = Backbone(loading(path, sha256="0" * 64))
    before = bits(wrong)
    with pytest.raises(errors.CheckpointError, match=digest):
        initcfg.init_weights(wrong)
    assert bits(wrong) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (dict(checkpoint=3), "a path, a URL, a state_dict or a function"),
        (dict(checkpoint="a", prefix=3), "prefix must be a string"),
        (dict(checkpoint="a", sha256="abc"), "64 hexadecimal digits"),
        (dict(checkpoint="a", finite=1), "finite must be True or False"),
        (dict(checkpoint="a", offline="no"), "offline must be True or False"),
        (dict(checkpoint="a", layer="Conv2d"), "takes no argument 'layer'|takes no layer"),
        (dict(checkpoint="a", buffer="x"), "takes no layer, name, param, buffer or role"),
        (dict(checkpoint="a", adpat="auto"), "takes no argument 'adpat'"),
    ],
)
def test_wrong_arguments(arguments, says):
    with pytest.raises(errors.ArgumentError, match=says):
        initcfg.plan(Backbone(dict(type="Pretrained", **arguments)))


def test_the_original_knows_none_of_this():
    state = state_of(Backbone())
    for extra in (dict(exclude="fc"), dict(adapt="auto"), dict(strict="model")):
        with pytest.raises(errors.ArgumentError, match="extension of Pretrained"):
            initcfg.plan(Backbone(loading(state, **extra)), compat="mmengine")
    plan = initcfg.plan(Backbone(loading(state | {"fc.weight": torch.ones(1)})), compat="mmengine")
    assert plan.loads[0].mismatched and not plan.loads[0].hints


@pytest.mark.parametrize("rng", ["stream", "torch"])
def test_user_code_between_the_rules(rng):
    class Head(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def init_weights(self) -> None:
            initcfg.initialize(self, loading({"fc.weight": torch.full((2, 2), 9.0)}))

    class Model(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__(dict(type="Constant", layer="Linear", val=1, bias=2))
            self.head = Head()
            self.other = nn.Linear(2, 2)

    model = Model()
    ledger = initcfg.plan(model).apply(model, rng=rng)
    assert model.head.fc.weight.unique().tolist() == [9.0]
    assert model.head.fc.bias.unique().tolist() == [2.0]
    assert [load.loaded for load in ledger.loads] == [1]


def test_only_what_is_needed_is_read(monkeypatch):
    from initcfg._checkpoints import Stored

    read: list[Any] = []
    original: Callable[..., None] = Stored.read_into
    monkeypatch.setattr(
        Stored,
        "read_into",
        lambda self, target, offsets: read.append(self.read()) or original(self, target, offsets),
    )
    state = state_of(Backbone())
    inner = loading({"conv.weight": state["conv.weight"]})
    initcfg.init_weights(
        Detector(inner=inner, outer=loading({"backbone." + k: v for k, v in state.items()}, exclude="*.fc"))
    )
    wanted = {name: tensor for name, tensor in state.items() if "fc" not in name}
    assert len(read) == len(wanted)
    assert {each.data_ptr() for each in read} == {each.data_ptr() for each in wanted.values()}


# -- several tensors at a time -------------------------------------------------------------------


def saved_layers(path, count=12):
    model = nn.Sequential(*(nn.Linear(50, 60) for _ in range(count)))
    save_file({key: each.clone() for key, each in model.state_dict().items()}, path)
    return model.state_dict()


def test_threads_that_read_ahead_give_what_one_reads_and_are_gone(tmp_path, monkeypatch):
    state = saved_layers(tmp_path / "a.safetensors")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "a.safetensors"))
    before = threading.active_count()
    ledgers = []
    for threads in ("1", "3"):
        monkeypatch.setenv("INITCFG_THREADS", threads)
        model = nn.Sequential(*(nn.Linear(50, 60) for _ in range(12)))
        plan = initcfg.plan(model, rule)
        ledgers.append(plan.apply(model, seed=0))
        assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())
        assert threading.active_count() == before
    assert ledgers[0].to_json() == ledgers[1].to_json()


def test_what_was_read_ahead_when_another_tensor_failed_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("INITCFG_THREADS", "2")
    saved_layers(tmp_path / "a.safetensors")
    model = nn.Sequential(*(nn.Linear(50, 60) for _ in range(12)))
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(tmp_path / "a.safetensors")))
    read, calls = Numbers.read_into, []

    def fails_at_the_fifth(self, target):
        calls.append(self)
        if len(calls) == 5:
            raise errors.CheckpointError("The fifth cannot be read.")
        read(self, target)

    monkeypatch.setattr(Numbers, "read_into", fails_at_the_fifth)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with pytest.raises(errors.CheckpointError, match="The fifth"):
        plan.apply(model, seed=0)
    changed = sum(not torch.equal(each, before[name]) for name, each in model.named_parameters())
    with pytest.raises(errors.InitcfgError) as caught:
        model(torch.zeros(1, 50))
    told = int(re.search(r"(\d+) tensors? had been written", str(caught.value)).group(1))
    assert changed <= told <= len(calls)
