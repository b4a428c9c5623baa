"""Adaptation beside the functions of timm, torchvision, transformers and MMSegmentation: the same bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import initcfg

pytestmark = [pytest.mark.peers, pytest.mark.hf, pytest.mark.filterwarnings("ignore")]


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def random_state(model: nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        name: torch.randn(item.shape, generator=generator) if item.is_floating_point() else item.clone()
        for name, item in model.state_dict().items()
    }


def load(model: nn.Module, state: dict[str, torch.Tensor], adapt: Any, **arguments: Any) -> initcfg.Plan:
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=state, adapt=adapt, **arguments))
    plan.apply(model)
    return plan


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("old", "new", "prefix"), [(14, 24, 1), (14, 7, 1), (7, 12, 0), (14, 16, 2)])
def test_positions_as_timm(dtype, old, new, prefix):
    from timm.layers import resample_abs_pos_embed

    there = numbers(1, old * old + prefix, 12, dtype=dtype)
    model = nn.Module()
    model.pos_embed = nn.Parameter(torch.zeros(1, new * new + prefix, 12, dtype=dtype))
    load(model, {"pos_embed": there}, "auto")
    expected = resample_abs_pos_embed(there, [new, new], num_prefix_tokens=prefix)
    assert torch.equal(model.pos_embed, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_input_channels_as_timm(dtype, channels):
    from timm.models._manipulate import adapt_input_conv

    there = numbers(8, 3, 7, 7, dtype=dtype)
    model = nn.Sequential(nn.Conv2d(channels, 8, 7, bias=False)).to(dtype)
    load(model, {"0.weight": there}, "auto")
    assert torch.equal(model[0].weight, adapt_input_conv(channels, there.clone()))


@pytest.mark.parametrize(("old", "new"), [(16, 32), (16, 14), (8, 16), (32, 16)])
def test_patches_as_timm(old, new):
    from timm.layers import resample_patch_embed

    there = numbers(6, 3, old, old)
    model = nn.Sequential(nn.Conv2d(3, 6, new, new, bias=False))
    load(model, {"0.weight": there}, "auto")
    assert torch.equal(model[0].weight, resample_patch_embed(there, [new, new]))


@pytest.mark.parametrize("extra", [0, 3])
def test_relative_positions_as_timm_and_mmseg(extra):
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple

    there = numbers(13 * 13 + extra, 4)
    model = nn.Module()
    model.window_size = (12, 12)  # type: ignore[assignment]
    model.relative_position_bias_table = nn.Parameter(torch.zeros(23 * 23 + extra, 4))
    load(model, {"relative_position_bias_table": there}, "auto")
    expected = resize_rel_pos_bias_table_simple(there, (12, 12), (23 * 23 + extra, 4))
    assert torch.equal(model.relative_position_bias_table, expected)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("vit_tiny_patch16_224", dict(), dict(img_size=384, in_chans=1)),
        ("deit_tiny_distilled_patch16_224", dict(), dict(img_size=320)),
        ("vit_tiny_patch16_224", dict(patch_size=16), dict(patch_size=32, img_size=448)),
    ],
)
def test_whole_models_of_timm(name, old, new):
    import timm
    from timm.models._manipulate import adapt_input_conv
    from timm.models.vision_transformer import checkpoint_filter_fn

    state = random_state(timm.create_model(name, **old))
    ours, theirs = timm.create_model(name, **new), timm.create_model(name, **new)
    plan = load(ours, state, "auto", strict="all")
    assert plan.loads[0].adapted
    changed = dict(state)
    if "in_chans" in new:
        changed["patch_embed.proj.weight"] = adapt_input_conv(
            new["in_chans"], changed["patch_embed.proj.weight"]
        )
    theirs.load_state_dict(checkpoint_filter_fn(changed, theirs, interpolation="bicubic", antialias=True))
    found = ours.state_dict()
    assert all(torch.equal(found[key], item) for key, item in theirs.state_dict().items())


def test_swin_of_torchvision_keeps_the_indices_that_it_computes():
    from torchvision.models.swin_transformer import SwinTransformer

    def model(window: int) -> nn.Module:
        return SwinTransformer([4, 4], 8, [1, 1], [1, 2], [window, window], num_classes=3)

    state = random_state(model(7))
    ours, theirs = model(8), model(8)
    plan = load(ours, state, "auto")
    excluded = [name for name in state if name.endswith("relative_position_index")]
    assert plan.loads[0].excluded == tuple(excluded)
    tables = [name for name in state if name.endswith("bias_table")]
    assert [name for name, _ in plan.loads[0].adapted] == tables
    for name in excluded:
        assert torch.equal(ours.state_dict()[name], theirs.state_dict()[name])


def test_swin_v2_of_torchvision():
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

    def model(window: int) -> nn.Module:
        return SwinTransformer(
            [4, 4],
            8,
            [1, 1],
            [1, 2],
            [window, window],
            num_classes=3,
            block=SwinTransformerBlockV2,
            downsample_layer=PatchMergingV2,
        )

    state = random_state(model(7))
    ours, theirs = model(8), model(8)
    plan = load(ours, state, "auto")
    # What is learnt does not know the window; what is computed from it is left as it is here.
    assert not plan.loads[0].adapted and not plan.loads[0].mismatched
    computed = ("relative_position_index", "relative_coords_table")
    assert {name.rpartition(".")[2] for name in plan.loads[0].excluded} == set(computed)
    for name, item in ours.state_dict().items():
        expected = theirs.state_dict()[name] if name.endswith(computed) else state[name]
        assert torch.equal(item, expected)


def test_positions_of_torchvision_differ_in_their_corners_alone():
    """torchvision aligns corners and does not smooth: it is another resizing, near ours where it enlarges."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    grid = torch.linspace(0, 1, 7)[:, None] + torch.linspace(0, 2, 7)
    there = torch.cat([torch.zeros(1, 1, 2), torch.stack([grid, -grid], dim=-1).reshape(1, 49, 2)], dim=1)
    state = {"encoder.pos_embedding": there}
    model = nn.Module()
    model.encoder = nn.Module()
    model.encoder.pos_embedding = nn.Parameter(torch.zeros(1, 14 * 14 + 1, 2))  # type: ignore[union-attr]
    load(model, state, "auto")
    theirs = interpolate_embeddings(14 * 16, 16, dict(state))["encoder.pos_embedding"]  # type: ignore[arg-type]
    ours = model.encoder.pos_embedding.detach()  # type: ignore[union-attr,operator]
    assert torch.equal(ours[:, :1], theirs[:, :1])
    assert not torch.equal(ours, theirs)
    assert (ours - theirs).abs().max() < 0.2


