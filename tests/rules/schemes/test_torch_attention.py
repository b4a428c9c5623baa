"""Schemes for whole models reach the fused matrices of torch's own attention, too."""

from __future__ import annotations

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
