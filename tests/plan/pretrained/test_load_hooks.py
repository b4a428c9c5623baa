"""Load hooks: what a model's own code does to a checkpoint is done, and is what torch's own loading gives."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import torch
from loading_as_torch import Resized, State, contents, equal, loaded_as_torch_does, numbered
from torch import nn
from torch.nn import functional

import initcfg
from initcfg import errors


def test_positions_are_resized_by_the_models_own_hook(tmp_path):
    state = numbered(Resized(3))
    model = nn.Sequential(nn.Linear(2, 2), Resized(5))
    below = {f"1.{name}": tensor for name, tensor in state.items()}
    plan = loaded_as_torch_does(model, below)
    assert model[1].positions[0, :, 0].tolist() == [0, 0, 4, 4, 8]
    value = plan["1.positions"].value
    assert (value.kind, value.args["key"], value.args["name"]) == ("Hooked", "1.positions", "1.positions")
    # What hooks leave alone is read piece by piece, as ever.
    assert plan["1.head.weight"].value.kind == "FromCheckpoint"
    load = plan.loads[0]
    assert load.loaded == 3 and not load.unexpected and not load.mismatched
    (run,) = load.hooks
    assert run.path == "1" and run.on_shapes
    assert re.fullmatch(r"Resized\._resize \(loading_as_torch\.py:\d+\)", run.hooks[0])
    assert run.made == (("1.positions", "", (1, 5, 4), "float32"),)
    # A plan that went through JSON does the same; so does a file.
    torch.save(below, tmp_path / "a.pth")
    rule = {"type": "Pretrained", "checkpoint": str(tmp_path / "a.pth")}
    plan = initcfg.plan(model, rule)
    again = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    other = nn.Sequential(nn.Linear(2, 2), Resized(5))
    ledger = again.apply(other, seed=0)
    assert torch.equal(other[1].positions, model[1].positions)
    loaded = ledger["1.positions"].loaded
    assert loaded.keys == ("1.positions",) and "Resized._resize" in loaded.adapted


def test_the_local_prefix_is_that_of_the_owner_of_the_rule():
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = initcfg.Sequential(Resized(5), init_cfg=None)

    state = {f"student.{name}": tensor for name, tensor in numbered(Resized(3)).items()}
    model = Outer()
    model.net.init_cfg = {
        "type": "Pretrained",
        "checkpoint": state,
        "prefix": "student",
        "rename": {"^": "0."},
    }
    plan = initcfg.plan(model)
    plan.apply(model, seed=0)
    assert model.net[0].positions[0, :, 0].tolist() == [0, 0, 4, 4, 8]
    assert plan.loads[0].hooks[0].owner == "net" and plan.loads[0].hooks[0].path == "0"


class Versioned(nn.Module):
    """Its first version had the second layer's name for the first."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.zero, self.one = nn.Linear(2, 2), nn.Linear(2, 2)

    def _load_from_state_dict(self, state: State, prefix: str, metadata: Any, *rest: Any) -> None:
        if (metadata.get("version") or 1) < 2:
            for key in list(state):
                for old, new in (("one", "zero"), ("two", "one")):
                    if key.startswith(prefix + old):
                        state[prefix + new + key[len(prefix + old) :]] = state.pop(key)
                        break
        super()._load_from_state_dict(state, prefix, metadata, *rest)


class FirstVersion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)


@pytest.mark.parametrize("outer", [lambda model: model, nn.Sequential])
@pytest.mark.parametrize("legacy", [False, True])
def test_the_version_that_a_file_says_decides(tmp_path, legacy, outer):
    for saved in (FirstVersion(), Versioned()):
        state = numbered(outer(saved))
        path = tmp_path / "a.pth"
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=not legacy)
        model = outer(Versioned())
        plan = loaded_as_torch_does(outer(Versioned()), state)
        initcfg.init_weights(model, {"type": "Pretrained", "checkpoint": str(path)}, seed=0)
        assert equal(contents(model), dict(zip(contents(model), state.values(), strict=True)))
        assert all(item.value.kind == "FromCheckpoint" for item in plan.values())
        renamed = [each[:2] for each in plan.loads[0].hooks[0].made]
        assert len(renamed) == (4 if isinstance(saved, FirstVersion) else 0)
    # Without what it says of versions, as in safetensors, a module finds none.
    plain = dict(numbered(outer(FirstVersion())))
    loaded_as_torch_does(outer(Versioned()), plain)


def test_versions_are_found_behind_wrappers_prefixes_and_renames():
    state = numbered(nn.DataParallel(nn.Sequential(Versioned())))
    for start, more in (("module.0.", {"prefix": "module.0"}), ("0.", {"prefix": "0"})):
        model = Versioned()
        assert all(key.startswith("module.0.") for key in state)
        plan = initcfg.plan(model, {"type": "Pretrained", "checkpoint": state, **more})
        assert plan.loads[0].hooks[0].made == (), start
    model = nn.Sequential()
    model.net = Versioned()
    plan = initcfg.plan(model, {"type": "Pretrained", "checkpoint": state, "rename": {r"^0\.": "net."}})
    assert plan.loads[0].loaded == 4 and plan.loads[0].hooks[0].made == ()


