"""Checkpoints of transformers, in the layout that its files have: the numbers that from_pretrained loads."""

from __future__ import annotations

import importlib
from pathlib import Path

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
    max_position_embeddings=64,
)
MODELS = {
    "Mixtral": dict(num_local_experts=4),
    "Qwen2Moe": dict(num_experts=4, moe_intermediate_size=12, shared_expert_intermediate_size=20),
    "Qwen3Moe": dict(num_experts=4, moe_intermediate_size=12, head_dim=4),
    "DeepseekV3": dict(
        n_routed_experts=4,
        moe_intermediate_size=12,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_rope_head_dim=4,
        v_head_dim=4,
        qk_nope_head_dim=4,
        n_shared_experts=1,
        num_experts_per_tok=2,
    ),
    "GptOss": dict(num_local_experts=4, head_dim=4),
    "Olmoe": dict(num_experts=12),
}


def tiny(name: str, seed: int):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = getattr(transformers, f"{name}Config")(**COMMON, **MODELS[name])
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prefix", ["", "whole."])
def test_as_from_pretrained(tmp_path: Path, name: str, prefix: str) -> None:
    tiny(name, 1).save_pretrained(tmp_path)
    wanted = type(tiny(name, 2)).from_pretrained(tmp_path, dtype=torch.float32).state_dict()
    model = tiny(name, 3)
    owner = torch.nn.ModuleDict({"whole": model}) if prefix else model
    rule = dict(type="Pretrained", checkpoint=str(tmp_path), adapt="auto", strict="all")
    if prefix:
        rule["rename"] = {"^": prefix}
    plan = initcfg.plan(owner, rule)
    plan.apply(owner, seed=0)
    found = model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("name", ["Mixtral", "Qwen3Moe", "Olmoe"])
def test_by_names_and_shapes_alone(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own finder, where the installed transformers had no table."""

    def absent(*args: object) -> None:
        raise AttributeError("no such table")

    tiny(name, 1).save_pretrained(tmp_path)
    wanted = type(tiny(name, 2)).from_pretrained(tmp_path, dtype=torch.float32).state_dict()
    table = importlib.import_module("transformers.conversion_mapping")
    monkeypatch.setattr(table, "get_model_conversion_mapping", absent)
    model = tiny(name, 3)
    rule = dict(type="Pretrained", checkpoint=str(tmp_path), adapt="stack_experts")
    plan = initcfg.plan(model, rule)
    plan.apply(model, seed=0)
    found = model.state_dict()
    stacked = [key for key in wanted if ".experts." in key]
    assert stacked
    assert all(torch.equal(found[key], wanted[key]) for key in stacked)


def test_older_names_of_a_library(tmp_path: Path) -> None:
    """A ViT of an earlier transformers: its files' names are in the library's table."""
    transformers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=16)
    torch.manual_seed(1)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    wanted = transformers.ViTModel.from_pretrained(tmp_path).state_dict()
    model = transformers.ViTModel(config)
    rule = dict(type="Pretrained", checkpoint=str(tmp_path), adapt="auto", strict="all")
    plan = initcfg.plan(model, rule)
    plan.apply(model, seed=0)
    assert all(torch.equal(each, wanted[key]) for key, each in model.state_dict().items())
    assert plan.loads[0].renamed
