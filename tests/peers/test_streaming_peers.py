"""Folders that initcfg streams, read by transformers."""

from __future__ import annotations

import pytest
import torch

import initcfg

pytestmark = [pytest.mark.peers, pytest.mark.hf]


def config(**more):
    from transformers import LlamaConfig

    shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    return LlamaConfig(vocab_size=128, num_key_value_heads=2, **shape, **more)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("size", ["20kB", "5GB"])
def test_from_pretrained_has_the_same_bits(tmp_path, tied, size):
    from transformers import AutoModelForCausalLM

    made = config(tie_word_embeddings=tied)
    with initcfg.deferred():
        model = AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16)
    plan = initcfg.plan(model)
    plan.save_weights(tmp_path, model, seed=0, shard_size=size)
    made.architectures = ["LlamaForCausalLM"]
    made.save_pretrained(tmp_path)
    plan.apply(model, seed=0)
    loaded, found = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    there = loaded.state_dict()
    assert there.keys() == model.state_dict().keys()
    for key, tensor in model.state_dict().items():
        assert torch.equal(there[key].view(torch.int16), tensor.view(torch.int16)), key


def test_the_command_with_a_builder_and_a_type(tmp_path, monkeypatch):
    from click.testing import CliRunner
    from transformers import AutoModelForCausalLM

    from initcfg._api.command.cli import main

    monkeypatch.chdir(tmp_path)
    made = config()
    made.architectures = ["LlamaForCausalLM"]
    made.save_pretrained(tmp_path / "out")
    words = ["init", "hf:out/config.json", "-o", "out", "--dtype", "bfloat16", "--seed", "1"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.bfloat16)
    with initcfg.deferred():
        model = AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16)
    initcfg.plan(model).apply(model, seed=1)
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key].view(torch.int16), tensor.view(torch.int16)), key
