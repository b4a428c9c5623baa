"""A checkpoint that is loaded in part says so: one line, in the log too, and an error under strict."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from adapted import Holder, numbers, only_load
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import errors


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight


def layers(count: int = 12) -> nn.Module:
    return nn.Sequential(*(nn.Linear(2, 2) for _ in range(count)))


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: numbers(*item.shape).to(item.dtype) for name, item in model.state_dict().items()}


def rule(state: Any, **arguments: Any) -> dict[str, Any]:
    return dict(type="Pretrained", checkpoint=state, **arguments)


def line_of(model: nn.Module, state: Any, **arguments: Any) -> str | None:
    return only_load(initcfg.plan(model, rule(state, **arguments))).warning


def without(state: dict[str, torch.Tensor], *starts: str) -> dict[str, torch.Tensor]:
    return {name: item for name, item in state.items() if not name.startswith(starts)}


# -- when it is said ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
def test_more_than_a_tenth(count):
    model = layers()
    state = dict(list(state_of(model).items())[count:])
    told = line_of(model, state)
    if count == 2:
        assert told is None
    else:
        assert told is not None
        assert told.startswith(
            "3 of 24 parameters are not loaded from a state_dict given in init_cfg (0.weight"
        )


def test_keys_that_nothing_took():
    model = layers(1)
    assert line_of(model, state_of(model)) is None
    told = line_of(model, state_of(model) | {"fc.weight": numbers(3, 3)})
    assert told is not None
    assert told.startswith("1 key of a state_dict given in init_cfg fits nothing (fc.weight).")


def test_it_is_logged_printed_kept_and_an_error_under_strict(caplog):
    model = layers(4)
    state = without(state_of(model), "3.")
    plan = initcfg.plan(model, rule(state))
    told = only_load(plan).warning
    assert "2 of 8 parameters are not loaded" in told
    assert told in " ".join(str(plan).split())
    assert only_load(initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))).warning == told
    with caplog.at_level(logging.WARNING, "initcfg"):
        ledger = plan.apply(model)
        initcfg.init_weights(model, rule(state))
    assert [record.getMessage() for record in caplog.records] == [f"init_cfg: {told}"] * 2
    assert ledger.loads[0].warning == told
    before = model[3].weight.clone()
    with pytest.raises(errors.CheckpointError, match="2 of 8 parameters are not loaded"):
        initcfg.init_weights(model, rule(state), strict=True)
    assert torch.equal(model[3].weight, before)


def test_streaming_says_it_too(tmp_path: Path, caplog):
    model = layers(4)
    save_file(without(state_of(model), "3."), tmp_path / "a.safetensors")
    plan = initcfg.plan(model, rule(str(tmp_path / "a.safetensors")))
    with caplog.at_level(logging.WARNING, "initcfg"):
        plan.save_weights(tmp_path / "out", model, seed=0)
    assert ["2 of 8 parameters are not loaded" in each.getMessage() for each in caplog.records] == [True]


@pytest.mark.parametrize("ignore", ["3", ["3.weight", "3.bias"], "re:3\\..*"])
def test_what_is_ignored_is_not_said(ignore):
    model = layers(4)
    state = without(state_of(model), "3.")
    load = only_load(initcfg.plan(model, rule(state, ignore=ignore, strict="model"), strict=True))
    assert load.warning is None
    assert load.ignored == ("3.weight", "3.bias")
    assert load.missing == ("3.weight", "3.bias")
    assert line_of(model, state_of(model) | {"3.weight": numbers(5, 2)}, ignore=ignore) is None
    assert line_of(model, state, exclude="3") is None


def test_keys_are_ignored_by_their_name_or_as_they_are():
    model = layers(1)
    state = {f"net.{name}": item for name, item in state_of(model).items()} | {"net.fc.weight": numbers(3)}
    for ignore in ("fc", "net.fc.weight", "fc.*"):
        load = only_load(initcfg.plan(model, rule(state, prefix="net", ignore=ignore, strict="all")))
        assert (load.warning, load.unexpected, load.ignored) == (None, ("net.fc.weight",), ("net.fc.weight",))
    with pytest.raises(errors.PatternError, match="ignore='head' matches nothing"):
        initcfg.plan(model, rule(state, prefix="net", ignore="head"))


def test_what_another_checkpoint_gives_is_not_left():
    model = layers(4)
    state = state_of(model)
    rules = [rule(without(state, "2.", "3.")), rule(without(state, "0.", "1."))]
    assert [load.warning for load in initcfg.plan(model, rules).loads] == [None, None]
    parts = [rule(state, include=["0", "1"]), rule(state, include=["2", "3"])]
    assert [load.warning for load in initcfg.plan(model, parts).loads] == [None, None]


def test_two_rules_of_one_checkpoint_take_its_keys_together(tmp_path: Path):
    model = nn.ModuleDict(dict(a=nn.Linear(2, 2), b=nn.Linear(2, 2)))
    state = {f"x.{name}": item for name, item in state_of(model.a).items()}
    state |= {f"y.{name}": item for name, item in state_of(model.b).items()}
    save_file(state, tmp_path / "a.safetensors")
    path = str(tmp_path / "a.safetensors")
    rules = [
        rule(path, rename={r"^x\.": "a."}, include="a"),
        rule(path, rename={r"^y\.": "b."}, include="b"),
    ]
    assert [load.warning for load in initcfg.plan(model, rules).loads] == [None, None]


def test_constant_buffers_and_computed_ones_do_not_count():
    model = Holder(norm=nn.BatchNorm1d(4), fc=nn.Linear(2, 2))
    state = {
        name: item for name, item in state_of(model).items() if "running" not in name and "num" not in name
    }
    model.fc.register_buffer("position_ids", torch.arange(3), persistent=False)
    state["fc.position_ids"] = torch.arange(5)
    load = only_load(initcfg.plan(model, rule(state, strict="none")))
    assert load.warning is None
    assert load.unexpected == ()
    assert load.missing == ("norm.running_mean", "norm.running_var")


# -- what was likely meant --------------------------------------------------------------------------


def backbone() -> nn.Module:
    return Holder(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), fc=nn.Linear(4, 3))


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: item for name, item in state.items()}


def test_the_prefix_is_to_be_left_out():
    state = state_of(backbone())
    more = state | {"head.fc.weight": numbers(3, 4)}
    told = line_of(backbone(), more, prefix="head")
    assert told is not None
    assert "Perhaps without prefix, 9 tensors would fit" in told
    with pytest.raises(errors.CheckpointError, match=r"begins with the prefix 'backbone\.'") as caught:
        initcfg.plan(backbone(), rule(state, prefix="backbone"))
    assert "Leave prefix out: 9 keys fit as they are" in str(caught.value.fix)


def test_another_prefix_fits_better():
    state = prefixed("teacher.", state_of(backbone())) | prefixed(
        "student.fc.", {"conv.weight": numbers(4, 3, 3, 3)}
    )
    told = line_of(backbone(), state, prefix="student.fc")
    assert told is not None
    assert "Perhaps prefix='teacher.' would fit 9 tensors" in told


def test_the_best_of_several_prefixes_is_named():
    state = prefixed("model.backbone.", state_of(backbone())) | {"fc.weight": numbers(3, 4)}
    state |= {"aux.fc.weight": numbers(3, 4), "aux.fc.bias": numbers(3)}
    told = line_of(backbone(), state)
    assert told is not None
    assert "prefix='model.backbone.' would fit 9 tensors" in told


def test_the_part_that_it_is_of():
    model = Holder(backbone=backbone(), fc=nn.Linear(4, 3))
    told = line_of(model, state_of(backbone()))
    assert told is not None
    assert "The keys fit 9 tensors of its part 'backbone'" in told


def test_another_root():
    model = Holder(encoder=backbone(), fc=nn.Linear(4, 3))
    state = prefixed("trunk.", state_of(backbone())) | {"fc.weight": numbers(3, 4), "fc.bias": numbers(3)}
    told = line_of(model, state)
    assert told is not None
    assert r"rename={'^trunk\\.': 'encoder.'} would fit 9 tensors" in told
    assert line_of(model, state, rename={r"^trunk\.": "encoder."}) is None


def test_a_rename_is_found_by_shapes_and_works():
    block = dict(norm=nn.LayerNorm(4), attn=Holder(mixed=nn.Linear(4, 12), last=nn.Linear(4, 4)))
    model = nn.ModuleList([Holder(**block), Holder(**block)])
    state = {
        name.replace("attn.mixed", "attn.first").replace("attn.last", "attn.second"): item
        for name, item in state_of(model).items()
    }
    hint = only_load(initcfg.plan(model, rule(state))).hints[0]
    renames = {r"attn\.first\.": "attn.mixed.", r"attn\.second\.": "attn.last."}
    assert hint.endswith("would fit 8 tensors")
    assert all(repr(pattern) in hint for pattern in renames)
    assert only_load(initcfg.plan(model, rule(state, rename=renames, strict="all"))).warning is None


def test_slices_of_tensor_parallelism_and_quantized_keys():
    model = layers(4)
    state = {name: item[:1] if item.dim() == 2 else item for name, item in state_of(model).items()}
    told = line_of(model, state)
    assert told is not None
    assert "4 tensors there are one of 2 slices" in told
    packed = without(state_of(layers(4)), "3.") | {"old.qweight": torch.zeros(2, dtype=torch.int32)}
    told = line_of(layers(4), packed)
    assert told is not None
    assert "the checkpoint is quantized" in told


# -- one file of several ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model-00001-of-00003.safetensors", "pytorch_model-00001-of-00002.bin"])
def test_one_shard_is_said(tmp_path: Path, name):
    model = layers(4)
    some = without(state_of(model), "2.", "3.")
    path = tmp_path / name
    if name.endswith("bin"):
        torch.save(some, path)
    else:
        save_file(some, path)
    told = line_of(model, str(path))
    assert told is not None
    assert f"it is one of {name.partition('-of-')[2][:5].lstrip('0')} files: give its index" in told
    stem, ending = name.split("-")[0], name.rpartition(".")[2]
    (tmp_path / f"{stem}.{ending}.index.json").write_text("{}")
    assert f"give its index, '{stem}.{ending}.index.json', or the folder" in str(line_of(model, str(path)))
    load = only_load(initcfg.plan(layers(2), rule(str(path))))
    assert load.warning is None
    assert "it is one of" in load.remarks[0]
    with pytest.raises(errors.CheckpointError) as caught:
        initcfg.plan(nn.Linear(2, 2), rule(str(path)))
    assert "it is one of" in f"{caught.value.meant} {caught.value.fix}"


@pytest.mark.parametrize("name", ["mp_rank_0{}_model_states.pt", "consolidated.0{}.pth", "tp_rank_0{}.pt"])
def test_the_part_of_one_rank_is_said(tmp_path: Path, name):
    state = state_of(layers(4))
    path = str(tmp_path / name.format(0))
    torch.save(state, path)
    # A model that is not cut has one rank, too.
    assert only_load(initcfg.plan(layers(4), rule(path))).remarks == ()
    torch.save(state, tmp_path / name.format(1))
    said = "it is the part of one rank: merge all parts into one state_dict, and give that"
    assert only_load(initcfg.plan(layers(4), rule(path))).remarks == (said,)
    (tmp_path / name.format(1)).unlink()
    torch.save(without(state, "2.", "3."), path)
    assert f"Perhaps {said}." in str(line_of(layers(4), path))


# -- tied tensors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["differ", "equal", "embed", "head", "other type"])
def test_two_keys_of_one_tied_tensor(how, tmp_path: Path):
    one, other = numbers(10, 4), numbers(10, 4, seed=1)
    state = {"embed.weight": one, "head.weight": one.clone() if how == "equal" else other}
    if how in ("embed", "head"):
        state = {f"{how}.weight": one}
    if how == "other type":
        state["head.weight"] = one.double()
    save_file(state, tmp_path / "a.safetensors")
    model = Tied()
    before = model.embed.weight.clone()
    plan = initcfg.plan(model, rule(str(tmp_path / "a.safetensors"), strict="all"))
    plan = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    if how == "differ":
        with pytest.raises(errors.CheckpointError, match="two different tensors") as caught:
            plan.apply(model)
        assert caught.value.parameter == "embed.weight"
        assert torch.equal(model.embed.weight, before)
        initcfg.init_weights(model, rule(state, exclude="head"))
    else:
        assert only_load(plan).warning is None
        plan.apply(model)
    assert torch.equal(model.head.weight, one)


@pytest.mark.parametrize("there", [torch.zeros(5, 4), numpy.zeros((5, 4), numpy.float32)])
def test_two_tensors_in_memory_for_a_tied_one_are_compared_by_their_numbers(there):
    model = Holder(e=nn.Embedding(5, 4), h=nn.Linear(4, 5, bias=False))
    model.h.weight = model.e.weight
    initcfg.init_weights(model, rule({"e.weight": there, "h.weight": torch.zeros(5, 4)}))
    assert not model.e.weight.any()
    with pytest.raises(errors.CheckpointError, match="two different tensors"):
        initcfg.init_weights(model, rule({"e.weight": there, "h.weight": torch.ones(5, 4)}))
