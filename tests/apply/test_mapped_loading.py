"""Loading without copying: the same numbers, in the file's own pages, which nobody writes to."""

from __future__ import annotations

import copy
import gc
import hashlib
import io
import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset

import initcfg
from initcfg._apply import source_digests
from initcfg._checkpoints.formats import open_path
from initcfg.errors import ApplyError, ArgumentError, CheckpointError


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(40, 30), nn.BatchNorm1d(30), nn.Linear(30, 40, bias=False))


@pytest.fixture(params=["safetensors", "pth", "folder"])
def checkpoint(request, tmp_path):
    """A checkpoint of a network, and what it holds."""
    torch.manual_seed(1)
    state = network().state_dict()
    if request.param == "pth":
        path = tmp_path / "weights.pth"
        torch.save(state, path)
    elif request.param == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    else:
        path = tmp_path / "folder"
        path.mkdir()
        parts = {"a.safetensors": list(state)[:3], "b.safetensors": list(state)[3:]}
        for name, keys in parts.items():
            save_file({key: state[key] for key in keys}, path / name)
        index = {"weight_map": {key: name for name, keys in parts.items() for key in keys}}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path, {key: each.clone() for key, each in state.items()}


def bytes_of(path) -> list[str]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [hashlib.sha256(each.read_bytes()).hexdigest() for each in files]


def rule(path, **more) -> dict:
    return dict(type="Pretrained", checkpoint=str(path), copy=False, **more)


def same(model: nn.Module, state) -> bool:
    found = model.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


def mapped_lines() -> str:
    with open("/proc/self/maps") as lines:
        return lines.read()


def test_the_numbers_are_those_of_the_file_and_lie_in_it(checkpoint):
    path, state = checkpoint
    model = network()
    model[0].weight.requires_grad_(False)
    before = dict(model.named_parameters())
    places = {name: each.data_ptr() for name, each in before.items()}
    ledger = initcfg.plan(model, rule(path)).apply(model, seed=0)
    assert same(model, state)
    # The same objects, in other memory.
    after = dict(model.named_parameters())
    assert all(after[name] is before[name] for name in before)
    assert all(after[name].data_ptr() != places[name] for name in before)
    assert [name for name, each in after.items() if not each.requires_grad] == ["0.weight"]
    for written in ledger.values():
        assert (written.loaded.mapped, written.loaded.copied, written.loaded.non_finite) == (True, None, None)
    assert "mapped, not copied: 8 tensors" in str(ledger)
    if os.path.exists("/proc/self/maps"):
        assert str(path) in mapped_lines()
        del model, before, after
        gc.collect()
        assert str(path) not in mapped_lines()


def test_training_in_place_leaves_the_file_alone(checkpoint):
    path, state = checkpoint
    before = bytes_of(path)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    initcfg.plan(model, rule(path)).apply(model, seed=0)
    other = network()
    initcfg.plan(other, rule(path)).apply(other, seed=0)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(8, 40)).square().sum().backward()
        optimizer.step()
    assert not torch.equal(model[0].weight, state["0.weight"])
    assert int(model[1].num_batches_tracked) == 2
    assert bytes_of(path) == before
    # Nor does another model see it, nor who opens the file again.
    assert same(other, state)
    with open_path(path) as reader:
        assert torch.equal(reader.read("0.weight"), state["0.weight"])


def test_assign_maps_what_the_rules_would_copy(checkpoint):
    path, state = checkpoint
    model = network()
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(path)))
    assert not any(each.loaded.mapped for each in plan.apply(model, seed=0).values())
    assert all(each.loaded.mapped for each in plan.apply(model, seed=0, assign=True).values())
    assert same(model, state)
    with pytest.raises(ApplyError, match="takes True or False as assign, not 1"):
        plan.apply(model, assign=1)


def test_copies_pickles_and_files_of_mapped_weights_are_whole_and_no_larger(checkpoint, tmp_path):
    path, state = checkpoint
    model = network()
    initcfg.plan(model, rule(path)).apply(model, seed=0)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[0].weight.zero_()
    assert same(model, state)
    buffer, plain = io.BytesIO(), io.BytesIO()
    torch.save(model.state_dict(), buffer)
    torch.save({key: each.clone() for key, each in state.items()}, plain)
    # No tensor takes the file along.
    assert abs(len(buffer.getvalue()) - len(plain.getvalue())) < 2000
    buffer.seek(0)
    assert all(torch.equal(each, state[key]) for key, each in torch.load(buffer).items())
    save_file(model.state_dict(), tmp_path / "again.safetensors")
    assert all(
        torch.equal(each, state[key]) for key, each in load_file(tmp_path / "again.safetensors").items()
    )


