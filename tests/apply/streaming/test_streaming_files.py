"""Streaming to safetensors: the same bits as apply and save, in the layout that others read."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from streaming_models import RULES, Everything, all_bits, applied, bits, pending, stored
from torch import nn

import initcfg
from initcfg._apply.streaming import save as saving
from initcfg._apply.streaming.items import Item, outlined
from initcfg._apply.streaming.shard_files import header, in_order
from initcfg.errors import ApplyError, OutputError, PlanError, TensorError
from initcfg.values import Keep


@pytest.fixture(params=["1kB", "4kB", "5GB"])
def size(request):
    return request.param


@pytest.fixture(params=[None, "1100"])
def small_buffer(request, monkeypatch):
    """Buffers that every larger tensor is cut for."""
    if request.param is not None:
        monkeypatch.setenv("INITCFG_STREAM_BUFFER", request.param)


def test_every_tensor_is_what_apply_makes_it(tmp_path, size, small_buffer):
    reference, ledger = applied(7)
    model = pending()
    found = initcfg.plan(model, RULES).save_weights(tmp_path / "out", model, seed=7, shard_size=size)
    wanted = reference.state_dict()
    # Tied: stored once, under the name that was registered first.
    del wanted["head.weight"]
    assert all_bits(stored(tmp_path / "out")) == all_bits(wanted)
    assert found == ledger
    assert initcfg.Ledger.load(tmp_path / "out" / "model.ledger.json") == ledger


def test_how_each_tensor_is_made():
    model = pending()
    outline = outlined(initcfg.plan(model, RULES), model)
    ways = {item.key: item.way for item in outline.items}
    assert ways["conv.weight"] == ways["embed.weight"] == ways["sparse.weight"] == "streamed"
    assert ways["square.weight"] == "whole"
    for key in ("mask", "norm.running_var", "normed.parametrizations.weight.original0"):
        assert ways[key] == "resident"
    assert "scratch" not in ways
    assert [item.others for item in outline.items if item.others] == [("head.weight",)]


def test_the_model_stays_pending_and_untouched(tmp_path):
    model = pending()
    before = bits(model.conv.weight)
    plan = initcfg.plan(model, RULES)
    plan.save_weights(tmp_path / "out", model, seed=7)
    assert bits(model.conv.weight) == before
    with pytest.raises(initcfg.errors.PendingModelError):
        model(torch.zeros(1))
    # And can be applied to as before.
    plan.apply(model, seed=7)
    assert all_bits(model.state_dict()) == all_bits(applied(7)[0].state_dict())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_another_type_is_the_float32_numbers_rounded_once(tmp_path, dtype):
    reference, _ = applied(5)
    model = pending()
    ledger = initcfg.plan(model, RULES).save_weights(tmp_path, model, seed=5, dtype=dtype)
    target = getattr(torch, dtype)
    found = stored(tmp_path)
    for key, tensor in reference.state_dict().items():
        if key in ("head.weight", "wide", "narrow", "brain"):
            # Those begin as another type than float32.
            continue
        wanted = tensor.to(target) if tensor.is_floating_point() else tensor
        assert bits(found[key]) == bits(wanted), key
    assert found["wide"].dtype == found["narrow"].dtype == target
    assert ledger["conv.weight"].dtype == dtype


def test_the_digest_is_that_of_the_plan_of_a_model_of_that_type(tmp_path):
    with initcfg.deferred():
        model, other = nn.Linear(4, 4), nn.Linear(4, 4, dtype=torch.bfloat16)
    ledger = initcfg.plan(model).save_weights(tmp_path / "a", model, seed=0, dtype="bfloat16")
    assert ledger.plan_digest == initcfg.plan(other).digest
    initcfg.plan(other).save_weights(tmp_path / "b", other, seed=0)
    assert all_bits(stored(tmp_path / "a")) == all_bits(stored(tmp_path / "b"))


def test_a_value_that_the_type_cannot_hold_is_refused(tmp_path):
    with initcfg.deferred():
        model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="Constant", layer="Linear", val=1e6))
    with pytest.raises(ApplyError, match="beyond float16") as caught:
        plan.save_weights(tmp_path / "out", model, seed=0, dtype="float16")
    assert caught.value.parameter == "weight"
    assert not (tmp_path / "out").exists()


def test_the_layout_of_the_hub(tmp_path):
    model = pending()
    initcfg.plan(model, RULES).save_weights(tmp_path, model, seed=7, shard_size="4kB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    count = len(files)
    assert count > 2
    assert files == [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    assert list(index["weight_map"]) == sorted(index["weight_map"])
    sizes = 0
    for file in files:
        with safe_open(tmp_path / file, framework="pt") as opened:
            assert opened.metadata()["format"] == "pt"
            assert opened.metadata()["initcfg.seed"] == "7"
            held = list(opened.keys())
            assert all(index["weight_map"][key] == file for key in held)
            here = sum(opened.get_tensor(key).nbytes for key in held)
            assert here <= 4000 or len(held) == 1
            sizes += here
    assert index["metadata"]["total_size"] == sizes
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        [*files, "model.ledger.json", "model.safetensors.index.json"]
    )


def test_the_bytes_are_those_of_the_safetensors_library(tmp_path):
    dtypes = ["bool", "uint8", "int8", "int16", "uint16", "float16", "bfloat16", "int32", "uint32", "float32"]
    dtypes += ["float64", "int64", "uint64", "complex64", "float8_e4m3fn", "float8_e5m2"]
    state = {
        f'{name}.{number} é\n"': torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
        for number, dtype in enumerate(dtypes)
        for name in ("z", "a")
    }
    save_file(state, tmp_path / "theirs.safetensors", {"format": "pt"})
    items = in_order(
        Item(key, (), key, tuple(tensor.shape), tensor.dtype, Keep(), "resident")
        for key, tensor in state.items()
    )
    ours = header(items, {"format": "pt"}) + b"".join(bits(state[item.key])[2] for item in items)
    assert ours == (tmp_path / "theirs.safetensors").read_bytes()


def test_a_key_that_no_file_can_hold_is_refused():
    item = Item("__metadata__", (), "x", (1,), torch.float32, Keep(), "resident")
    with pytest.raises(OutputError, match="__metadata__"):
        in_order([item])
    with pytest.raises(OutputError, match="have no type complex128"):
        in_order([Item("x", (), "x", (1,), torch.complex128, Keep(), "resident")])


def test_a_traced_plan_needs_no_model(tmp_path):
    ledger = initcfg.trace(Everything).save_weights(tmp_path, seed=11, shard_size="2kB")
    torch.manual_seed(0)
    other = Everything()
    initcfg.trace(Everything).apply(other, seed=11)
    wanted = other.state_dict()
    del wanted["head.weight"]
    found = stored(tmp_path)
    assert all_bits(found) == all_bits(wanted)
    assert ledger["conv.weight"].by == "rule"


def test_a_plan_of_code_that_looks_at_its_numbers(tmp_path):
    def build():
        model = nn.Linear(4, 4)
        with torch.no_grad():
            # Opaque: which way is taken depends on the numbers.
            model.weight.mul_(2.0 if model.weight.sum() > 0 else 3.0)
        return model

    plan = initcfg.trace(build)
    assert plan["weight"].value.kind == "Opaque"
    ledger = plan.save_weights(tmp_path, seed=4)
    other = nn.Linear(4, 4)
    assert plan.apply(other, seed=4) == ledger
    assert all_bits(stored(tmp_path)) == all_bits(other.state_dict())


class Own(initcfg.BaseModule):
    """A model with an init_weights that planning cannot say."""

    def __init__(self):
        super().__init__(dict(type="Normal", layer="Linear", std=0.1))
        self.first = nn.Linear(4, 4)

    def init_weights(self):
        super().init_weights()
        with torch.no_grad():
            self.first.bias.copy_(torch.linalg.qr(self.first.weight)[0][0])


def test_a_model_whose_code_must_run_is_initialized_in_memory(tmp_path):
    reference, ledger = applied(2, None, Own)
    model = pending(Own)
    saved = saving.save_plan(
        initcfg.plan(model), model, tmp_path, seed=2, options=saving.Options(dtype="bfloat16")
    )
    assert "code of the model's own must run" in saved.outline.in_memory
    assert set(saved.ways()) == {"resident"}
    assert all_bits(stored(tmp_path)) == all_bits(reference.to(torch.bfloat16).state_dict())
    assert saved.ledger.entries.keys() == ledger.entries.keys()
    assert saved.ledger["first.bias"].by == ledger["first.bias"].by


def test_torch_generator_goes_through_memory(tmp_path):
    model = pending()
    saved = saving.save_plan(
        initcfg.plan(model, RULES), model, tmp_path, seed=9, options=saving.Options(rng="torch")
    )
    other = pending()
    ledger = initcfg.plan(other, RULES).apply(other, seed=9, rng="torch")
    assert saved.ledger == ledger
    wanted = other.state_dict()
    del wanted["head.weight"]
    assert all_bits(stored(tmp_path)) == all_bits(wanted)


class Extra(nn.Linear):
    """A layer that stores more than tensors."""

    def get_extra_state(self):
        return {"amax": 3}

    def set_extra_state(self, state):
        pass


def test_what_is_no_tensor_is_left_out_and_said(tmp_path):
    with initcfg.deferred():
        model = Extra(2, 2)
    saved = saving.save_plan(initcfg.plan(model), model, tmp_path, seed=0, options=saving.Options())
    assert saved.outline.left_out == ("_extra_state",)
    assert sorted(stored(tmp_path)) == ["bias", "weight"]


class Shared(nn.Module):
    """Two parameters in one memory."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.empty(2, 3))
        self.b = nn.Parameter(self.a.data.view(3, 2))
        nn.init.ones_(self.a)
        nn.init.normal_(self.b)


