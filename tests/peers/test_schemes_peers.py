"""Schemes beside the libraries that have them: the plan of a scheme, and the trace of their own code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg._stream.writing import fill_stream
from initcfg.values import Formula, PaddingRow, Parts, Value

pytestmark = pytest.mark.peers


def numbers(value: Value, shape: tuple[int, ...]) -> torch.Tensor:
    """What a value gives a tensor of this shape, by one and the same seed."""
    tensor = torch.empty(shape)
    fill_stream(tensor, value, seed=0, name="a")
    return tensor


def alike(ours: Value, theirs: Value, shape: tuple[int, ...]) -> bool:
    """Whether two values are the same, up to the rounding of another order of operations."""
    if isinstance(theirs, PaddingRow):
        return isinstance(ours, PaddingRow) and alike(ours.value, theirs.value, shape)
    if isinstance(ours, Parts) and not isinstance(theirs, Parts) and len(set(ours.values)) == 1:
        # Independent elements, whether of one draw or of several.
        ours = ours.values[0]
    if type(ours) is not type(theirs):
        return _infinite(ours, theirs)
    if isinstance(ours, Formula):
        return torch.allclose(numbers(ours, shape), numbers(theirs, shape), rtol=1e-5, atol=1e-7)
    if isinstance(ours, Parts):
        assert isinstance(theirs, Parts)
        same = (ours.dim, ours.sizes) == (theirs.dim, theirs.sizes)
        return same and all(alike(*each, shape) for each in zip(ours.values, theirs.values, strict=True))
    return all(theirs.args[name] == pytest.approx(item, rel=1e-12, abs=0) for name, item in ours.args.items())


def _infinite(ours: Value, theirs: Value) -> bool:
    """A normal, cut where no draw lies."""
    kinds = {ours.kind: ours, theirs.kind: theirs}
    if set(kinds) != {"Normal", "TruncNormal"}:
        return False
    cut = kinds["TruncNormal"].args
    far = min(-cut["a"], cut["b"]) > 9 * cut["std"]
    return far and kinds["Normal"].args["std"] == pytest.approx(cut["std"], rel=1e-12)


def differing(build: Callable[[], nn.Module], rule: Any, **given: Any) -> dict[str, tuple[str, str]]:
    """What the scheme fills otherwise than the library's own code."""
    theirs = initcfg.trace(build)
    with torch.device("meta"):
        model = build()
    ours = initcfg.plan(model, rule, **given)
    found: dict[str, tuple[str, str]] = {}
    for name, item in theirs.items():
        mine = ours[name]
        # What no rule of the scheme writes stays as its constructor left it, as with the library's own code.
        if mine.rule is not None and not alike(mine.value, item.value, item.shape):
            found[name] = (str(mine.value), str(item.value))
    assert any(item.rule is not None for item in ours.values())
    return found


def of_transformers(name: str, **config: Any) -> Callable[[], nn.Module]:
    transformers = pytest.importorskip("transformers")
    cls = getattr(transformers, name)
    return lambda: cls(cls.config_class(**config))


SMALL = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4)
T5 = dict(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=100)


def test_gpt2() -> None:
    build = of_transformers("GPT2LMHeadModel", n_embd=64, n_layer=3, n_head=4, vocab_size=100)
    assert differing(build, dict(type="GPT2")) == {}


def test_t5() -> None:
    assert differing(of_transformers("T5ForConditionalGeneration", **T5), dict(type="T5")) == {}
    untied = of_transformers("T5ForConditionalGeneration", **T5, tie_word_embeddings=False)
    assert differing(untied, dict(type="T5")) == {}


def test_switch() -> None:
    config = dict(T5, num_experts=2, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1)
    build = of_transformers("SwitchTransformersForConditionalGeneration", **config)
    assert differing(build, dict(type="Switch", of="transformers")) == {}


def clip() -> Callable[[], nn.Module]:
    text = dict(SMALL, vocab_size=100)
    vision = dict(SMALL, image_size=32, patch_size=16)
    return of_transformers("CLIPModel", text_config=text, vision_config=vision, projection_dim=32)


