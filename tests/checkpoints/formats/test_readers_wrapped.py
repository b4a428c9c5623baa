"""What training code puts around the weights: found, taken off, and told."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from initcfg._checkpoints.formats import open_mapping, open_path
from initcfg.errors import CheckpointError

WEIGHTS = {"conv.weight": torch.ones(2), "conv.bias": torch.zeros(1)}
AVERAGES = {"conv.weight": torch.full((2,), 3.0), "conv.bias": torch.full((1,), 4.0)}


def prefixed(prefix: str, state=None):
    return {prefix + key: each for key, each in (state or WEIGHTS).items()}


def opened(content, **options):
    return open_mapping(content, name="a", **options)


@pytest.mark.parametrize(
    ("content", "wrapping"),
    [
        (WEIGHTS, ()),
        (
            {"state_dict": WEIGHTS, "meta": {"epoch": 1}, "optimizer": {"state": {0: WEIGHTS}}},
            ("state_dict",),
        ),
        ({"model": WEIGHTS}, ("model",)),
        ({"model_state": WEIGHTS, "epoch": 1}, ("model_state",)),
        ({"module": WEIGHTS}, ("module",)),
        ({"epoch": torch.tensor(1), "state_dict": WEIGHTS}, ("state_dict",)),
        ({"model": {"state_dict": WEIGHTS}}, ("model", "state_dict")),
        ({"app": {"model": WEIGHTS, "optim": {"a": torch.ones(1)}}}, ("app", "model")),
        (prefixed("module."), ("module.",)),
        (prefixed("_orig_mod."), ("_orig_mod.",)),
        (prefixed("_orig_mod.module."), ("_orig_mod.", "module.")),
        ({"state_dict": prefixed("module._orig_mod.")}, ("state_dict", "module.", "_orig_mod.")),
        ({"state_dict": WEIGHTS, "state_dict_ema": AVERAGES}, ("state_dict",)),
        ({"state_dict_ema": WEIGHTS, "args": 1}, ("state_dict_ema",)),
        ({"model_ema": WEIGHTS}, ("model_ema",)),
        ({"ema_state_dict": WEIGHTS, "model": {}}, ("ema_state_dict",)),
        (
            {"conv": {"weight": WEIGHTS["conv.weight"], "bias": WEIGHTS["conv.bias"]}, "optimizer": WEIGHTS},
            (),
        ),
    ],
)
def test_wrapping_is_taken_off_and_told(tmp_path, content, wrapping):
    torch.save(content, tmp_path / "a.pth")
    for reader in (opened(content), open_path(tmp_path / "a.pth")):
        assert reader.wrapping == wrapping
        assert list(reader.keys()) == list(WEIGHTS)
        assert all(torch.equal(reader.read(key), each) for key, each in WEIGHTS.items())


def test_averages_are_taken_when_asked_for():
    content = {"state_dict": WEIGHTS, "state_dict_ema": AVERAGES, "other": {"a": torch.ones(1)}}
    assert opened(content).parts == ("state_dict_ema",)
    reader = opened(content, part="state_dict_ema")
    assert (reader.wrapping, reader.parts) == (("state_dict_ema",), ("state_dict",))
    assert torch.equal(reader.read("conv.bias"), AVERAGES["conv.bias"])
    assert list(opened(content, part="other").keys()) == ["a"]
    with pytest.raises(CheckpointError) as caught:
        opened(content, part="state_dict_emma")
    assert caught.value.meant[0] == "state_dict_ema"
    with pytest.raises(CheckpointError, match="Name no part"):
        opened(WEIGHTS, part="state_dict")


@pytest.mark.parametrize(
    "content",
    [
        {**prefixed("module."), "other": torch.ones(1)},
        prefixed("model."),
        {"module.": torch.ones(1)},
        {"module": torch.ones(1)},
    ],
)
def test_what_is_a_name_stays(content):
    reader = opened(content)
    assert (list(reader.keys()), reader.wrapping) == (list(content), ())


def test_an_averaged_model_of_torch():
    model = nn.Linear(2, 2)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    reader = opened(averaged.state_dict())
    assert set(reader.keys()) == {"n_averaged", "weight", "bias"}
    assert reader.wrapping == ("module.",)


def test_wrapped_and_compiled_models():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with warnings.catch_warnings():
        # What torch.compile says of torch.jit on import.
        warnings.simplefilter("ignore", DeprecationWarning)
        made = [nn.DataParallel(model), torch.compile(model), torch.compile(nn.DataParallel(model))]
    for each in made:
        assert list(opened(each.state_dict()).keys()) == list(model.state_dict())


def test_nested_tables_are_joined_only_where_nothing_else_is():
    content = {
        "encoder": {"0": {"weight": torch.ones(1)}},
        "scale": torch.ones(2),
        "steps": {1: torch.ones(3)},
        "lr_scheduler": {"a": torch.ones(1)},
        "settings": {"width": 3},
    }
    reader = opened(content)
    assert set(reader.keys()) == {"encoder.0.weight", "scale", "steps.1"}
    assert set(reader.beside) == {"lr_scheduler", "settings"}


def test_two_ways_to_one_key():
    with pytest.raises(CheckpointError, match=r"has two tensors under the name 'a\.b'"):
        opened({"a.b": torch.ones(1), "a": {"b": torch.zeros(2)}})


def test_a_table_in_itself():
    content: dict = {"a": {"w": torch.ones(1)}}
    content["a"]["b"] = content
    with pytest.raises(CheckpointError, match="nested without end"):
        opened(content)