def test_the_file_may_go_once_it_is_mapped(checkpoint):
    path, state = checkpoint
    model = network()
    initcfg.plan(model, rule(path)).apply(model, seed=0)
    for each in [path] if path.is_file() else list(path.iterdir()):
        each.unlink()
    assert same(model, state)


def test_one_place_in_the_file_is_two_memories(tmp_path):
    shared = torch.randn(20, 20)
    torch.save(
        {"0.weight": shared, "1.weight": shared, "2.weight": shared.view(-1)[:200].view(10, 20)},
        tmp_path / "a.pth",
    )
    model = nn.Sequential(*(nn.Linear(20, size, bias=False) for size in (20, 20, 10)))
    ledger = initcfg.plan(model, rule(tmp_path / "a.pth")).apply(model, seed=0)
    assert all(each.loaded.mapped for each in ledger.values())
    with torch.no_grad():
        model[0].weight.zero_()
        model[2].weight.fill_(1)
    assert torch.equal(model[1].weight, shared)


def reasons(ledger) -> dict[str, str | None]:
    return {name: each.loaded.copied for name, each in ledger.items()}


def test_a_file_is_not_mapped_for_any_number_of_tensors_at_one_place(tmp_path):
    model = nn.Sequential(*(nn.Linear(5, 6, bias=False) for _ in range(300)))
    weight = torch.randn(6, 5)
    torch.save({f"{number}.weight": weight for number in range(300)}, tmp_path / "a.pth")
    ledger = initcfg.init_weights(model, rule(tmp_path / "a.pth"))
    found = list(reasons(ledger).values())
    assert found.count(None) == 256
    assert set(found) == {None, "the system does not map the file (256 tensors lie at one place in it)"}
    assert all(torch.equal(each.weight, weight) for each in model)


def test_what_cannot_be_mapped_is_copied_and_the_ledger_says_why(tmp_path):
    state = {
        "0.weight": torch.randn(6, 5).double(),
        "1.weight": torch.randn(5, 6).t(),
        "2.weight": torch.randn(7, 5),
        "3.weight": torch.randn(6, 5),
        "4.weight": torch.randn(6, 5),
    }
    torch.save(state, tmp_path / "a.pth")
    model = nn.Sequential(*(nn.Linear(5, 6, bias=False) for _ in range(5)))
    # Two halves of one memory.
    together = torch.zeros(12, 5)
    model[3].weight.data, model[4].weight.data = together[:6], together[6:]
    plan = initcfg.plan(model, rule(tmp_path / "a.pth", adapt={"2.weight": "shrink", "0.weight": "dtype"}))
    ledger = plan.apply(model, seed=0)
    found = reasons(ledger)
    assert found.pop("2.weight") in (None, "it is computed")
    assert found == {
        "0.weight": "it is float64 there",
        "1.weight": "its elements lie in another order there",
        "3.weight": "its memory is part of another's",
        "4.weight": "its memory is part of another's",
    }
    assert torch.equal(model[0].weight, state["0.weight"].float())
    assert torch.equal(model[1].weight, state["1.weight"])
    assert torch.equal(together, torch.cat([state["3.weight"], state["4.weight"]]))
    assert "copied: 2 tensors, since its memory is part of another's" in str(ledger)
    assert "what is converted or adapted is copied all the same" in str(plan)


def test_other_memory_is_given_to_a_mapped_tensor_but_no_other_size(tmp_path):
    save_file({"weight": torch.ones(6, 5)}, tmp_path / "a.safetensors")
    model = nn.Linear(5, 6, bias=False)
    initcfg.init_weights(model, rule(tmp_path / "a.safetensors"))
    with pytest.raises(RuntimeError, match="not resizable"):
        model.weight.untyped_storage().resize_(0)
    shared = model.share_memory()
    assert shared.weight.is_shared() and torch.equal(shared.weight, torch.ones(6, 5))
    assert model.half().weight.dtype == torch.float16


