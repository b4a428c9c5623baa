"""What stands beside the weights, and what is said where it is missing: configs, indexes, sizes."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg._api.weights import inspect as inspected
from initcfg._api.weights import inspection_view
from initcfg.errors import CheckpointError


def _blocks(folder, rows, columns):
    numbers = torch.randn(256, 192).to(torch.float8_e4m3fn)
    scales = torch.rand(-(-256 // rows), -(-192 // columns))
    folder.mkdir(exist_ok=True)
    save_file({"weight": numbers, "weight_scale_inv": scales}, folder / "model.safetensors")
    spread = scales.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    return numbers.float() * spread[:256, :192]


def _says(folder, block):
    said = {"quantization_config": {"quant_method": "fp8", "weight_block_size": block}}
    (folder / "config.json").write_text(json.dumps(said))


@pytest.mark.parametrize("whole", [True, False])
def test_the_size_of_blocks_is_read_from_the_config_beside(tmp_path, whole):
    folder = tmp_path / "a"
    right = _blocks(folder, 64, 32)
    path = str(folder if whole else folder / "model.safetensors")
    rule = dict(type="Pretrained", checkpoint=path, adapt="dequantize")
    with pytest.raises(CheckpointError, match="Say how many rows and columns share a scale"):
        initcfg.plan(nn.Linear(192, 256, bias=False), rule)
    _says(folder, [64, 32])
    layer = nn.Linear(192, 256, bias=False)
    initcfg.init_weights(layer, rule)
    assert torch.equal(layer.weight, right)
    # What the rule says goes before the file.
    with pytest.raises(CheckpointError, match="Say how many rows"):
        initcfg.plan(layer, rule | dict(adapt=dict(type="dequantize", block=[16, 16])))


@pytest.mark.parametrize("block", [None, 64, [64], [64, 0], [64, -1], [True, 64], ["64", 64], [1 << 70, 1]])
def test_a_config_that_says_nothing_of_use_changes_nothing(tmp_path, block):
    folder = tmp_path / "a"
    right = _blocks(folder, 128, 128)
    _says(folder, block)
    layer = nn.Linear(192, 256, bias=False)
    initcfg.init_weights(layer, dict(type="Pretrained", checkpoint=str(folder), adapt="dequantize"))
    assert torch.equal(layer.weight, right)


def test_a_damaged_config_is_an_error_where_it_is_needed(tmp_path):
    folder = tmp_path / "a"
    _blocks(folder, 64, 32)
    (folder / "config.json").write_text('{"a": ')
    rule = dict(type="Pretrained", checkpoint=str(folder))
    with pytest.raises(CheckpointError, match=r"its config\.json is not JSON"):
        initcfg.plan(nn.Linear(192, 256, bias=False), rule | dict(adapt="dequantize"))
    save_file({"weight": torch.ones(256, 192)}, folder / "model.safetensors")
    assert initcfg.plan(nn.Linear(192, 256, bias=False), rule).loads[0].loaded == 1


def test_shards_without_their_index_say_which_file_to_fetch(tmp_path):
    for place in (1, 2):
        save_file({f"{place}": torch.ones(1)}, tmp_path / f"model-0000{place}-of-00003.safetensors")
    with pytest.raises(CheckpointError) as caught:
        initcfg.init_weights(nn.Linear(2, 2), dict(type="Pretrained", checkpoint=str(tmp_path)))
    assert "no index of them" in caught.value.problem
    assert "'model.safetensors.index.json'" in str(caught.value.fix) and "are 3" in str(caught.value.fix)


def test_sizes_that_are_not_known_are_not_0_bytes(tmp_path):
    sparse = torch.ones(2, 2).to_sparse()
    torch.save({"a": sparse}, tmp_path / "a.pth")
    torch.save({"a": sparse, "b": torch.ones(2)}, tmp_path / "b.pth")
    for name, told in (
        ("a", "4 elements, 1 tensor of unknown size; torch"),
        ("b", "8 B and 1 tensor of unknown size"),
    ):
        console = Console(width=200, file=io.StringIO())
        console.print(inspection_view(inspected(str(tmp_path / f"{name}.pth"))))
        assert told in console.file.getvalue()


def test_tensors_in_memory_without_numbers_or_of_another_form_are_refused_in_words():
    layer = nn.Linear(2, 2)
    before = layer.weight.clone()
    bias = torch.ones(2)
    for weight, told in (
        (torch.ones(2, 2).to_sparse(), "is sparse"),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(2)], layout=torch.jagged), "is nested"),
        (torch.ones(2, 2, device="meta"), "is on the meta device"),
    ):
        with pytest.raises(CheckpointError, match=told):
            initcfg.init_weights(layer, dict(type="Pretrained", checkpoint={"bias": bias, "weight": weight}))
    assert torch.equal(layer.weight, before) and not torch.equal(layer.bias, bias)
