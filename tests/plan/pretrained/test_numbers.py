"""Numbers that are no weights by themselves: casts that must be asked for, and quantized tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from adapted import Holder, loaded, numbers, only_load
from safetensors.torch import load_file, save_file
from torch import nn

import initcfg
from initcfg import errors

FP8 = torch.float8_e4m3fn


def layer(rows: int = 4, columns: int = 8, bias: bool = False) -> nn.Module:
    return Holder(fc=nn.Linear(columns, rows, bias=bias))


def refused(
    state: dict[str, torch.Tensor], model: nn.Module | None = None, **rule: Any
) -> errors.CheckpointError:
    model = layer() if model is None else model
    with pytest.raises(errors.CheckpointError) as caught:
        initcfg.plan(model, dict(type="Pretrained", checkpoint=state, **rule))
    return caught.value


# -- casts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    [
        *(FP8, torch.float8_e5m2, torch.bool, torch.int8, torch.uint8),
        *(torch.int16, torch.int32, torch.int64, torch.complex64),
    ],
)
def test_a_cast_into_real_numbers_is_asked_for(dtype):
    there = numbers(4, 8).mul(3).to(dtype)
    text = str(dtype).removeprefix("torch.")
    error = refused({"fc.weight": there})
    assert f"has 'fc.weight' as {text}, and it is float32 here" in str(error)
    assert "adapt={'fc.weight': 'dtype'}" in str(error.fix)
    assert (error.parameter, error.shape) == ("fc.weight", (4, 8))
    plan = initcfg.plan(layer(), dict(type="Pretrained", checkpoint={"fc.weight": there}, adapt="dtype"))
    assert only_load(plan).converted == ((text, "float32", 1),)
    if not dtype.is_complex:
        model = layer()
        plan.apply(model)
        assert torch.equal(model.fc.weight, there.float())


def test_the_others_are_counted_and_what_is_excluded_is_no_error():
    state = {"fc.weight": torch.ones(4, 8, dtype=torch.int8), "fc.bias": torch.ones(4, dtype=torch.uint8)}
    assert "and 1 other likewise" in str(refused(state, layer(bias=True)))
    state["fc.bias"] = torch.ones(4)
    plan = loaded(layer(bias=True), state, None, exclude="fc.weight")
    assert only_load(plan).loaded == 1


@pytest.mark.parametrize("shape", [(16, 1), (4, 4)])
def test_packed_numbers_are_refused_for_their_type_not_their_shape(shape):
    assert "as uint8, and it is float32" in str(refused({"fc.weight": torch.zeros(shape, dtype=torch.uint8)}))


def test_whole_numbers_in_buffers_of_whole_numbers_and_real_ones_of_any_width():
    model = Holder(norm=nn.BatchNorm1d(4), mask=torch.zeros(4, dtype=torch.int64), short=(4,))
    state = {name: torch.full_like(item, 3) for name, item in model.state_dict().items()}
    state["norm.num_batches_tracked"] = torch.tensor(7, dtype=torch.int32)
    state["mask"] = torch.ones(4, dtype=torch.bool)
    state["short"] = torch.full((4,), 0.5, dtype=torch.float16)
    plan = loaded(model, state, None, strict="all")
    assert int(model.norm.num_batches_tracked) == 7
    assert model.mask.tolist() == [1] * 4
    assert model.short.tolist() == [0.5] * 4
    assert ("float16", "float32", 1) in only_load(plan).converted


def test_numbers_of_a_byte_into_parameters_of_a_byte():
    model = Holder(fc=nn.Linear(8, 4, bias=False).to(FP8))
    there = numbers(4, 8).to(FP8)
    loaded(model, {"fc.weight": there}, None)
    assert torch.equal(model.fc.weight.float(), there.float())


# -- numbers times scales ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "columns"), [(256, 256), (200, 300), (128, 384), (4, 8)])
def test_blocks_of_deepseek(dtype, scale_dtype, rows, columns):
    there = numbers(rows, columns).to(FP8)
    scales = torch.rand(-(-rows // 128), -(-columns // 128)).to(scale_dtype)
    model = layer(rows, columns).to(dtype)
    plan = loaded(model, {"fc.weight": there, "fc.weight_scale_inv": scales}, "dequantize", strict="all")
    spread = scales.float().repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :columns]
    assert torch.equal(model.fc.weight, (there.float() * spread).to(dtype))
    assert "dequantized" in only_load(plan).adapted[0][1]
    assert not only_load(plan).unexpected


def test_blocks_of_another_size_are_said():
    there, scales = numbers(64, 96).to(FP8), torch.rand(2, 2)
    state = {"fc.weight": there, "fc.weight_scale_inv": scales}
    assert "block=[64, 64]" in str(refused(state, layer(64, 96), adapt="dequantize").fix)
    model = layer(64, 96)
    loaded(model, state, {"fc": dict(type="dequantize", block=[32, 64])})
    spread = scales.repeat_interleave(32, 0).repeat_interleave(64, 1)[:, :96]
    assert torch.equal(model.fc.weight, there.float() * spread)


@pytest.mark.parametrize("there", [FP8, torch.float8_e5m2, torch.int8])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (4,), (4, 1)])
@pytest.mark.parametrize("name", ["weight_scale", "scale_weight", "weight_scale_inv"])
def test_one_scale_or_one_for_each_row(there, shape, name):
    stored, scales = numbers(4, 8).mul(9).to(there), torch.rand(shape)
    model = layer()
    state = {"fc.weight": stored, f"fc.{name}": scales, "fc.input_scale": torch.ones(())}
    plan = loaded(model, state, "dequantize", strict="all")
    expected = stored.float() * (scales.reshape(-1, 1) if scales.dim() < 2 else scales)
    assert torch.equal(model.fc.weight, expected)
    assert only_load(plan).converted == ()


def test_int8_of_bitsandbytes():
    stored = torch.randint(-127, 128, (4, 8), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    scales = torch.rand(4)
    state = {"fc.weight": stored, "fc.SCB": scales, "fc.weight_format": torch.tensor(0, dtype=torch.uint8)}
    model = layer()
    plan = loaded(model, state, "dequantize", strict="all")
    assert torch.equal(model.fc.weight, stored.float() * scales[:, None] / 127)
    assert plan["fc.weight"].value.steps == (("dequantize", 127, 1, 0),)
    state["fc.weight_format"] = torch.tensor(2, dtype=torch.uint8)
    assert "in the layout of some GPUs" in str(refused(state, adapt="dequantize"))


def test_experts_with_a_scale_each():
    stored, scales = numbers(3, 4, 8).to(FP8), torch.rand(3, 1, 1)
    model = Holder(experts=Holder(up=(3, 4, 8)))
    loaded(model, {"experts.up": stored, "experts.up_scale": scales}, "dequantize")
    assert torch.equal(model.experts.up, stored.float() * scales)


def test_before_everything_else_that_makes_it_fit():
    model = Holder(attn=Holder(qkv=nn.Linear(8, 12, bias=False)))
    state, parts = {}, []
    for seed, name in enumerate(("q_proj", "k_proj", "v_proj")):
        stored, scales = numbers(4, 8, seed=seed).to(FP8), torch.rand(4, 1)
        state |= {f"attn.{name}.weight": stored, f"attn.{name}.weight_scale": scales}
        parts.append(stored.float() * scales)
    loaded(model, state, ["qkv", "dequantize"], strict="all")
    assert torch.equal(model.attn.qkv.weight, torch.cat(parts))
    turned = Holder(fc=nn.Linear(4, 8, bias=False))
    stored, scales = numbers(4, 8).to(FP8), torch.rand(4, 1)
    adapt = {"fc": ["dequantize", "transpose"]}
    loaded(turned, {"fc.weight": stored, "fc.weight_scale": scales}, adapt)
    assert torch.equal(turned.fc.weight, (stored.float() * scales).T)


def test_from_a_file_by_json_and_streamed(tmp_path: Path):
    stored, scales = numbers(256, 256).to(FP8), torch.rand(2, 2)
    save_file({"fc.weight": stored, "fc.weight_scale_inv": scales}, tmp_path / "a.safetensors")
    model = layer(256, 256)
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "a.safetensors"), adapt="dequantize")
    plan = initcfg.plan(model, rule)
    plan.save_weights(tmp_path / "out", model, seed=0)
    expected = stored.float() * scales.repeat_interleave(128, 0).repeat_interleave(128, 1)
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["fc.weight"], expected)
    again = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    ledger = again.apply(model)
    assert torch.equal(model.fc.weight, expected)
    found = ledger["fc.weight"].loaded
    assert found.keys == ("fc.weight", "fc.weight_scale_inv")
    assert found.dtype == "float8_e4m3fn"
    assert "a scale for each block of 128×128" in found.adapted


# -- quantized, and no plain formula -----------------------------------------------------------------

INT32 = torch.zeros(2, 4, dtype=torch.int32)
UINT8 = torch.zeros(16, 1, dtype=torch.uint8)
INT8 = torch.zeros(4, 8, dtype=torch.int8)
SCALE = torch.rand(4, 1)
GPTQ = {"qweight": INT32, "qzeros": INT32, "scales": numbers(1, 4)}


@pytest.mark.parametrize(
    ("beside", "says"),
    [
        (GPTQ | {"g_idx": torch.zeros(8, dtype=torch.int32)}, "GPTQ"),
        (GPTQ, "AWQ"),
        ({"weight": UINT8, "weight.absmax": numbers(1), "weight.quant_map": numbers(16)}, "bitsandbytes"),
        ({"weight": UINT8, "weight.quant_state.bitsandbytes__nf4": UINT8}, "bitsandbytes, nf4"),
        ({"weight_packed": INT32, "weight_scale": SCALE}, "compressed-tensors"),
        ({"W_q": UINT8, "scale": SCALE, "zero": SCALE}, "HQQ"),
        ({"codes": UINT8, "codebooks": SCALE, "scales": SCALE}, "AQLM"),
        ({"weight": UINT8, "weight_scale": SCALE.to(FP8), "weight_scale_2": numbers(1)}, "NVFP4"),
        ({"weight": INT8, "weight_scale": SCALE, "weight_zero_point": SCALE}, "zero points"),
        ({"weight": INT8.T, "weight_scales": numbers(4)}, "EETQ"),
        ({"weight_blocks": UINT8, "weight_scales": UINT8}, "MXFP4"),
        ({"weight": INT8.to(torch.uint8), "weight_scale": SCALE}, "uint8 with scales"),
    ],
)
@pytest.mark.parametrize("adapt", [None, "dtype", "dequantize"])
def test_formats_are_named(beside, says, adapt):
    error = refused({f"fc.{name}": item for name, item in beside.items()}, adapt=adapt)
    assert "quantized (" in str(error) and says in str(error)
    assert "with the library that made it" in str(error.fix)
    assert error.parameter == "fc.weight"


@pytest.mark.parametrize("adapt", [None, "auto", "dtype"])
def test_plain_formats_say_what_to_ask_for(adapt):
    state = {"fc.weight": numbers(4, 8).to(FP8), "fc.weight_scale_inv": torch.rand(1, 1)}
    error = refused(state, adapt=adapt)
    assert "quantized (float8_e4m3fn with one scale): 'fc.weight' is float8_e4m3fn there" in str(error)
    assert "with 'fc.weight_scale_inv' beside it, and float32 here" in str(error)
    assert "adapt='dequantize'" in str(error.fix)


def test_quanto():
    stored, scales = torch.randint(-9, 9, (4, 8)).to(torch.int8), torch.rand(4, 1)
    state = {"fc.weight._data": stored, "fc.weight._scale": scales}
    assert "quantized (quanto)" in str(refused(state))
    model = layer()
    loaded(model, state, "dequantize", strict="all")
    assert torch.equal(model.fc.weight, stored.float() * scales)


def test_a_model_that_is_quantized_itself_loads_as_it_is():
    model = Holder(fc=Holder(qweight=INT32, scales=torch.zeros(1, 4), qzeros=INT32))
    state = {f"fc.{name}": item for name, item in GPTQ.items()}
    loaded(model, state, None, strict="all")
    assert torch.equal(model.fc.scales, GPTQ["scales"])


def test_real_weights_beside_a_scale_of_the_module():
    model = Holder(fc=Holder(weight=(4, 8), scale=(1,)))
    state = {"fc.weight": numbers(4, 8), "fc.scale": numbers(1)}
    loaded(model, state, None, strict="all")
    assert torch.equal(model.fc.weight, state["fc.weight"])