def test_a_counter_of_batches_that_an_old_file_lacks_is_not_missing():
    old = {name: tensor for name, tensor in numbered(nn.BatchNorm1d(2)).items() if "tracked" not in name}
    model = nn.BatchNorm1d(2)
    model.num_batches_tracked.fill_(7)
    plan = loaded_as_torch_does(model, old, strict="all")
    assert model.num_batches_tracked.item() == 7 and not plan.loads[0].hooks
    new = nn.BatchNorm1d(2).state_dict()
    del new["num_batches_tracked"]
    assert initcfg.plan(model, {"type": "Pretrained", "checkpoint": new}).loads[0].missing == (
        "num_batches_tracked",
    )


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weight_norm_old_and_new():
    old = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Conv1d(2, 2, 1))
    new = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Conv1d(2, 2, 1))
    for saved in (old, new):
        model = copy.deepcopy(new)
        plan = loaded_as_torch_does(model, numbered(saved), strict="all")
        assert plan["0.weight"].value.kind == "Originals"
        assert plan.loads[0].loaded == 4
    again = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    half = {name: tensor for name, tensor in numbered(new).items() if not name.endswith("original1")}
    plan = loaded_as_torch_does(copy.deepcopy(new), half)
    assert plan.loads[0].missing == ("0.parametrizations.weight.original1",)


def test_spectral_norm_of_an_old_version_is_solved_for():
    model = nn.utils.spectral_norm(nn.Linear(3, 4))
    state = dict(numbered(model))
    state["weight_orig"] = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    state["weight"] = state["weight_orig"] / 3
    del state["weight_v"]
    state["weight_u"] = functional.normalize(torch.ones(4), dim=0)
    plan = loaded_as_torch_does(model, state)
    assert plan.loads[0].hooks[0].made == (("weight_v", "", (3,), "float32"),)


