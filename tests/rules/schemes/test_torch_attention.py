"""Schemes for whole models reach the fused matrices of torch's own attention, too."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import initcfg
from initcfg.values import Keep

EXAMPLE = (torch.zeros(2, 5, 64),)


def encoder(**given):
    layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, norm_first=True, **given)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


NAMES = (
    "GPT2 MegatronScaled DepthScaled Mitchell OLMoLlama OLMoFanIn SmallInit NeoX WangInit NGPT CLIP "
    "ViTTimm ViTJax ViTMoCo DiT SignalPreserving"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_no_matrix_is_left_as_torch_has_it(name):
    plan = initcfg.plan(encoder(), dict(type=name), example=EXAMPLE)
    if name == "WangInit":
        # For the ends of branches alone.
        assert plan["layers.1.linear2.weight"].value != Keep()
        return
    left = [key for key, item in plan.items() if len(item.shape) == 2 and item.value == Keep()]
    assert left == []


def test_each_of_the_three_has_its_own_fans():
    plan = initcfg.plan(encoder(), dict(type="ViTJax"), example=EXAMPLE)
    value = plan["layers.0.self_attn.in_proj_weight"].value
    assert [part.b for part in value.values] == [pytest.approx((6 / 128) ** 0.5)] * 3
    assert plan["layers.0.self_attn.in_proj_bias"].value.val == 0


def test_matrices_apart():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(64, 4, kdim=32, vdim=16, batch_first=True)

        def forward(self, x):
            context = x.new_zeros(2, 7, 32), x.new_zeros(2, 7, 16)
            return x + self.attention(x, *context)[0]

    plan = initcfg.plan(Cross(), dict(type="GPT2", std=0.01), example=EXAMPLE)
    stds = {key: plan[key].value.std for key in plan if len(plan[key].shape) == 2}
    assert stds.pop("attention.out_proj.weight") == 0.01 / 2**0.5
    assert set(stds.values()) == {0.01} and len(stds) == 3


def test_a_scheme_that_looks_at_the_input_takes_the_plans_example():
    own = initcfg.plan(encoder(), dict(type="SignalPreserving", example=EXAMPLE))
    plan = initcfg.plan(encoder(), dict(type="SignalPreserving"), example=EXAMPLE)
    assert {key: item.value for key, item in plan.items()} == {key: item.value for key, item in own.items()}
    with pytest.raises(initcfg.errors.RoleError, match="example="):
        initcfg.plan(encoder(), dict(type="SignalPreserving"))


def test_an_encoder_and_a_decoder_of_other_names():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc, self.dec = nn.Linear(4, 4), nn.Linear(4, 4)

    rule = dict(type="DeepNorm", kind="encoder-decoder", encoder_layers=2, decoder_layers=3)
    with pytest.raises(initcfg.errors.RoleError, match=r"no parameter of Two has one like '\*encoder"):
        initcfg.plan(Two(), rule, roles=dict(attn_v="enc.weight"))


def xavier(rows, columns):
    return (6 / (rows + columns)) ** 0.5


@pytest.mark.parametrize(
    ("name", "values", "others"),
    [
        ("DeepNorm", 24**-0.25 / 2**0.5, 24**-0.25),
        ("SubLN", math.log(6) ** 0.5 / 2**0.5, math.log(6) ** 0.5),
        ("TFixup", 0.67 * 3**-0.25, 0.67 * 3**-0.25),
    ],
)
def test_of_the_fused_matrix_only_the_values_are_scaled(name, values, others):
    plan = initcfg.plan(encoder(), dict(type=name), example=EXAMPLE)
    for block in range(3):
        fused = plan[f"layers.{block}.self_attn.in_proj_weight"].value
        assert (fused.dim, fused.sizes) == (0, (64, 64, 64))
        alone = xavier(64, 64) / 2**0.5
        assert [part.b for part in fused.values] == pytest.approx([alone, alone, xavier(64, 64) * values])
        out = plan[f"layers.{block}.self_attn.out_proj.weight"].value
        assert out.b == pytest.approx(xavier(64, 64) * others)
        assert plan[f"layers.{block}.linear1.weight"].value.b == pytest.approx(xavier(64, 256) * others)
    again = initcfg.Plan.from_json(plan.to_json())
    assert again["layers.2.self_attn.in_proj_weight"].value == fused


def test_what_is_drawn_of_the_fused_matrix():
    model = encoder()
    initcfg.plan(model, dict(type="DeepNorm"), example=EXAMPLE).apply(model, seed=3)
    query, key, value = model.layers[1].self_attn.in_proj_weight.detach().chunk(3)
    std = xavier(64, 64) / 2**0.5 / 3**0.5
    for part, factor in ((query, 1), (key, 1), (value, 24**-0.25)):
        assert part.std().item() == pytest.approx(std * factor, rel=0.03)


def test_a_rule_of_ones_own_for_the_values():
    rule = dict(type="FusedXavier", role="attn_qkv", scale="1/2")
    parts = initcfg.plan(encoder(), rule, example=EXAMPLE)["layers.0.self_attn.in_proj_weight"].value.values
    assert [part.b for part in parts] == pytest.approx([xavier(64, 64)] * 2 + [xavier(64, 64) / 2])
    with pytest.raises(initcfg.errors.TensorError, match="nobody knows which rows are the values"):
        initcfg.plan(nn.Linear(8, 24), dict(type="FusedXavier", layer="Linear"))


class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        options = dict(d_model=64, nhead=4, dim_feedforward=128, batch_first=True)
        self.whole = nn.Transformer(num_encoder_layers=3, num_decoder_layers=2, **options)

    def forward(self, x):
        return self.whole(x, x)


def test_numbers_of_blocks_that_the_model_denies():
    rule = dict(type="DeepNorm", kind="encoder-decoder")
    found = initcfg.plan(Translator(), rule, example=EXAMPLE)
    given = initcfg.plan(Translator(), rule | dict(encoder_layers=3, decoder_layers=2), example=EXAMPLE)
    assert found.diff(given) == {}
    fused = found["whole.decoder.layers.1.multihead_attn.in_proj_weight"].value
    assert fused.values[2].b / fused.values[0].b == pytest.approx(24**-0.25)
    for wrong in (dict(encoder_layers=6), dict(decoder_layers=3), dict(encoder_layers=2, decoder_layers=2)):
        with pytest.raises(initcfg.errors.ArgumentError, match=r"was given \w+=\d, and the \w+ of"):
            initcfg.plan(Translator(), rule | wrong, example=EXAMPLE)
    # Where nothing can be seen, the numbers are a person's word.
    untold = initcfg.plan(Translator(), rule | dict(encoder_layers=6, decoder_layers=3), roles=TWO)
    assert untold.diff(found)


TWO = dict(attn_qkv="*in_proj_weight", attn_out="*out_proj.weight")