def test_clip_has_its_factor_on_the_wrong_side() -> None:
    rule = dict(type="CLIP", of="transformers", layers=3)
    found = differing(clip(), rule)
    assert {name for name in found if "logit_scale" not in name} == set()
    papers = differing(clip(), dict(rule, of="openai"))
    wrong = {name.rpartition(".layers.")[2].partition(".")[2] for name in papers if ".layers." in name}
    assert wrong == {f"self_attn.{each}_proj.weight" for each in ("q", "k", "v", "out")}


def test_siglip() -> None:
    text = dict(SMALL, vocab_size=100)
    vision = dict(SMALL, image_size=32, patch_size=16)
    build = of_transformers("SiglipModel", text_config=text, vision_config=vision)
    assert differing(build, dict(type="SigLIP", of="transformers")) == {}


def test_mamba() -> None:
    config = dict(hidden_size=32, num_hidden_layers=2, state_size=8, vocab_size=100)
    build = of_transformers("MambaForCausalLM", **config)
    assert differing(build, dict(type="Mamba", of="transformers", std=0.1)) == {}


def test_gemma_and_perceiver() -> None:
    config = dict(SMALL, num_key_value_heads=2, head_dim=16, vocab_size=100)
    assert differing(of_transformers("Gemma2ForCausalLM", **config), dict(type="Gemma")) == {}
    config = dict(num_latents=8, d_latents=32, d_model=16, num_self_attends_per_block=2, vocab_size=100)
    build = of_transformers("PerceiverForMaskedLM", **config, num_self_attention_heads=4)
    assert differing(build, dict(type="Perceiver")) == {}


def test_wav2vec2() -> None:
    config = dict(SMALL, conv_dim=(16, 16), conv_stride=(5, 2), conv_kernel=(10, 3), vocab_size=10)
    build = of_transformers("Wav2Vec2Model", **config, num_conv_pos_embeddings=8)
    found = differing(build, dict(type="Wav2Vec2", exclude="*pos_conv_embed*"))
    assert found == {}


def of_timm(name: str, **given: Any) -> Callable[[], nn.Module]:
    timm = pytest.importorskip("timm")
    return lambda: timm.create_model(name, num_classes=10, **given)


@pytest.mark.parametrize(
    ("build", "rule"),
    [
        (("vit_tiny_patch16_224", {"depth": 2}), dict(type="ViTTimm")),
        (("vit_tiny_patch16_224", {"depth": 2, "weight_init": "jax"}), dict(type="ViTJax")),
        (
            ("vit_tiny_patch16_224", {"depth": 2, "weight_init": "jax_nlhb"}),
            dict(type="ViTJax", head_bias=-math.log(10)),
        ),
        (("vit_tiny_patch16_224", {"depth": 2, "weight_init": "moco"}), dict(type="ViTMoCo")),
        (("mixer_s32_224", {}), dict(type="MLPMixer")),
        (("gmlp_ti16_224", {}), dict(type="gMLP")),
        (("convnext_atto", {}), dict(type="ConvNeXt")),
        (("efficientnet_b0", {}), dict(type="EfficientNet")),
        (("nf_resnet26", {}), dict(type="NFNet")),
        (
            ("resnet26", {}),
            [dict(type="Kaiming", layer="Conv2d", mode="fan_out"), dict(type="ZeroResidual")],
        ),
    ],
    ids=lambda each: str(each.get("type", each)) if isinstance(each, dict) else None,
)
def test_timm(build: tuple[str, dict[str, Any]], rule: Any) -> None:
    assert differing(of_timm(build[0], **build[1]), rule) == {}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_zero_gamma_of_torchvision(name: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    build: Callable[[], nn.Module] = lambda: getattr(torchvision.models, name)(zero_init_residual=True)  # noqa: E731
    rule = [
        dict(type="Kaiming", layer="Conv2d", mode="fan_out"),
        dict(type="Constant", layer="BatchNorm2d", val=1),
        dict(type="ZeroResidual"),
    ]
    assert differing(build, rule) == {}
    with torch.device("meta"):
        plan = initcfg.plan(build(), rule)
    last = "bn2" if name == "resnet18" else "bn3"
    zeros = [key for key, item in plan.items() if key.endswith(f"{last}.weight")]
    assert len(zeros) == (8 if name == "resnet18" else 16)
    assert all(plan[key].value.args == {"val": 0.0} for key in zeros)
