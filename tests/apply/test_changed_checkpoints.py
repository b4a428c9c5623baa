"""A checkpoint that is another by the time a plan is applied: an error before the first write."""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from loading_models import bits
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import errors

State = dict[str, torch.Tensor]


def _state(number: float, dtype: torch.dtype = torch.float32) -> State:
    return {"weight": torch.full((2, 3), number, dtype=dtype), "bias": torch.full((2,), number, dtype=dtype)}


def _sharded(state: State, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for key, tensor in state.items():
        save_file({key: tensor}, folder / f"{key}.safetensors")
    files = ", ".join(f'"{key}": "{key}.safetensors"' for key in state)
    (folder / "model.safetensors.index.json").write_text(f'{{"weight_map": {{{files}}}}}')


def _distributed(state: State, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=folder, no_dist=True)


_FORMATS: dict[str, Callable[[Any, Any], object]] = {
    "a.safetensors": save_file,
    "a.pth": torch.save,
    "sharded": _sharded,
    "distributed": _distributed,
}


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("name", _FORMATS)
def test_other_numbers_in_a_file_of_the_same_size_are_found(tmp_path, name, copy):
    path, save, model = tmp_path / name, _FORMATS[name], nn.Linear(3, 2)
    save(_state(0.0), path)
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(path), copy=copy))
    before = bits(model)
    save(_state(1.0), path)
    for again in (plan, plan.part(model)):
        with pytest.raises(errors.CheckpointError, match="has changed since the plan was made"):
            again.apply(model)
    assert bits(model) == before
    initcfg.plan(model, dict(type="Pretrained", checkpoint=str(path), copy=copy)).apply(model)
    assert torch.equal(model.weight, torch.ones(2, 3))


def test_a_write_that_leaves_size_and_time_as_they_were_is_found(tmp_path):
    path, model = tmp_path / "a.safetensors", nn.Linear(3, 2)
    save_file(_state(0.0), path)
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(path)))
    found = os.stat(path)
    data = path.read_bytes()
    with open(path, "r+b") as file:
        file.write(data[:-4] + b"\0\0\x80?")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    with pytest.raises(errors.CheckpointError, match="has changed since"):
        plan.apply(model)


def test_one_shard_is_enough(tmp_path):
    _sharded(_state(0.0), tmp_path)
    model = nn.Linear(3, 2)
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(tmp_path)))
    save_file({"bias": torch.ones(2)}, tmp_path / "bias.safetensors")
    with pytest.raises(errors.CheckpointError, match="has changed since") as caught:
        plan.apply(model)
    assert caught.value.where is not None and caught.value.where.endswith("bias.safetensors")


def test_the_base_of_an_adapter_counts_as_well(tmp_path):
    base, adapter, model = (
        tmp_path / "base.safetensors",
        tmp_path / "lora.safetensors",
        nn.Sequential(nn.Linear(3, 2)),
    )
    path = "base_model.model.0"
    save_file({f"{path}.lora_A.weight": torch.ones(1, 3), f"{path}.lora_B.weight": torch.ones(2, 1)}, adapter)
    adapt = dict(type="merge_lora", base=str(base), alpha=1)
    for number in (0.0, 5.0):
        save_file({f"0.{key}": each for key, each in _state(number).items()}, base)
        if not number:
            plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(adapter), adapt=adapt))
            plan.apply(model)
    assert torch.equal(model[0].weight, torch.ones(2, 3))
    with pytest.raises(errors.CheckpointError, match="has changed since") as caught:
        plan.apply(model)
    assert caught.value.where == str(base)


def test_a_type_that_would_not_have_been_cast_unasked(tmp_path):
    path, model = tmp_path / "a.safetensors", nn.Linear(3, 2)
    save_file(_state(0.5), path)
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(path)))
    elsewhere = initcfg.Plan.from_json(plan.to_json())
    before = bits(model)
    save_file(_state(100, torch.int8), path)
    for each, says in ((plan, "has changed since"), (elsewhere, "'weight' is int8 there now")):
        with pytest.raises(errors.CheckpointError, match=says):
            each.apply(model)
    assert bits(model) == before


def test_a_type_that_was_to_be_cast_and_is_not_any_more(tmp_path):
    path, model = tmp_path / "a.safetensors", nn.Linear(3, 2)
    save_file(_state(0.5, torch.float16), path)
    plan = initcfg.Plan.from_json(
        initcfg.plan(model, dict(type="Pretrained", checkpoint=str(path))).to_json()
    )
    plan.apply(model)
    save_file({**_state(0.5, torch.float16), "bias": torch.ones(2)}, path)
    with pytest.raises(errors.CheckpointError, match="2 of its tensors were float16, and 1 are now"):
        plan.apply(model)


def test_a_plan_that_is_carried_elsewhere_takes_what_lies_there(tmp_path):
    path, model = tmp_path / "a.safetensors", nn.Linear(3, 2)
    save_file(_state(0.0), path)
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(path)))
    save_file(_state(1.0), path)
    for carried in (initcfg.Plan.from_json(plan.to_json()), pickle.loads(pickle.dumps(plan))):
        carried.apply(model)
        assert torch.equal(model.bias, torch.ones(2))


def test_where_a_digest_is_given_it_alone_decides(tmp_path):
    import hashlib

    path, model = tmp_path / "a.safetensors", nn.Linear(3, 2)
    save_file(_state(2.0), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(path), sha256=digest))
    shutil.copy(path, tmp_path / "same")
    os.replace(tmp_path / "same", path)
    plan.apply(model)
    assert torch.equal(model.bias, torch.full((2,), 2.0))


def test_what_is_fetched_anew_is_found(tmp_path):
    import fsspec

    system, model = fsspec.filesystem("memory"), nn.Linear(3, 2)
    rule = dict(type="Pretrained", checkpoint="memory://changed/a.safetensors")
    for number in (0.0, 1.0):
        save_file(_state(number), tmp_path / "a.safetensors")
        system.pipe("/changed/a.safetensors", (tmp_path / "a.safetensors").read_bytes())
        if not number:
            plan = initcfg.plan(model, rule)
    with pytest.raises(errors.CheckpointError, match="has changed since"):
        plan.apply(model)