class SharedArray(nn.Module):
    """The same by two storages."""

    def __init__(self):
        super().__init__()
        array = np.zeros((2, 3), dtype=np.float32)
        self.a = nn.Parameter(torch.from_numpy(array))
        self.register_buffer("b", torch.from_numpy(array.reshape(3, 2)))
        nn.init.ones_(self.a)


@pytest.mark.parametrize("kind", [Shared, SharedArray])
def test_tensors_that_share_memory_are_what_apply_leaves_there(tmp_path, kind):
    reference, _ = applied(1, None, kind)
    model = pending(kind)
    initcfg.plan(model).save_weights(tmp_path, model, seed=1)
    assert all_bits(stored(tmp_path)) == all_bits(reference.state_dict())


def test_meta_models_are_enough_where_the_plan_says_everything(tmp_path):
    rules = [dict(type="Normal", layer="Linear", std=0.1)]
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    initcfg.plan(model, rules).save_weights(tmp_path / "meta", model, seed=3)
    real = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    initcfg.plan(real, rules).apply(real, seed=3)
    assert all_bits(stored(tmp_path / "meta")) == all_bits(real.state_dict())
    with torch.device("meta"):
        model = Scaled()
    with pytest.raises(
        TensorError, match="'scale' is Keep, so it is taken from the model's memory"
    ) as caught:
        initcfg.plan(model, rules).save_weights(tmp_path / "other", model, seed=3)
    assert "deferred" in caught.value.fix