class OneArray(nn.Module):
    """A parameter, and what lies in its memory by a storage of its own: another parameter, or a buffer."""

    def __init__(self, kind: str):
        super().__init__()
        array = np.zeros((6, 5), dtype=np.float32)
        self.a = nn.Parameter(torch.from_numpy(array))
        if kind == "parameter":
            self.b = nn.Parameter(torch.from_numpy(array))
        else:
            self.register_buffer("b", torch.from_numpy(array[2:3]), persistent=False)


@pytest.mark.parametrize("kind", ["parameter", "buffer"])
def test_memory_of_an_array_is_not_taken_from_its_other_tensor(tmp_path, kind):
    save_file({"a": torch.ones(6, 5)}, tmp_path / "a.safetensors")
    found = []
    for copied in (True, False):
        model = OneArray(kind)
        ledger = initcfg.init_weights(model, {**rule(tmp_path / "a.safetensors"), "copy": copied})
        found.append((model.a.tolist(), model.b.tolist()))
    assert found[0] == found[1] and found[1][1][0] == [1.0] * 5
    assert ledger["a"].loaded.copied == "its memory is part of another's"


def test_an_odd_place_in_the_file(tmp_path):
    header = json.dumps(
        {
            "mask": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
            "weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [3, 19]},
        }
    ).encode()
    numbers = torch.randn(2, 2)
    data = len(header).to_bytes(8, "little") + header + b"abc" + numbers.numpy().tobytes()
    (tmp_path / "a.safetensors").write_bytes(data)
    model = nn.Linear(2, 2, bias=False)
    ledger = initcfg.plan(model, rule(tmp_path / "a.safetensors")).apply(model, seed=0)
    odd = (len(header) + 3) % 4 != 0
    assert bool(ledger["weight"].loaded.copied) == odd
    assert torch.equal(model.weight, numbers)


def test_a_state_dict_stays_its_own(tmp_path):
    model, state = nn.Linear(2, 2), nn.Linear(2, 2).state_dict()
    ledger = initcfg.init_weights(model, dict(type="Pretrained", checkpoint=state, copy=False), seed=0)
    assert set(reasons(ledger).values()) == {"it is in memory"}
    with torch.no_grad():
        model.weight.zero_()
    assert state["weight"].abs().sum() > 0


def test_tied_parameters_stay_one(tmp_path):
    source = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    source[1].weight = source[0].weight
    torch.save(source.state_dict(), tmp_path / "a.pth")
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    model[1].weight = model[0].weight
    ledger = initcfg.plan(model, rule(tmp_path / "a.pth")).apply(model, seed=0)
    assert model[1].weight is model[0].weight
    assert ledger["0.weight"].loaded.mapped
    assert torch.equal(model[1].weight, source[0].weight)


