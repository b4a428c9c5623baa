"""Schemes of transformers on a GPT of 12 blocks: each number of its formula, and what is drawn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from reference_transformers import GPT, INNER, LAYERS, ROLES, WIDTH
from scipy import stats
from torch import nn

import initcfg
from initcfg import errors
from initcfg.values import Constant, Normal, TruncNormal, Uniform, Value

ENDS = ("o", "down")


def planned(**rule: Any) -> dict[str, Value]:
    plan = initcfg.plan(GPT(), rule, roles=ROLES, strict=False)
    return {name: item.value for name, item in plan.items()}


def stds(values: dict[str, Value], at: str, layer: int = 0) -> float:
    value = values[f"blocks.{layer}.{at}.weight"]
    assert isinstance(value, (Normal, TruncNormal))
    assert value.mean == 0
    return value.std


def bound(values: dict[str, Value], at: str, layer: int = 0) -> float:
    value = values[f"blocks.{layer}.{at}.weight"]
    assert isinstance(value, Uniform)
    assert value.a == -value.b
    return value.b


def xavier(rows: int, columns: int) -> float:
    return math.sqrt(6 / (rows + columns))


def test_gpt2_and_megatron() -> None:
    for values in (planned(type="GPT2"), planned(type="MegatronScaled")):
        assert stds(values, "q") == stds(values, "up") == 0.02
        for layer in (0, 11):
            for end in ENDS:
                assert stds(values, end, layer) == pytest.approx(0.0040825, rel=1e-4)
        assert values["words.weight"] == values["head.weight"] == Normal(0.0, 0.02)
        assert values["blocks.3.before.weight"] == Constant(1.0)
        assert values["blocks.3.o.bias"] == Constant(0.0)
    wide = planned(type="MegatronScaled", embedding_std=1)
    assert wide["words.weight"] == Normal(0.0, 1.0)
    assert wide["head.weight"] == Normal(0.0, 0.02)


def test_scaled_by_depth() -> None:
    by_index = planned(type="DepthScaled", std=0.02, by="index")
    assert stds(by_index, "o") == pytest.approx(0.0141421, rel=1e-5)
    assert stds(by_index, "down", 11) == pytest.approx(0.0040825, rel=1e-4)
    assert planned(type="DepthScaled", by="total") == planned(type="GPT2")


def test_mitchell() -> None:
    values = planned(type="Mitchell")
    assert stds(values, "q") == stds(values, "up") == 0.125
    assert values["words.weight"] == TruncNormal(0.0, 0.125, -0.375, 0.375)
    for at, first, last in (("o", 0.0883883, 0.0255155), ("down", 0.0441942, 0.0127578)):
        assert stds(values, at) == pytest.approx(first, rel=1e-5)
        assert stds(values, at, 11) == pytest.approx(last, rel=1e-5)
    for value in values.values():
        if isinstance(value, TruncNormal):
            assert value.b == -value.a == pytest.approx(3 * value.std)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"w1": nn.Linear(8, 16), "w2": nn.Linear(16, 8), "w3": nn.Linear(8, 16)})
            for _ in range(LAYERS)
        )


def test_olmo() -> None:
    roles = dict(mlp_gate="*.w1.weight", mlp_in="*.w3.weight", residual_out="*.w2.weight", blocks="blocks")

    def spread(**rule: Any) -> list[float]:
        plan = initcfg.plan(Gated(), dict(type="OLMoLlama", **rule), roles=roles)
        return [plan[f"blocks.0.w{number}.weight"].value.args["std"] for number in (1, 2, 3)]

    total, first = 0.02 / math.sqrt(24), 0.02 / math.sqrt(2)
    assert spread() == pytest.approx([0.02, total, total])
    assert spread(by="index") == pytest.approx([0.02, first, first])
    assert spread(include_w3=False) == pytest.approx([0.02, total, 0.02])
    values = planned(type="OLMoFanIn", embed_scale=4)
    assert stds(values, "q") == stds(values, "o") == 0.125
    assert stds(values, "down") == 1 / math.sqrt(INNER)
    assert values["words.weight"] == TruncNormal(0.0, 0.25, -0.75, 0.75)


def test_small_and_wang() -> None:
    assert stds(planned(type="SmallInit"), "down") == pytest.approx(0.0790569, rel=1e-6)
    assert stds(planned(type="WangInit"), "down") == pytest.approx(0.0208333, rel=1e-5)
    both = planned(type="NeoX")
    assert stds(both, "q") == stds(both, "up") == pytest.approx(0.0790569, rel=1e-6)
    assert stds(both, "o") == stds(both, "down", 7) == pytest.approx(0.0208333, rel=1e-5)
    # The ratio that the formula has is √10 / layers.
    assert stds(both, "o") / stds(both, "q") == pytest.approx(math.sqrt(10) / LAYERS)
    assert planned(type="NeoX", width=WIDTH) == both
    with pytest.raises(errors.RoleError, match="width"):
        initcfg.plan(nn.Linear(3, 3), dict(type="SmallInit"))


def test_ngpt_says_its_forward_half() -> None:
    model = GPT()
    model.blocks[0].attn_alpha = nn.Parameter(torch.zeros(WIDTH))
    model.blocks[0].suv = nn.Parameter(torch.zeros(WIDTH))
    plan = initcfg.plan(model, dict(type="NGPT"), roles=ROLES)
    assert plan["blocks.0.q.weight"].value == Normal(0.0, 0.125)
    assert plan["blocks.5.o.weight"].value.args["std"] == pytest.approx(0.0255155, rel=1e-5)
    assert plan["blocks.0.attn_alpha"].value == Constant(0.125)
    assert plan["blocks.0.suv"].value == Constant(1.0)
    assert any("normalize" in note for note in plan.notes)
    with pytest.raises(errors.InitcfgError, match="normalize"):
        initcfg.plan(model, dict(type="NGPT"), roles=ROLES, strict=True)


def test_t5() -> None:
    values = planned(type="T5", d_kv=16)
    assert stds(values, "q") == 0.03125
    assert stds(values, "k") == stds(values, "v") == stds(values, "o") == stds(values, "up") == 0.125
    assert stds(values, "down") == 0.0625
    assert values["words.weight"] == values["head.weight"] == Normal(0.0, 1.0)
    with pytest.raises(errors.ArgumentError, match="d_kv"):
        planned(type="T5")


def test_deep_norm_divides_by_depth() -> None:
    values = planned(type="DeepNorm")
    factor = 1 / 3.130169
    assert bound(values, "q") == bound(values, "k") == pytest.approx(xavier(64, 64) / math.sqrt(2))
    assert bound(values, "v") == pytest.approx(0.0489, rel=1e-3)
    assert bound(values, "o", 5) == pytest.approx(xavier(64, 64) * factor, rel=1e-6)
    assert bound(values, "up") == bound(values, "down") == pytest.approx(xavier(64, 256) * factor, rel=1e-6)
    assert planned(type="DeepNorm", kind="decoder", decoder_layers=12) == values
    with pytest.raises(errors.InitcfgError, match="norm\\(α·x"):
        initcfg.plan(GPT(), dict(type="DeepNorm"), roles=ROLES, strict=True)
    initcfg.plan(GPT(), dict(type="DeepNorm", forward="done"), roles=ROLES, strict=True)
    with pytest.raises(errors.ArgumentError, match="blocks of each"):
        planned(type="DeepNorm", kind="encoder-decoder")
    fused = {key: each for key, each in ROLES.items() if key not in ("attn_q", "attn_k", "attn_v")}
    with pytest.raises(errors.RoleError, match="attn_v"):
        initcfg.plan(GPT(), dict(type="DeepNorm"), roles={**fused, "attn_qkv": "*.q.weight"})


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = GPT(6), GPT(3)


def both(**rule: Any) -> initcfg.Plan:
    roles = {key: each for key, each in ROLES.items() if key not in ("embedding", "position", "head")}
    roles |= dict(blocks=["encoder.blocks", "decoder.blocks"])
    return initcfg.plan(
        EncoderDecoder(), dict(rule, kind="encoder-decoder", encoder_layers=6, decoder_layers=3), roles=roles
    )


def test_encoders_and_decoders_have_their_own_factor() -> None:
    def ends(plan: initcfg.Plan) -> list[float]:
        return [plan[f"{half}.blocks.0.o.weight"].value.args["b"] for half in ("encoder", "decoder")]

    fan = xavier(64, 64)
    expected = [fan * 1.15 / (6**4 * 3) ** (1 / 16), fan / (12 * 3) ** 0.25]
    assert ends(both(type="DeepNorm")) == pytest.approx(expected)
    expected = [fan * math.sqrt(math.log(9) * math.log(12) / 3), fan * math.sqrt(math.log(9))]
    assert ends(both(type="SubLN")) == pytest.approx(expected)
    assert ends(both(type="TFixup")) == pytest.approx([fan * 0.67 * 6**-0.25, fan * 27**-0.25])


def test_sub_ln() -> None:
    values = planned(type="SubLN")
    assert bound(values, "o") / xavier(64, 64) == pytest.approx(1.782710, rel=1e-6)
    assert bound(values, "v") / bound(values, "q") == pytest.approx(1.782710, rel=1e-6)


def test_t_fixup() -> None:
    values = planned(type="TFixup", encoder_layers=6)
    for at in ("v", "o"):
        assert bound(values, at) / xavier(64, 64) == pytest.approx(0.428092, rel=1e-5)
    assert bound(values, "down") / xavier(64, 256) == pytest.approx(0.428092, rel=1e-5)
    assert values["words.weight"].args["std"] == pytest.approx(0.125 * (9 * 6) ** -0.25)
    decoder = planned(type="TFixup", kind="decoder", decoder_layers=6)
    assert bound(decoder, "o") / xavier(64, 64) == pytest.approx(0.368894, rel=1e-5)


def test_ds_init() -> None:
    values = planned(type="DSInit")
    for layer in (0, 3):
        assert bound(values, "up", layer) == pytest.approx(xavier(64, 256) / math.sqrt(layer + 1))
    code = planned(type="DSInit", of="code")
    assert bound(code, "o", 3) == pytest.approx(xavier(64, 64) / 4**0.25)


def test_ret_net() -> None:
    values = planned(type="RetNet")
    assert bound(values, "q") == bound(values, "v") == pytest.approx(0.0382733, rel=1e-5)
    assert bound(values, "o") == pytest.approx(xavier(64, 64))
    deep = planned(type="RetNet", deepnorm=True)
    assert bound(deep, "v") == pytest.approx(0.0382733 / 3.130169, rel=1e-5)
    assert bound(deep, "o") == pytest.approx(xavier(64, 64) / 3.130169, rel=1e-5)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (dict(type="GPT2"), "blocks.4.down.weight"),
        (dict(type="Mitchell"), "blocks.4.o.weight"),
        (dict(type="NeoX"), "blocks.4.up.weight"),
        (dict(type="DeepNorm"), "blocks.4.down.weight"),
        (dict(type="T5", d_kv=16), "blocks.4.q.weight"),
    ],
)
def test_what_is_drawn_has_the_distribution(rule: dict[str, Any], name: str) -> None:
    model = GPT()
    plan = initcfg.plan(model, rule, roles=ROLES)
    plan.apply(model, seed=2)
    drawn, value = model.get_parameter(name).detach().flatten().double().numpy(), plan[name].value
    if isinstance(value, TruncNormal):
        expected = stats.truncnorm(value.a / value.std, value.b / value.std, scale=value.std)
    elif isinstance(value, Uniform):
        expected = stats.uniform(value.a, value.b - value.a)
    else:
        assert isinstance(value, Normal)
        expected = stats.norm(0, value.std)
    assert abs(drawn.std() / expected.std() - 1) <= 4 / math.sqrt(2 * len(drawn))
    assert stats.kstest(drawn, expected.cdf).pvalue > 1e-3


def test_the_blocks_of_encoder_and_decoder_are_those_of_their_stacks() -> None:
    roles = {key: each for key, each in ROLES.items() if key not in ("embedding", "position", "head")}
    roles |= dict(blocks=["encoder.blocks", "decoder.blocks"])
    for scheme in ("DeepNorm", "SubLN", "TFixup"):
        rule = dict(type=scheme, kind="encoder-decoder")
        assert initcfg.plan(EncoderDecoder(), rule, roles=roles).diff(both(type=scheme)) == {}
    alone = {**roles, "blocks": "encoder.blocks"}
    with pytest.raises(errors.ArgumentError, match="needs the blocks of each"):
        initcfg.plan(EncoderDecoder(), dict(type="DeepNorm", kind="encoder-decoder"), roles=alone)


def test_the_note_of_deep_norm_has_its_alpha_as_a_number() -> None:
    note = "with α = (2·12)^¼ = 2.213"
    assert any(note in each for each in initcfg.plan(GPT(), dict(type="DeepNorm"), roles=ROLES).notes)
    note = "with α = 1.358 in the encoder and 1.732 in the decoder"
    assert pytest.approx(1.358, abs=5e-4) == 0.81 * (6**4 * 3) ** (1 / 16)
    assert any(each.endswith(note) for each in both(type="DeepNorm").notes)
