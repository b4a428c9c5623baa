"""Recognition on what libraries build: the scheme that each documents, and none where it documents none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import initcfg

pytestmark = pytest.mark.peers

TINY = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, vocab_size=120)
IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
TOWER = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
T5 = dict(d_model=64, d_ff=128, d_kv=16, num_heads=4, num_layers=2, vocab_size=120)


def hf(name: str, config: str, **given: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers

        return getattr(transformers, name)(getattr(transformers, config)(**given))

    return make


def timm(name: str, **given: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        return timm.create_model(name, **given)

    return make


def torchvision(name: str, **given: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from torchvision import models

        return getattr(models, name)(**given)

    return make


def clip(text: int = 2, images: int = 3) -> nn.Module:
    import transformers

    words = dict(TOWER, vocab_size=120, **IDS, num_hidden_layers=text)
    pictures = dict(TOWER, image_size=32, patch_size=8, num_hidden_layers=images)
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=words, vision_config=pictures))


def siglip() -> nn.Module:
    import transformers

    text, vision = dict(TOWER, vocab_size=120, **IDS), dict(TOWER, image_size=32, patch_size=8)
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))


DOCUMENTED = {
    "gpt2": (hf("GPT2LMHeadModel", "GPT2Config", n_embd=64, n_layer=3, n_head=4, vocab_size=120), "GPT2"),
    "t5": (hf("T5ForConditionalGeneration", "T5Config", **T5), "T5"),
    "clip": (clip, "CLIP(of='transformers'"),
    "siglip": (siglip, "SigLIP(of='transformers')"),
    "gemma2": (
        hf("Gemma2ForCausalLM", "Gemma2Config", **TINY, **IDS, head_dim=16, num_key_value_heads=2),
        "Gemma",
    ),
    "mamba": (
        hf(
            "MambaForCausalLM",
            "MambaConfig",
            hidden_size=32,
            num_hidden_layers=3,
            vocab_size=50,
            state_size=4,
        ),
        "Mamba(of='transformers', std=0.1)",
    ),
    "vit": (timm("vit_tiny_patch16_224", depth=2), "ViTTimm"),
    "vit jax": (timm("vit_tiny_patch16_224", depth=2, weight_init="jax"), "ViTJax"),
    "vit moco": (timm("vit_tiny_patch16_224", depth=2, weight_init="moco"), "ViTMoCo"),
    "beit": (timm("beit_base_patch16_224", depth=3), "DepthScaled"),
    "convnext": (timm("convnext_atto"), "ConvNeXt"),
    "torchvision's convnext": (torchvision("convnext_tiny"), "ConvNeXt"),
    "mixer": (timm("mixer_s32_224"), "MLPMixer"),
    "gmlp": (timm("gmlp_ti16_224"), "gMLP"),
    "resnet": (timm("resnet26"), "ZeroResidual"),
    "torchvision's resnet": (torchvision("resnet18", zero_init_residual=True), "ZeroResidual"),
    "nf_resnet": (timm("nf_resnet26"), "NFNet"),
    "efficientnet": (timm("efficientnet_b0"), "EfficientNet"),
    "deit distilled": (timm("deit_tiny_distilled_patch16_224", depth=2), "ViTTimm"),
    "deit3": (timm("deit3_small_patch16_224", depth=2), "ViTTimm"),
    "mamba2": (
        hf(
            "Mamba2ForCausalLM",
            "Mamba2Config",
            hidden_size=64,
            num_hidden_layers=2,
            vocab_size=120,
            state_size=8,
            num_heads=8,
            head_dim=16,
            n_groups=1,
            chunk_size=8,
        ),
        "Mamba(of='transformers', std=0.1)",
    ),
    "wav2vec2": (
        hf(
            "Wav2Vec2ForPreTraining",
            "Wav2Vec2Config",
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
        ),
        "Wav2Vec2()",
    ),
    "cait": (timm("cait_xxs24_224", depth=2), "LayerScale(value=1e-05)"),
}

OTHERS = {
    "llama": hf("LlamaForCausalLM", "LlamaConfig", **TINY, **IDS),
    "bert": hf("BertForMaskedLM", "BertConfig", **TINY, **IDS),
    "olmo2": hf("Olmo2ForCausalLM", "Olmo2Config", **TINY, **IDS),
    "swin": timm("swin_tiny_patch4_window7_224"),
    "plain resnet": torchvision("resnet18"),
    "densenet": torchvision("densenet121"),
    "vgg": torchvision("vgg11"),
    "mobilenet": torchvision("mobilenet_v3_small"),
}


@pytest.mark.parametrize(("make", "expected"), DOCUMENTED.values(), ids=DOCUMENTED)
def test_what_a_library_documents_is_recognized(make: Callable[[], nn.Module], expected: str) -> None:
    found = initcfg.trace(make).recognize()
    assert found and f"this is {expected}" in str(found[0])


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_what_no_scheme_describes_is_not(make: Callable[[], nn.Module]) -> None:
    assert initcfg.trace(make).recognize() == []