@pytest.mark.parametrize("by", ["mean", "covariance"])
def test_vocabularies_as_transformers(by):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=64, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    old = GPT2LMHeadModel(config)
    state = {"weight": (old.transformer.wte.weight.detach() * 100).clone()}
    old.transformer.wte.weight.data.copy_(state["weight"])
    theirs = old.resize_token_embeddings(80, mean_resizing=True).weight.detach()
    ours = nn.Embedding(80, 8)
    load(ours, state, dict(type="grow", by=by))
    assert torch.equal(ours.weight[:64], theirs[:64])
    # Theirs are drawn from torch's generator; ours from the stream, or all the mean.
    spread = (state["weight"].std() * 1e-9**0.5 * 8).item()
    assert torch.allclose(ours.weight[64:], theirs[64:], atol=spread)
    assert (ours.weight[64:].std(dim=0).max() > 0) == (by == "covariance")


def test_conv1d_of_transformers():
    from transformers import GPT2Config, GPT2Model

    model = GPT2Model(GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2))
    state = random_state(model)
    block = model.h[0]
    linear = nn.ModuleDict(
        dict(c_attn=nn.Linear(8, 24), c_proj=nn.Linear(8, 8), c_fc=nn.Linear(8, 32), c_out=nn.Linear(32, 8))
    )
    renames = {r"^h\.0\.attn\.": "", r"^h\.0\.mlp\.c_proj": "c_out", r"^h\.0\.mlp\.": ""}
    load(linear, state, {"*": "transpose"}, rename=renames, strict="model")
    model.load_state_dict(state)
    x = numbers(2, 8)
    for ours, theirs in (
        ("c_attn", block.attn.c_attn),
        ("c_proj", block.attn.c_proj),
        ("c_fc", block.mlp.c_fc),
    ):
        assert torch.allclose(linear[ours](x), theirs(x), atol=1e-5)


def test_a_prefix_as_mmengines_load_checkpoint(tmp_path):
    from mmengine.runner.checkpoint import _load_checkpoint_with_prefix

    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = random_state(inner)
    saved = {"state_dict": {f"backbone.{key}": item for key, item in state.items()} | {"x": torch.ones(1)}}
    torch.save(saved, tmp_path / "a.pth")
    theirs = _load_checkpoint_with_prefix("backbone", str(tmp_path / "a.pth"))
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth"), prefix="backbone")
    initcfg.init_weights(inner, rule)
    assert list(theirs) == list(state)
    assert all(torch.equal(inner.state_dict()[key], item) for key, item in theirs.items())