class Coded(initcfg.BaseModule):
    """A module whose own code runs when a plan is applied."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()
        self.scale = nn.Parameter(torch.ones(3))

    def init_weights(self) -> None:
        super().init_weights()
        with torch.no_grad():
            self.scale.copy_(torch.from_numpy(self.scale.numpy() * 2))


def test_where_code_of_the_models_own_runs_everything_is_copied(tmp_path):
    source = Coded().state_dict()
    save_file(source, tmp_path / "a.safetensors")
    model = Coded()
    plan = initcfg.plan(model, rule(tmp_path / "a.safetensors", exclude="scale"))
    assert plan.tape.calls
    ledger = plan.apply(model, seed=0)
    assert ledger["net.0.weight"].loaded.copied == "code of the model's own runs"
    assert torch.equal(model.net[0].weight, source["net.0.weight"])
    assert model.scale.tolist() == [2, 2, 2]


def test_deferred_models_and_models_on_meta(checkpoint):
    path, state = checkpoint
    with initcfg.deferred():
        model = network()
    initcfg.init_weights(model, rule(path), seed=0)
    assert same(model, state)
    assert not any(each.is_meta for each in model.state_dict().values())
    with torch.device("meta"):
        model = network()
    ledger = initcfg.materialize(model, rule(path), seed=0)
    assert same(model, state)
    assert all(each.loaded.mapped for each in ledger.values())


def test_a_file_that_changed_is_not_mapped(tmp_path):
    save_file({"weight": torch.ones(4, 4)}, tmp_path / "a.safetensors")
    with open_path(tmp_path / "a.safetensors") as reader:
        stored = reader.tensors["weight"]
        os.utime(tmp_path / "a.safetensors", ns=(1, 1))
        with pytest.raises(CheckpointError, match="changed while it was read"):
            stored.mapped()
    with open_path(tmp_path / "a.safetensors") as reader:
        stored = reader.tensors["weight"]
        save_file({"weight": torch.zeros(4, 4)}, tmp_path / "b.safetensors")
        os.replace(tmp_path / "b.safetensors", tmp_path / "a.safetensors")
        with pytest.raises(CheckpointError, match="changed while it was read"):
            stored.mapped()


def test_a_large_file_is_not_read_for_its_digest_unless_it_is_known(checkpoint, monkeypatch):
    path, _ = checkpoint
    monkeypatch.setattr(source_digests, "_SMALL", 0)
    model = network()
    plan = initcfg.plan(model, rule(path))
    mapped, copied = plan.apply(model, seed=0), initcfg.plan(model, {**rule(path), "copy": True}).apply(model)
    assert mapped.loads[0].sha256 is None
    assert copied.loads[0].sha256 is not None
    if path.is_file():
        digest = bytes_of(path)[0]
        asked = initcfg.plan(model, rule(path, sha256=digest)).apply(model, seed=0)
        assert asked.loads[0].sha256 == digest
        assert all(each.loaded.mapped for each in asked.values())
        with pytest.raises(CheckpointError, match="SHA-256"):
            initcfg.plan(model, rule(path, sha256="0" * 64)).apply(model, seed=0)


def test_finite_is_looked_for_all_the_same(tmp_path):
    save_file({"weight": torch.full((2, 2), torch.nan)}, tmp_path / "a.safetensors")
    model = nn.Linear(2, 2, bias=False)
    before = model.weight.detach().clone()
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        initcfg.init_weights(model, rule(tmp_path / "a.safetensors", finite=True))
    assert torch.equal(model.weight, before)


def test_atomic_gives_the_memory_back(checkpoint, monkeypatch):
    path, _ = checkpoint
    model = network()
    plan = initcfg.plan(model, rule(path))
    before = {name: (each.data_ptr(), each.detach().clone()) for name, each in model.named_parameters()}
    calls = []

    def fails(self, ledgers):
        calls.append(ledgers)
        raise CheckpointError("At the very end.")

    monkeypatch.setattr("initcfg._apply.planned_checkpoints.PlannedCheckpoints.digested", fails)
    with pytest.raises(CheckpointError, match="very end"):
        plan.apply(model, seed=0, atomic=True)
    assert calls
    for name, each in model.named_parameters():
        assert each.data_ptr() == before[name][0]
        assert torch.equal(each, before[name][1])


def test_plan_and_ledger_as_json(checkpoint):
    path, state = checkpoint
    model = network()
    plan = initcfg.plan(model, rule(path))
    assert plan.to_json()["loads"][0]["mapped"] is True
    assert "mapped" not in initcfg.plan(model, {**rule(path), "copy": True}).to_json()["loads"][0]
    assert f"8 tensors from {path}" in str(plan)
    assert ", mapped." in str(plan)
    again = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    ledger = again.apply(model, seed=0)
    assert same(model, state)
    assert initcfg.Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
    assert ledger["0.weight"].initializer["copy"] is False


@pytest.mark.parametrize("wrong", ["no", 0, None])
def test_copy_is_yes_or_no(wrong):
    with pytest.raises(ArgumentError, match="copy must be True or False"):
        initcfg.plan(nn.Linear(2, 2), dict(type="Pretrained", checkpoint="a.pth", copy=wrong))


class Sums(Dataset):
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        weight = self.model[0].weight.detach()
        found = weight.sum().clone()
        weight.zero_()
        return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_workers_that_were_forked_see_the_weights_and_write_to_copies(checkpoint):
    path, state = checkpoint
    model = network()
    initcfg.plan(model, rule(path)).apply(model, seed=0)
    loader = DataLoader(Sums(model), batch_size=None, num_workers=1, multiprocessing_context="fork")
    first, second = list(loader)
    assert torch.allclose(first, state["0.weight"].sum())
    assert float(second) == 0
    assert same(model, state)
