"""Schemes of images, states, coordinates and parts: numbers of the catalogue, and what they promise."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from reference_transformers import GPT, ROLES
from scipy import stats
from torch import nn

import initcfg
from initcfg import errors
from initcfg.values import Constant, Eye, Normal, Orthogonal, TruncNormal, Uniform


def planned(model: nn.Module, *, roles: Any = None, **rule: Any) -> initcfg.Plan:
    return initcfg.plan(model, rule, roles=roles)


# -- residual networks --------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self, width: int, gate: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.bias1a = nn.Parameter(torch.ones(1))
        self.scale = nn.Parameter(torch.zeros(1))
        if gate:
            self.gate = nn.Parameter(torch.ones(1))


class Residual(nn.Module):
    def __init__(self, gate: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3)
        self.blocks = nn.ModuleList(Block(64, gate) for _ in range(16))
        self.short = nn.Conv2d(64, 64, 1)
        self.head = nn.Linear(64, 10)


RESIDUAL = dict(
    stem="stem.weight",
    conv_in="*.conv1.weight",
    residual_out="*.conv2.weight",
    residual_norm="*.norm2.weight",
    shortcut="short.weight",
    head="head.weight",
    blocks="blocks",
)


def test_fixup() -> None:
    plan = planned(Residual(), type="Fixup", roles=RESIDUAL)
    assert plan["blocks.3.conv1.weight"].value.args["std"] == pytest.approx(0.0147314, rel=1e-5)
    assert plan["blocks.3.conv2.weight"].value == plan["head.weight"].value == Constant(0.0)
    assert plan["stem.weight"].value.args["std"] == pytest.approx(math.sqrt(2 / 576))
    assert plan["short.weight"].value.args["std"] == pytest.approx(math.sqrt(2 / 64))
    assert plan["blocks.3.bias1a"].value == Constant(0.0)
    assert plan["blocks.3.scale"].value == Constant(1.0)
    deep = planned(Residual(), type="Fixup", block="bottleneck", roles=RESIDUAL)
    assert deep["blocks.0.conv1.weight"].value.args["std"] == pytest.approx(math.sqrt(2 / 576) * 16**-0.25)
    assert any("scalar bias" in note for note in plan.notes)


def test_branches_at_zero() -> None:
    norms = planned(Residual(), type="ZeroResidual", roles=RESIDUAL)
    written = {name for name, item in norms.items() if item.rule is not None}
    assert written == {f"blocks.{at}.norm2.weight" for at in range(16)}
    assert all(norms[name].value == Constant(0.0) for name in written)
    weights = planned(Residual(), type="ZeroResidual", what="weight", roles=RESIDUAL)
    assert weights["blocks.15.conv2.weight"].value == Constant(0.0)
    assert weights["blocks.15.norm2.weight"].rule is None
    gates = {**RESIDUAL, "gate": "*.gate"}
    for name in ("ReZero", "SkipInit"):
        assert planned(Residual(True), type=name, roles=gates)["blocks.2.gate"].value == Constant(0.0)
        with pytest.raises(errors.RoleError, match="'gate'"):
            planned(Residual(), type=name, roles=RESIDUAL)
    small = planned(Residual(True), type="LayerScale", value=1e-6, roles=gates)
    assert small["blocks.2.gate"].value == Constant(1e-6)


# -- images -------------------------------------------------------------------------------------------


class Vision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 192))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 192))
        self.patch_embed = nn.Conv2d(3, 192, 16, stride=16)
        self.qkv = nn.Linear(192, 3 * 192)
        self.mlp = nn.Sequential(nn.Linear(192, 768), nn.GELU(), nn.Linear(768, 192))
        self.head = nn.Linear(192, 1000)


def test_vision_transformers() -> None:
    timm = planned(Vision(), type="ViTTimm")
    assert timm["qkv.weight"].value == timm["pos_embed"].value == TruncNormal(0.0, 0.02, -2.0, 2.0)
    assert timm["cls_token"].value == Normal(0.0, 1e-6)
    assert timm["patch_embed.weight"].rule is None
    assert "cut nothing" in " ".join(timm.notes)
    jax = planned(Vision(), type="ViTJax", head_bias=-math.log(1000))
    assert jax["head.weight"].value == Constant(0.0)
    assert jax["head.bias"].value == Constant(pytest.approx(-6.907755))
    assert jax["mlp.0.bias"].value == Normal(0.0, 1e-6)
    assert jax["qkv.bias"].value == Constant(0.0)
    assert jax["patch_embed.weight"].value.args["std"] == pytest.approx(
        1 / math.sqrt(768) / 0.87962566103423978
    )
    moco = planned(Vision(), type="ViTMoCo")
    assert moco["qkv.weight"].value == Uniform(-0.125, 0.125)


def test_convolutions_of_images() -> None:
    next_ = nn.ModuleDict({"stage": nn.Conv2d(4, 4, 7, groups=4), "head": nn.Linear(4, 3)})
    next_.gamma = nn.Parameter(torch.ones(4))
    block = nn.ModuleDict({"block": next_})
    plan = planned(block, type="ConvNeXt")
    assert plan["block.stage.weight"].value == TruncNormal(0.0, 0.02, -2.0, 2.0)
    assert plan["block.gamma"].value == Constant(1e-6)
    assert planned(next_, type="ConvNeXt", head_init_scale=0.5)["head.weight"].value.args["std"] == 0.01
    depthwise = nn.Conv2d(8, 8, 3, groups=8)
    plan = planned(nn.ModuleDict({"conv": depthwise, "fc": nn.Linear(8, 16)}), type="EfficientNet")
    assert plan["conv.weight"].value.args["std"] == pytest.approx(0.4714045)
    assert plan["fc.weight"].value == Uniform(-0.25, 0.25)
    gan = planned(nn.Sequential(nn.ConvTranspose2d(3, 4, 4), nn.BatchNorm2d(4)), type="DCGAN")
    assert gan["0.weight"].value == Normal(0.0, 0.02)
    assert gan["1.weight"].value == Normal(1.0, 0.02)
    assert gan["1.bias"].value == Constant(0.0)


class DiTBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x_embedder = nn.Conv2d(4, 32, 2, stride=2)
        self.t_embedder = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 32))
        self.y_embedder = nn.Embedding(10, 32)
        self.mlp = nn.Linear(32, 32)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(32, 96))
        self.final_layer = nn.ModuleDict({"linear": nn.Linear(32, 16)})

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        tokens = self.x_embedder(x).flatten(2).transpose(1, 2)
        given = (self.t_embedder(t) + self.y_embedder(y))[:, None]
        shift, scale, gate = self.adaLN_modulation(given).chunk(3, -1)
        tokens = tokens + gate * self.mlp(tokens * (1 + scale) + shift)
        return self.final_layer["linear"](tokens)


def test_dit_predicts_nothing_at_first() -> None:
    model = DiTBlock()
    initcfg.init_weights(model, dict(type="DiT"), seed=0)
    made = model(torch.randn(2, 4, 8, 8), torch.randn(2, 8), torch.tensor([1, 2]))
    assert made.eq(0).all()
    plan = planned(DiTBlock(), type="DiT")
    assert plan["x_embedder.weight"].value.args["b"] == pytest.approx(math.sqrt(6 / (32 + 16)))
    assert plan["y_embedder.weight"].value == plan["t_embedder.0.weight"].value == Normal(0.0, 0.02)


def test_clip_of_both() -> None:
    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.o = nn.Linear(512, 512), nn.Linear(512, 512)
            self.up, self.down = nn.Linear(512, 2048), nn.Linear(2048, 512)
            self.logit_scale = nn.Parameter(torch.zeros(()))

    roles = dict(attn_q="q.weight", attn_out="o.weight", mlp_in="up.weight", mlp_out="down.weight", layers=12)
    with torch.device("meta"):
        tower = Tower()
    ours = planned(tower, type="CLIP", roles=roles)
    std = {name: ours[f"{name}.weight"].value.args["std"] for name in ("q", "o", "up", "down")}
    expected = dict(q=0.0441942, o=0.0090211, up=0.03125, down=0.0090211)
    assert std == pytest.approx(expected, rel=1e-4)
    assert ours["logit_scale"].value == Constant(pytest.approx(math.log(1 / 0.07)))
    theirs = planned(tower, type="CLIP", of="transformers", roles=roles)
    assert theirs["q.weight"].value.args["std"] == pytest.approx(0.0090211, rel=1e-4)
    assert theirs["o.weight"].value.args["std"] == pytest.approx(0.0441942, rel=1e-4)


# -- states -------------------------------------------------------------------------------------------


def test_recurrent() -> None:
    lstm = nn.LSTM(3, 5, num_layers=2, bidirectional=True)
    initcfg.init_weights(lstm, dict(type="LSTMForget"))
    for end in ("l0", "l1", "l0_reverse", "l1_reverse"):
        total = (getattr(lstm, f"bias_ih_{end}") + getattr(lstm, f"bias_hh_{end}")).view(4, 5)
        assert total[1].eq(1).all()
        assert total[[0, 2, 3]].eq(0).all()
    initcfg.init_weights(lstm, dict(type="Chrono", t_max=50))
    assert lstm.bias_hh_l1.eq(0).all()
    assert (lstm.bias_ih_l1.view(4, 5)[1].exp() <= 49.001).all()
    rnn = planned(nn.RNN(3, 5), type="IRNN")
    assert rnn["weight_hh_l0"].value == Eye(1.0)
    assert rnn["bias_hh_l0"].value == Constant(0.0)


def test_s4d() -> None:
    model = nn.Module()
    model.log_dt, model.A_imag = nn.Parameter(torch.zeros(300)), nn.Parameter(torch.zeros(2, 4))
    model.log_A_real = nn.Parameter(torch.zeros(2, 4))
    initcfg.init_weights(model, dict(type="S4DLin"), seed=0)
    assert torch.allclose(model.log_A_real.exp(), torch.full((2, 4), 0.5))
    assert torch.equal(model.A_imag[1], math.pi * torch.arange(4.0))
    low, high = math.log(1e-3), math.log(0.1)
    assert stats.kstest(model.log_dt.detach(), stats.uniform(low, high - low).cdf).pvalue > 1e-3


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(8, 32, bias=False), nn.Linear(16, 8, bias=False)
        self.conv1d = nn.Conv1d(16, 16, 4, groups=16)
        self.dt_proj = nn.Linear(4, 16)
        self.A_log, self.D = nn.Parameter(torch.zeros(16, 6)), nn.Parameter(torch.zeros(16))


def test_mamba() -> None:
    model = nn.ModuleDict({"layers": nn.ModuleList(Mixer() for _ in range(4)), "words": nn.Embedding(9, 8)})
    roles = dict(residual_out="*.out_proj.weight", blocks="layers")
    plan = initcfg.plan(model, dict(type="Mamba"), roles=roles)
    assert plan["layers.0.dt_proj.weight"].value == Uniform(-0.5, 0.5)
    # Kaiming's with a = √5 is 1 / √fan_in, here of 16; then by √4.
    assert plan["layers.0.out_proj.weight"].value.args["b"] == pytest.approx(0.125)
    assert plan["layers.0.D"].value == Constant(1.0)
    plan.apply(model, seed=0)
    first = model["layers"][0]
    assert first.A_log[:, 3].tolist() == pytest.approx([1.3862944] * 16)
    step = nn.functional.softplus(first.dt_proj.bias)
    assert 0.000999 < step.min() < step.max() < 0.1001


class TimeMix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.att = nn.Module()
        for name in ("receptance", "key", "value", "output"):
            setattr(self.att, name, nn.Linear(64, 64, bias=False))
        self.att.w0 = nn.Parameter(torch.zeros(1, 1, 64))
        self.att.w1, self.att.w2 = nn.Parameter(torch.ones(64, 8)), nn.Parameter(torch.ones(8, 64))


def test_rwkv7() -> None:
    model = nn.ModuleDict({"emb": nn.Embedding(256, 64), "head": nn.Linear(64, 256, bias=False)})
    model["blocks"] = nn.ModuleList(TimeMix() for _ in range(3))
    plan = planned(model, type="RWKV7")
    assert plan["blocks.1.att.receptance.weight"].value == Uniform(-0.0625, 0.0625)
    assert plan["blocks.1.att.key.weight"].value.args["b"] == pytest.approx(0.00625)
    assert plan["blocks.1.att.output.weight"].value == plan["blocks.0.att.w1"].value == Constant(0.0)
    assert plan["blocks.0.att.w2"].value == Orthogonal(0.1)
    assert plan["emb.weight"].value == Uniform(-1e-4, 1e-4)
    assert plan["head.weight"].value == Orthogonal(1.0)
    plan.apply(model, seed=0)
    n = torch.arange(64.0)
    zigzag = (n - 31.5) / 31.5
    for layer, ratio in enumerate((0.0, 0.5, 1.0)):
        decay = -6 + 6 * (n / 63) ** (1 + ratio**0.3) + 0.5 + 2.5 * zigzag * zigzag.abs()
        assert torch.allclose(model["blocks"][layer].att.w0[0, 0], decay, atol=1e-5)


def test_the_vectors_of_rwkv7() -> None:
    size, count, head = 32, 3, 8
    model = nn.ModuleDict({"blocks": nn.ModuleList(TimeMix() for _ in range(count))})
    for block in model["blocks"]:
        block.att, block.ffn = nn.Module(), nn.Module()
        for name in ("w0", "a0", "v0", "k_k", "k_a", *(f"x_{each}" for each in "rwkvag")):
            setattr(block.att, name, nn.Parameter(torch.zeros(1, 1, size)))
        block.att.r_k, block.att.ln_x = nn.Parameter(torch.zeros(4, head)), nn.GroupNorm(4, size)
        block.ffn.x_k = nn.Parameter(torch.zeros(1, 1, size))
    initcfg.plan(model, dict(type="RWKV7", head_size=head)).apply(model, seed=0)
    n = torch.arange(float(size))
    linear, zigzag = n / (size - 1) - 0.5, (n % head - 3.5) / 3.5
    zigzag = zigzag * zigzag.abs()
    for layer, block in enumerate(model["blocks"]):
        left = 1 - layer / count
        expected = {
            "a0": -0.19 + zigzag * 0.3 + linear * 0.4,
            "v0": 0.73 - linear * 0.4,
            "k_k": 0.71 - linear * 0.1,
        }
        expected["k_a"] = torch.full((size,), 1.02)
        for name, power in dict(r=0.2, w=0.9, k=0.7, v=0.7, a=0.9, g=0.2).items():
            expected[f"x_{name}"] = 1 - (n / size) ** (power * left)
        for name, row in expected.items():
            assert torch.allclose(block.att.get_parameter(name)[0, 0], row, atol=1e-6), name
        assert torch.allclose(block.ffn.x_k[0, 0], 1 - (n / size) ** left**4, atol=1e-6)
        assert block.att.r_k.eq(torch.tensor(-0.04)).all()
        assert torch.allclose(block.att.ln_x.weight, torch.full((size,), ((layer + 1) / count) ** 0.7))


@pytest.mark.parametrize("backend", ["vanilla", "cuda", None])
def test_the_scalar_memory_of_xlstm(backend: str | None) -> None:
    heads, channels, count = 2, 6, 3
    model = GPT()
    model.blocks = nn.ModuleList(nn.Module() for _ in range(count))
    for block in model.blocks:
        block.xlstm = nn.Module()
        block.xlstm.slstm_cell = cell = nn.Module()
        cell.config = SimpleNamespace(num_heads=heads, backend=backend)
        shape = (heads, 4, channels) if backend is None else (heads * 4 * channels,)
        cell._bias_ = nn.Parameter(torch.ones(shape))
        cell._recurrent_kernel_ = nn.Parameter(torch.ones(heads, channels, 4, channels))
        for each in "ifzo":
            gate = nn.Module()
            gate.weight = nn.Parameter(torch.ones(heads, channels, channels))
            setattr(block.xlstm, f"{each}gate", gate)
        block.down = nn.Linear(64, 64)
    roles = dict(residual_out="*.down.weight", blocks="blocks", width=64)
    plan = initcfg.plan(model, dict(type="xLSTM"), roles=roles)
    assert plan["blocks.1.xlstm.fgate.weight"].value == Normal(0.0, pytest.approx((2 / 5 / 64) ** 0.5))
    plan.apply(model, seed=0)
    for layer, block in enumerate(model.blocks):
        curve = 5 - 12 * (torch.arange(float(channels)) / (channels - 1)) ** (0.3 + 1.3 * layer / 2)
        theirs = torch.zeros(heads, 4, channels)
        theirs[:, 1] = curve
        stored = theirs.permute(1, 0, 2) if backend == "vanilla" else theirs
        assert torch.allclose(block.xlstm.slstm_cell._bias_.flatten(), stored.flatten(), atol=1e-5)
        assert block.xlstm.slstm_cell._recurrent_kernel_.eq(0).all()


def test_xlstm() -> None:
    model = GPT()
    model.blocks[0].fgate, model.blocks[0].igate = nn.Linear(64, 4), nn.Linear(64, 4)
    initcfg.plan(model, dict(type="xLSTM"), roles=ROLES).apply(model, seed=0)
    assert model.blocks[0].fgate.bias.tolist() == [3.0, 4.0, 5.0, 6.0]
    assert model.blocks[0].fgate.weight.eq(0).all()
    assert initcfg.plan(model, dict(type="xLSTM"), roles=ROLES)["blocks.0.igate.bias"].value == Normal(
        0.0, 0.1
    )


# -- coordinates and parts ----------------------------------------------------------------------------


def test_siren_keeps_the_spread_of_what_sines_get() -> None:
    class Sine(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(30 * x)

    layers = [nn.Linear(2, 256), Sine(), nn.Linear(256, 256), Sine(), nn.Linear(256, 256)]
    model = nn.Sequential(*layers)
    initcfg.init_weights(model, dict(type="SIREN"), seed=0)
    x = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        # The biases, which are torch's, come on top.
        before = 30 * (model(x) - layers[-1].bias)
    assert before.std().item() == pytest.approx(1, rel=0.1)
    plan = planned(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), type="SIREN", first="1.weight")
    assert plan["1.weight"].value == Uniform(-0.015625, 0.015625)
    assert plan["0.weight"].value.args["b"] == pytest.approx(0.0102062, rel=1e-5)
    assert plan["0.bias"].value == Uniform(-0.125, 0.125)
    alone = planned(nn.Linear(64, 3), type="FINER", first_bias_scale=10)
    assert alone["weight"].value == Uniform(-0.015625, 0.015625)
    assert alone["bias"].value == Uniform(-10.0, 10.0)


def test_adapters_add_nothing_at_first() -> None:
    model = nn.ModuleDict({"lora_A": nn.Linear(64, 8, bias=False), "lora_B": nn.Linear(8, 32, bias=False)})
    adapted = nn.ModuleDict({"q": model})
    plan = planned(adapted, type="LoRA")
    assert plan["q.lora_A.weight"].value == Uniform(pytest.approx(-0.125), pytest.approx(0.125))
    assert plan["q.lora_B.weight"].value == Constant(0.0)
    gaussian = planned(adapted, type="LoRA", mode="gaussian")
    assert gaussian["q.lora_A.weight"].value == Normal(0.0, 0.125)
    conv = nn.ModuleDict({"q": nn.ModuleDict({"lora_A": nn.Conv2d(4, 8, 3, bias=False)})})
    assert planned(conv, type="LoRA", mode="gaussian")["q.lora_A.weight"].value == Normal(0.0, 0.125)


def test_ppo() -> None:
    model = nn.ModuleDict(
        {"body": nn.Linear(4, 8), "action_net": nn.Linear(8, 2), "value_net": nn.Linear(8, 1)}
    )
    plan = planned(model, type="PPO")
    assert plan["body.weight"].value == Orthogonal(math.sqrt(2))
    assert plan["action_net.weight"].value == Orthogonal(0.01)
    assert plan["value_net.weight"].value == Orthogonal(1.0)
    plan.apply(model, seed=0)
    body = model["body"].weight.detach()
    assert torch.allclose(body.T @ body, 2 * torch.eye(4), atol=1e-5)


def test_deformable_attention() -> None:
    model = nn.ModuleDict(
        {
            "sampling_offsets": nn.Linear(16, 256),
            "attention_weights": nn.Linear(16, 128),
            "value_proj": nn.Linear(16, 16),
            "output_proj": nn.Linear(16, 16),
        }
    )
    holder = nn.ModuleDict({"attn": model})
    initcfg.init_weights(holder, dict(type="DeformableAttnOffsets"))
    assert model["sampling_offsets"].weight.eq(0).all()
    assert model["attention_weights"].bias.eq(0).all()
    assert model["sampling_offsets"].bias[:4].tolist() == pytest.approx([1, 0, 2, 0])
    bound = planned(holder, type="DeformableAttnOffsets")["attn.value_proj.weight"].value.args["b"]
    assert bound == pytest.approx(math.sqrt(6 / 32))


def test_what_forward_scales() -> None:
    style = planned(nn.Linear(4, 4), type="StyleGAN", lr_mul=0.01)
    assert style["weight"].value == Normal(0.0, 100.0)
    assert any("lr_mul" in note for note in style.notes)
    with pytest.raises(errors.InitcfgError, match="normalize"):
        initcfg.plan(nn.Linear(4, 4), dict(type="E3nn"), strict=True)
