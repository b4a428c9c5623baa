"""Models of transformers from configs and from checkpoints that lack a part: every weight by a plan."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import initcfg
from initcfg._api.command.cli import main
from initcfg.errors import ArgumentValueError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.hf,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers not installed"),
]
RULES = dict(type="Normal", layer=["Linear", "Conv1D"], std=0.3, bias=0.25)


@pytest.fixture(autouse=True)
def hf(stand_ins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return importlib.import_module("transformers")


def gpt2(hf: Any, **more: Any) -> Any:
    given = {"bos_token_id": 0, "eos_token_id": 0, **more}
    return hf.GPT2Config(
        n_layer=1,
        n_embd=16,
        n_head=2,
        vocab_size=97,
        n_positions=16,
        **{"architectures": ["GPT2LMHeadModel"], **given},
    )


def llama(hf: Any, **more: Any) -> Any:
    return hf.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        vocab_size=50,
        architectures=["LlamaForCausalLM"],
        **more,
    )


def bert(hf: Any, **more: Any) -> Any:
    return hf.BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=97,
        max_position_embeddings=16,
        architectures=["BertModel"],
        **more,
    )


def same(first: Any, second: Any) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


# -- initialize ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [None, RULES])
@pytest.mark.parametrize("make", [gpt2, llama, bert])
def test_a_config_becomes_the_model_of_the_command(hf: Any, make: Any, rules: Any) -> None:
    from initcfg.integrations.transformers import initialize

    config = make(hf)
    model, ledger = initialize(config, rules, seed=4, output_ledger=True)
    config.save_pretrained("folder")
    # The same numbers as those of initcfg build and init.
    cfg = dict(type="hf:folder") if rules is None else dict(type="hf:folder", init_cfg=rules)
    assert same(model, initcfg.build(cfg, seed=4))
    assert type(model).__name__ == config.architectures[0]
    assert ledger.seed == 4 and not [name for name in ledger if ledger[name].by == "nobody"]
    model.eval()(torch.zeros(1, 4, dtype=torch.long))


def test_ties_buffers_and_types(hf: Any) -> None:
    from initcfg.integrations.transformers import initialize

    model = initialize(llama(hf, tie_word_embeddings=True, dtype="bfloat16"), seed=0)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}
    plain = hf.LlamaForCausalLM._from_config(llama(hf, dtype="bfloat16"))
    ours, theirs = model.model.rotary_emb.inv_freq, plain.model.rotary_emb.inv_freq
    assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    assert model.model.rotary_emb.original_inv_freq.device.type == "cpu"


def test_a_model_on_the_meta_device(hf: Any) -> None:
    from initcfg.integrations.transformers import initialize

    with torch.device("meta"):
        model = hf.AutoModelForCausalLM.from_config(gpt2(hf))
    assert initialize(model, RULES, seed=4) is model
    assert same(model, initialize(gpt2(hf), RULES, seed=4))
    # What no rule reaches is what transformers' own code means; a tied tensor is reached by either name.
    assert model.transformer.wte.weight.std().item() == pytest.approx(0.3, rel=0.1)
    assert model.transformer.wpe.weight.std().item() == pytest.approx(0.02, rel=0.1)
    other = initialize(gpt2(hf, architectures=None), seed=0)
    assert type(other).__name__ == "GPT2Model"
    headed = initialize(bert(hf), seed=0, model_class=hf.AutoModelForSequenceClassification)
    assert type(headed).__name__ == "BertForSequenceClassification"


def test_a_model_with_weights_keeps_what_no_rule_reaches(hf: Any) -> None:
    from initcfg.integrations.transformers import initialize

    model = hf.GPT2LMHeadModel(gpt2(hf))
    before = model.transformer.wpe.weight.clone()
    _, ledger = initialize(model, RULES, seed=0, output_ledger=True)
    assert torch.equal(model.transformer.wpe.weight, before)
    assert ledger["transformer.h.0.mlp.c_fc.weight"].by == "rule"
    assert model.transformer.h[0].mlp.c_fc.bias.eq(0.25).all()


def test_what_cannot_be_built(hf: Any) -> None:
    from initcfg.integrations.transformers import initialize

    with pytest.raises(ArgumentValueError, match="a model of transformers or its config, not 'gpt2'"):
        initialize("gpt2")
    with pytest.raises(ArgumentValueError, match="has no config"):
        initialize(nn.Linear(2, 2, device="meta"))
    with pytest.raises(ArgumentValueError, match="has weights already"):
        initialize(hf.GPT2LMHeadModel(gpt2(hf)), device="cpu")


# -- from_pretrained -----------------------------------------------------------------------------


def test_a_new_head_is_the_plans(hf: Any, tmp_path: Path) -> None:
    from initcfg.integrations.transformers import from_pretrained

    hf.BertModel(bert(hf)).save_pretrained("base")
    given: dict[str, Any] = dict(num_labels=3, init_cfg=RULES, output_loading_info=True)
    auto = hf.AutoModelForSequenceClassification
    model, info = from_pretrained(auto, "base", seed=6, folder="kept", **given)
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"} == set(info["ledger"])
    assert info["ledger"]["classifier.weight"].by == "rule" and info["kept"] == []
    # The numbers are those of the whole model's plan.
    whole = hf.BertForSequenceClassification(bert(hf, num_labels=3))
    initcfg.plan(whole, RULES).apply(whole, seed=6)
    assert torch.equal(model.classifier.weight, whole.classifier.weight)
    assert model.classifier.bias.eq(0.25).all()
    # What the checkpoint has is its own.
    base = hf.BertModel.from_pretrained("base").state_dict()
    assert all(torch.equal(model.bert.state_dict()[name], each) for name, each in base.items())
    assert initcfg.Ledger.load(tmp_path / "kept" / "init_ledger.json").seed == 6
    # Whatever torch's generator holds.
    torch.manual_seed(1)
    again = from_pretrained(auto, "base", num_labels=3, init_cfg=RULES, seed=6)
    assert same(model, again)


def test_without_a_rule_a_new_head_is_what_its_code_means(hf: Any) -> None:
    from initcfg.integrations.transformers import from_pretrained

    hf.BertModel(bert(hf)).save_pretrained("base")
    heads = []
    for seed in (6, 6, 7):
        model, info = from_pretrained(
            hf.BertForSequenceClassification, "base", num_labels=400, seed=seed, output_loading_info=True
        )
        heads.append(model.classifier.weight)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert heads[0].std().item() == pytest.approx(0.02, rel=0.05)
    assert str(info["plan"]["classifier.bias"].value) == "Constant(0)"
    assert info["ledger"]["classifier.weight"].by == "default"


def test_another_shape_and_a_whole_checkpoint(hf: Any) -> None:
    from initcfg.integrations.transformers import from_pretrained

    hf.BertForSequenceClassification(bert(hf, num_labels=2)).save_pretrained("two")
    model, info = from_pretrained(
        hf.BertForSequenceClassification,
        "two",
        num_labels=5,
        ignore_mismatched_sizes=True,
        init_cfg=RULES,
        seed=1,
        output_loading_info=True,
    )
    assert set(info["ledger"]) == {"classifier.weight", "classifier.bias"}
    assert model.classifier.bias.eq(0.25).all() and model.classifier.weight.shape == (5, 16)
    hf.GPT2LMHeadModel(gpt2(hf)).save_pretrained("whole")
    # A tied head is no missing one.
    tied, info = from_pretrained(
        hf.AutoModelForCausalLM, "whole", init_cfg=RULES, seed=1, output_loading_info=True
    )
    assert not info["ledger"] and tied.lm_head.weight is tied.transformer.wte.weight
    assert same(tied, hf.AutoModelForCausalLM.from_pretrained("whole"))


# -- initcfg init hf:FOLDER -o OUT ---------------------------------------------------------------


def ran(*words: str) -> str:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def tokenizer(hf: Any, folder: str) -> None:
    tokenizers = importlib.import_module("tokenizers")
    words = tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(words)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", chat_template="{{ 1 }}")
    fast.save_pretrained(folder)


@pytest.mark.parametrize("size", ["10kB", "5GB"])
def test_the_folder_of_the_command_opens(hf: Any, tmp_path: Path, size: str) -> None:
    gpt2(hf).save_pretrained("model")
    hf.GenerationConfig(max_new_tokens=7, bos_token_id=0).save_pretrained("model")
    tokenizer(hf, "model")
    Path("model/pytorch_model.bin").write_bytes(b"old weights")
    ran("init", "hf:model", "-o", "out", "--seed", "2", "--shard-size", size)
    model, info = hf.AutoModelForCausalLM.from_pretrained("out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert same(model, initcfg.build("hf:model", seed=2))
    assert len(list(Path("out").glob("*.safetensors"))) == (1 if size == "5GB" else 3)
    assert model.generation_config.max_new_tokens == 7
    opened = hf.AutoTokenizer.from_pretrained("out")
    assert opened("a b").input_ids == [1, 2] and opened.chat_template == "{{ 1 }}"
    # Weights of old do not come along.
    assert not Path("out/pytorch_model.bin").exists()
    assert "as initialized" in ran("verify", "out")


def test_what_was_changed_stands_in_the_config(hf: Any) -> None:
    gpt2(hf).save_pretrained("model")
    ran(
        *("init", "hf:model", "-o", "out", "--seed", "2", "--dtype", "bfloat16"),
        *("--set", "n_layer=2"),
    )
    said = json.loads(Path("out/config.json").read_text())
    assert (said["n_layer"], said["dtype"], said["architectures"]) == (2, "bfloat16", ["GPT2LMHeadModel"])
    model = hf.AutoModelForCausalLM.from_pretrained("out")
    assert model.dtype == torch.bfloat16 and len(model.transformer.h) == 2
    # A class by its name alone has a config, too.
    ran("init", "hf:BertForMaskedLM", "-o", "named", "--seed", "0", "--set", "num_hidden_layers=1")
    named, info = hf.AutoModelForMaskedLM.from_pretrained("named", output_loading_info=True)
    assert not info["missing_keys"] and len(named.bert.encoder.layer) == 1


def test_files_that_are_there_stay(hf: Any, caplog: Any) -> None:
    gpt2(hf).save_pretrained("model")
    gpt2(hf, layer_norm_epsilon=0.5).save_pretrained("out")
    before = Path("out/config.json").read_bytes()
    ran("init", "hf:model", "-o", "out", "--seed", "2")
    assert Path("out/config.json").read_bytes() == before
    assert "out/config.json was there, and stays as it is" in caplog.text
    ran("init", "hf:model", "-o", "out", "--seed", "2", "--overwrite")
    assert json.loads(Path("out/config.json").read_text())["layer_norm_epsilon"] == 1e-5