class Scaled(nn.Module):
    """On the meta device, nobody knows what its scale was to be."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((4,), 0.1))
        self.fc = nn.Linear(4, 4)


def test_a_plan_from_json_needs_a_model(tmp_path):
    with initcfg.deferred():
        model = nn.Linear(2, 2)
    plan = initcfg.Plan.from_json(initcfg.plan(model).to_json())
    with pytest.raises(PlanError, match="knows only its tensors"):
        plan.save_weights(tmp_path)
    plan.save_weights(tmp_path, model, seed=1)
    other = nn.Linear(2, 2)
    plan.apply(other, seed=1)
    assert all_bits(stored(tmp_path)) == all_bits(other.state_dict())


def test_without_seed_torchs_generator_decides(tmp_path):
    with initcfg.deferred():
        model = nn.Linear(2, 2)
    plan = initcfg.plan(model)
    torch.manual_seed(1)
    first = plan.save_weights(tmp_path / "a", model)
    torch.manual_seed(1)
    assert plan.save_weights(tmp_path / "b", model).seed == first.seed
    assert plan.save_weights(tmp_path / "c", model).seed != first.seed


# -- from checkpoints ----------------------------------------------------------------------------


def test_weights_of_a_checkpoint_are_read_and_accounted_for(tmp_path, small_buffer):
    state = {"weight": torch.randn(40, 30, dtype=torch.float64), "bias": torch.full((40,), float("nan"))}
    torch.save(state, tmp_path / "from.pth")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "from.pth"))
    with initcfg.deferred():
        model, other = nn.Linear(30, 40), nn.Linear(30, 40)
    ledger = initcfg.plan(model, rule).save_weights(tmp_path / "out", model, seed=0)
    wanted = initcfg.plan(other, rule).apply(other, seed=0)
    assert ledger == wanted
    assert ledger["bias"].loaded.non_finite == 40
    assert all_bits(stored(tmp_path / "out")) == all_bits(other.state_dict())


def test_adapted_weights_too(tmp_path):
    torch.save({"weight": torch.randn(10, 4)}, tmp_path / "from.pth")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "from.pth"), adapt="grow")
    with initcfg.deferred():
        model, other = nn.Embedding(14, 4), nn.Embedding(14, 4)
    plan = initcfg.plan(model, rule)
    assert plan["weight"].value.kind == "Adapted"
    ledger = plan.save_weights(tmp_path / "out", model, seed=6)
    assert ledger == initcfg.plan(other, rule).apply(other, seed=6)
    assert all_bits(stored(tmp_path / "out")) == all_bits(other.state_dict())


def test_a_plan_can_be_saved_by_a_process_that_has_imported_initcfg_alone(tmp_path):
    program = f"""
import initcfg, sys
from torch import nn
plan = initcfg.trace(lambda: nn.Linear(2, 2))
assert "initcfg._apply.streaming" not in sys.modules
plan.save_weights({str(tmp_path)!r}, seed=0)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
    assert (tmp_path / "model.safetensors").exists()
