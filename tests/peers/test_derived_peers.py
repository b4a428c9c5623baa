"""Weights made of another model's, in models of transformers and timm."""

from __future__ import annotations

import pytest
import torch

import initcfg

pytestmark = [pytest.mark.peers, pytest.mark.hf]

COMMON = dict(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    rms_norm_eps=1e-6,
    rope_parameters=dict(rope_type="default", rope_theta=1e4),
)


def test_llama_becomes_a_mixtral_of_the_same_output():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    dense = transformers.LlamaForCausalLM(transformers.LlamaConfig(**COMMON)).eval()
    mixture = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(**COMMON, num_local_experts=4)
    ).eval()
    plan = initcfg.plan(mixture, dict(type="Upcycle", checkpoint=dense.state_dict()), strict=True)
    plan.apply(mixture, seed=0)
    tokens = torch.arange(10)[None]
    assert (mixture(tokens).logits - dense(tokens).logits).abs().max() < 1e-5


def test_llama_grows_as_solar_did():
    transformers = pytest.importorskip("transformers")
    shallow = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**COMMON, "num_hidden_layers": 4}))
    deep = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**COMMON, "num_hidden_layers": 6}))
    initcfg.plan(deep, dict(type="DepthUp", checkpoint=shallow.state_dict()), strict=True).apply(deep)
    for here, there in enumerate([0, 1, 2, 1, 2, 3]):
        for one, other in zip(
            deep.model.layers[here].parameters(), shallow.model.layers[there].parameters(), strict=True
        ):
            assert torch.equal(one, other)


def test_a_tiny_vit_of_a_small_one():
    timm = pytest.importorskip("timm")
    large = timm.create_model("vit_small_patch16_224", depth=4).state_dict()
    model = timm.create_model("vit_tiny_patch16_224", depth=2)
    initcfg.init_weights(model, dict(type="WeightSelection", checkpoint=large))
    assert torch.equal(model.blocks[1].mlp.fc1.weight, large["blocks.1.mlp.fc1.weight"][::2, ::2])
    assert torch.equal(model.pos_embed, large["pos_embed"][..., ::2])
    assert not torch.equal(model.head.weight, large["head.weight"][:, ::2])