class Standardized(nn.Module):
    """As mmcv's ConvAWS2d: its override looks at numbers, and fills tensors by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.register_buffer("gamma", torch.ones(2, 1))
        self.register_buffer("beta", torch.zeros(2, 1))

    def _load_from_state_dict(
        self, state: State, prefix: str, metadata: Any, strict: bool, *lists: Any
    ) -> None:
        missing: list[str] = []
        self.gamma.data.fill_(-1)
        super()._load_from_state_dict(state, prefix, metadata, strict, missing, *lists[1:])
        if self.gamma.data.mean() > 0:
            lists[0].extend(missing)
            return
        self.beta.data.copy_(self.weight.data.mean(1, keepdim=True))
        self.gamma.data.copy_(self.weight.data.std(1, keepdim=True))


def test_an_override_that_computes_with_numbers():
    state = {"weight": torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 8.0]])}
    model = Standardized()
    plan = loaded_as_torch_does(model, state, strict="all")
    assert model.beta.tolist() == [[2.0], [4.0]]
    assert [item.value.kind for item in (plan["weight"], plan["beta"])] == ["FromCheckpoint", "Hooked"]
    assert plan["gamma"].value.keys == ("weight",) and not plan.loads[0].hooks[0].on_shapes
    loaded_as_torch_does(Standardized(), numbered(model))
    # What it would compute from the random weight of the model is not known before that is drawn.
    with pytest.raises(errors.CheckpointError, match="compute with 'weight' of the model") as caught:
        initcfg.init_weights(
            Standardized(),
            [
                {"type": "Normal", "param": "weight"},
                {"type": "Pretrained", "checkpoint": {"beta": torch.ones(2, 1)}},
            ],
            seed=0,
        )
    assert "Standardized._load_from_state_dict (test_load_hooks.py:" in caught.value.fix


def test_own_writes_renames_drops_and_additions():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
            self.register_buffer("count", torch.zeros(()))
            self.register_load_state_dict_pre_hook(Own.change)

        def change(self, state: State, prefix: str, *_: Any) -> None:
            state[prefix + "b"] = state.pop(prefix + "old_b")
            state[prefix + "count"] = torch.tensor(3.0)
            state.pop(prefix + "junk")
            # In place: what was given must stay as it is.
            state[prefix + "a"].mul_(2)

    state = {
        "a": torch.ones(2),
        "old_b": torch.full((2,), 5.0),
        "junk": torch.ones(1),
        "other": torch.ones(1),
    }
    reference, model = Own(), Own()
    reference.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, strict=False)
    plan = initcfg.plan(model, {"type": "Pretrained", "checkpoint": state})
    plan.apply(model, seed=0)
    assert equal(contents(model), contents(reference)) and model.a.tolist() == [2.0, 2.0]
    assert state["a"].tolist() == [1.0, 1.0]
    load = plan.loads[0]
    assert load.unexpected == ("other",)
    assert load.hooks[0].dropped == ("junk",)
    assert [each[:2] for each in load.hooks[0].made] == [("a", ""), ("b", "old_b"), ("count", "")]
    assert "hooks" in str(plan) and "Own.change" in plan.explain("a")


def test_post_hooks_see_what_was_loaded():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)
            self.mirror = nn.Parameter(torch.zeros(2, 2))
            self.register_load_state_dict_post_hook(self.after)

        def after(self, module: nn.Module, keys: Any) -> None:
            keys.missing_keys.clear()
            with torch.no_grad():
                self.mirror.copy_(self.inner.weight.t())

    model = Tied()
    state = {f"inner.{name}": tensor for name, tensor in numbered(nn.Linear(2, 2)).items()}
    plan = loaded_as_torch_does(model, state)
    assert torch.equal(model.mirror, model.inner.weight.t())
    assert plan["mirror"].value.keys == ("inner.weight",)


def test_hooks_that_give_a_tensor_other_memory():
    class Post(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.mirror = nn.Linear(2, 2), nn.Parameter(torch.zeros(2, 2))
            self.register_load_state_dict_post_hook(self.after)

        def after(self, module: nn.Module, keys: Any) -> None:
            self.mirror.data = self.inner.weight.data * 3

    class Before(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v, self.w = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
            self.register_load_state_dict_pre_hook(Before.change)

        def change(self, state: State, prefix: str, *_: Any) -> None:
            self.w.data = state[prefix + "v"] * 2

    class Instead(Before):
        def _load_from_state_dict(self, state: State, prefix: str, *_: Any) -> None:
            self.v.data = state[prefix + "v"]
            self.w.data = state[prefix + "v"].flip(0)

    post = Post()
    plan = loaded_as_torch_does(post, {"inner.weight": torch.eye(2), "inner.bias": torch.ones(2)})
    assert torch.equal(post.mirror, torch.eye(2) * 3) and plan["mirror"].value.keys == ("inner.weight",)
    for state in ({"v": torch.tensor([1.0, 2.0])}, {"v": torch.ones(2), "w": torch.full((2,), 7.0)}):
        loaded_as_torch_does(Before(), state)
        loaded_as_torch_does(Instead(), state)


def test_an_override_that_leaves_a_tensor_out_leaves_it_as_it_is():
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v, self.w = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

        def _load_from_state_dict(self, state: State, prefix: str, *_: Any) -> None:
            with torch.no_grad():
                self.v.copy_(state[prefix + "v"])

    model = Partly()
    plan = loaded_as_torch_does(model, {"v": torch.ones(2), "w": torch.ones(2)})
    assert plan["w"].value.kind == "Keep" and model.w.tolist() == [0.0, 0.0]


def test_a_tensor_that_a_hook_adds_is_an_error():
    class Adding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.register_buffer("memory", None)

        def _load_from_state_dict(self, state: State, prefix: str, *rest: Any) -> None:
            if prefix + "memory" in state:
                self.memory = torch.zeros_like(state[prefix + "memory"])
            super()._load_from_state_dict(state, prefix, *rest)

    state = numbered(nn.ModuleDict({"fc": nn.Linear(2, 2)}))
    loaded_as_torch_does(Adding(), state)
    model = Adding()
    with pytest.raises(errors.CheckpointError, match="it adds 'memory'") as caught:
        initcfg.plan(model, {"type": "Pretrained", "checkpoint": {**state, "memory": torch.ones(3)}})
    assert "Adding._load_from_state_dict" in caught.value.where and model.memory is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_torch_jit_has_compiled_is_not_touched_while_hooks_run():
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.compiled, self.fc = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), nn.Linear(2, 2)
            self.register_load_state_dict_post_hook(self.after)

        def after(self, module: nn.Module, keys: Any) -> None:
            self.fc.weight.data.mul_(float(self.fc.weight.sum()))

    state, model = numbered(nn.ModuleDict({"compiled": nn.Linear(2, 2), "fc": nn.Linear(2, 2)})), Outer()
    before = contents(model)
    plan = initcfg.plan(model, {"type": "Pretrained", "checkpoint": state})
    assert equal(contents(model), before)
    plan.apply(model, seed=0)
    assert torch.equal(model.compiled.weight, state["compiled.weight"])
    assert torch.equal(model.fc.weight, state["fc.weight"] * state["fc.weight"].sum())


def test_an_overridden_load_state_dict():
    class Renaming(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.sum = nn.Parameter(torch.zeros(2))

        def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
            renamed = {name.replace("old.", "fc."): tensor for name, tensor in state_dict.items()}
            result = super().load_state_dict(renamed, strict=strict)
            self.sum.data.copy_(self.fc.weight.sum(1))
            return result

    class ByItself(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
            for name, tensor in self.state_dict().items():
                tensor.copy_(state_dict["net." + name] + 1)

    state = {f"old.{name}": tensor for name, tensor in numbered(nn.Linear(2, 2)).items()}
    plan = loaded_as_torch_does(Renaming(), state)
    assert plan["sum"].value.keys == ("old.weight",)
    # The method of a child is not called, by torch neither.
    model = nn.Sequential(Renaming())
    loaded_as_torch_does(model, {f"0.{name}": tensor for name, tensor in numbered(Renaming()).items()})
    state = {f"net.fc.{name}": tensor for name, tensor in numbered(nn.Linear(2, 2)).items()}
    loaded_as_torch_does(ByItself(), state)
