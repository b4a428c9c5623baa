"""LoRA: an adapter as PEFT saves it, merged into its base on request: W + s · B A."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg.errors import CheckpointError, InitcfgError

AROUND = "base_model.model."
CONFIG = dict(peft_type="LORA", r=2, lora_alpha=6)


def numbers(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Module:
    layers = dict(fc=nn.Linear(4, 3), out=nn.Linear(3, 5), words=nn.Embedding(7, 4), conv=nn.Conv2d(4, 3, 1))
    return nn.ModuleDict(layers)


BASE = {name: numbers(*each.shape, seed=len(name)) for name, each in net().state_dict().items()}
A, B = numbers(2, 4, seed=50), numbers(3, 2, seed=51)


def adapter(folder, tensors=None, *, base=None, **config):
    """A folder as ``save_pretrained`` of PEFT leaves it."""
    folder.mkdir(exist_ok=True)
    found = {"fc.lora_A.weight": A, "fc.lora_B.weight": B} if tensors is None else tensors
    save_file({AROUND + key: each for key, each in found.items()}, folder / "adapter_model.safetensors")
    said = CONFIG | config | ({} if base is None else {"base_model_name_or_path": str(base)})
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return str(folder)


@pytest.fixture
def base(tmp_path):
    (tmp_path / "lora" / "base").mkdir(parents=True)
    torch.save(BASE, tmp_path / "lora" / "base" / "base.pth")
    return str(tmp_path / "lora" / "base" / "base.pth")


def loaded(*rules):
    model = net()
    plan = initcfg.plan(model, list(rules))
    ledger = plan.apply(model, seed=0)
    return model.state_dict(), plan, ledger


def rule(checkpoint, **options):
    return dict(type="Pretrained", checkpoint=checkpoint, **options)


@pytest.mark.parametrize(
    "form", ["named by the adapter", "base=", "the rule before", "the rule before, in code"]
)
def test_merged_into_its_base(tmp_path, base, form):
    folder = adapter(tmp_path / "lora", base=base if form == "named by the adapter" else None)
    rules = [rule(folder, adapt="merge_lora", strict="model")]
    if form == "base=":
        rules = [rule(folder, adapt=dict(type="merge_lora", base=base), strict="all")]
    elif form.startswith("the rule before"):
        rules.insert(0, rule(BASE if form.endswith("code") else base))
    state, plan, ledger = loaded(*rules)
    assert torch.equal(state["fc.weight"], BASE["fc.weight"] + (B @ A) * 3.0)
    assert all(torch.equal(state[key], each) for key, each in BASE.items() if key != "fc.weight")
    assert plan.loads[-1].adapted == (("fc.weight", "LoRA of rank 2 added, times 3"),)
    assert "LoRA of rank 2 added, times 3" in str(plan)
    assert ledger["fc.weight"].loaded.adapted == "LoRA of rank 2 added, times 3"
    again = initcfg.Plan.from_json(plan.to_json())
    assert again.loads == plan.loads
    model = net()
    if form.endswith("code"):
        with pytest.raises(InitcfgError):
            again.apply(model, seed=0)
    else:
        again.apply(model, seed=0)
        assert torch.equal(model.state_dict()["fc.weight"], state["fc.weight"])


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        (dict(use_rslora=True), 6 / 2**0.5),
        (dict(lora_alpha=1), 0.5),
        (dict(r=8, rank_pattern={"fc": 2}), 3.0),
        (dict(alpha_pattern={"^fc$": 10}), 5.0),
        (dict(alpha_pattern={"other.fc": 10, "c": 4}), 3.0),
    ],
)
def test_scales(tmp_path, base, config, scale):
    state, _, _ = loaded(rule(adapter(tmp_path / "lora", base=base, **config), adapt="merge_lora"))
    assert torch.equal(state["fc.weight"], BASE["fc.weight"] + (B @ A) * scale)


def test_other_layers(tmp_path, base):
    """Embeddings, convolutions, and what was trained whole."""
    rows, columns = numbers(2, 7, seed=60), numbers(4, 2, seed=61)
    down, up = numbers(2, 4, 1, 1, seed=62), numbers(3, 2, 1, 1, seed=63)
    head = numbers(5, 3, seed=64)
    tensors = {"words.lora_embedding_A": rows, "words.lora_embedding_B": columns}
    tensors |= {"conv.lora_A.weight": down, "conv.lora_B.weight": up, "out.weight": head}
    state, plan, _ = loaded(rule(adapter(tmp_path / "lora", tensors, base=base), adapt="merge_lora"))
    assert torch.equal(state["words.weight"], BASE["words.weight"] + (columns @ rows).T * 3)
    delta = torch.einsum("or,ri->oi", up[..., 0, 0], down[..., 0, 0])[..., None, None] * 3
    torch.testing.assert_close(state["conv.weight"], BASE["conv.weight"] + delta)
    assert torch.equal(state["out.weight"], head)
    assert dict(plan.loads[0].adapted)["out.weight"] == "taken from the adapter"


def test_weights_on_their_side(tmp_path):
    conv1d = nn.Module()
    conv1d.weight = nn.Parameter(torch.zeros(4, 3))
    model = nn.ModuleDict(dict(fc=conv1d))
    weight = numbers(4, 3, seed=1)
    folder = adapter(tmp_path / "lora", fan_in_fan_out=True)
    initcfg.init_weights(model, [rule({"fc.weight": weight}), rule(folder, adapt="merge_lora")])
    assert torch.equal(model["fc"].weight, weight + (B @ A).T * 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision(tmp_path, dtype):
    """Computed in float32, and rounded to the adapter's type and then to the weight's, as PEFT does."""
    tensors = {"fc.lora_A.weight": A.to(dtype), "fc.lora_B.weight": B.to(dtype)}
    folder = adapter(tmp_path / "lora", tensors)
    half = {key: each.to(dtype) for key, each in BASE.items()}
    model = net().to(dtype)
    initcfg.init_weights(model, [rule(half), rule(folder, adapt="merge_lora")])
    added = ((B.to(dtype).float() @ A.to(dtype).float()) * 3).to(dtype)
    assert torch.equal(model["fc"].weight, half["fc.weight"] + added)


def test_a_whole_model_of_peft(tmp_path):
    """Its base lies in the same file; no config is beside it."""
    state = {f"{AROUND}{key}": each for key, each in BASE.items() if not key.startswith("fc.")}
    state |= {f"{AROUND}fc.base_layer.{role}": BASE[f"fc.{role}"] for role in ("weight", "bias")}
    state |= {f"{AROUND}fc.lora_A.default.weight": A, f"{AROUND}fc.lora_B.default.weight": B}
    torch.save(state, tmp_path / "whole.pth")
    path = str(tmp_path / "whole.pth")
    found, _, _ = loaded(rule(path, adapt=dict(type="merge_lora", alpha=6), strict="all"))
    assert torch.equal(found["fc.weight"], BASE["fc.weight"] + (B @ A) * 3)
    load = initcfg.plan(net(), rule(path, adapt="names")).loads[0]
    assert "adapt='merge_lora' would merge the LoRA of 1 layer" in load.hints
    with pytest.raises(CheckpointError, match="does not say its alpha"):
        initcfg.plan(net(), rule(path, adapt="merge_lora"))


def test_not_asked_for_it_is_an_error_with_the_hint(tmp_path, base):
    with pytest.raises(CheckpointError) as caught:
        initcfg.plan(net(), rule(adapter(tmp_path / "lora", base=base)))
    assert "adapt='merge_lora' would merge the LoRA of 1 layer" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("tensors", "config", "problem"),
    [
        (None, dict(peft_type="IA3"), "of the kind 'IA3'"),
        (None, dict(use_dora=True), "uses use_dora"),
        (None, dict(r=3), "says the rank 3 for 'fc', and its matrices have 2"),
        (None, dict(alpha_pattern={"(f|c)+": 3}), "only names are read as patterns"),
        (None, dict(lora_alpha="6"), "does not say its alpha"),
        ({"fc.lora_A.weight": A}, {}, "no pair of matrices for 'fc'"),
        ({"fc.lora_A.weight": A.T.contiguous(), "fc.lora_B.weight": B}, {}, "has matrices of"),
        (
            {"fc.lora_A.weight": A, "fc.lora_B.weight": B, "fc.lora_magnitude_vector": A.clone()},
            {},
            "magnitude_vector",
        ),
        ({"no.lora_A.weight": A, "no.lora_B.weight": B}, {}, "'no.weight', which its base has not"),
        ({"fc.weight": A}, {}, "holds no LoRA"),
    ],
)
def test_what_cannot_be_merged(tmp_path, base, tensors, config, problem):
    with pytest.raises(CheckpointError, match=problem) as caught:
        initcfg.plan(
            net(), rule(adapter(tmp_path / "lora", tensors, base=base, **config), adapt="merge_lora")
        )
    assert caught.value.fix and str(caught.value.where).startswith("init_cfg (test_lora.py:")


def test_a_base_that_is_not_here(tmp_path):
    """A name in a file causes no download."""
    with pytest.raises(CheckpointError, match="its base 'owner/net' is not on this machine"):
        initcfg.plan(net(), rule(adapter(tmp_path / "lora", base="owner/net"), adapt="merge_lora"))
    with pytest.raises(CheckpointError, match="does not name its base"):
        initcfg.plan(net(), rule(adapter(tmp_path / "lora"), adapt="merge_lora"))


@pytest.mark.parametrize("form", ["absolute", "relative", "a link", "from here"])
def test_a_base_that_lies_elsewhere_is_the_words_of_a_file(tmp_path, monkeypatch, form):
    """It is opened where a person names it, and only there."""
    monkeypatch.chdir(tmp_path)
    torch.save(BASE, tmp_path / "mine.pth")
    named = {"absolute": str(tmp_path / "mine.pth"), "a link": "link.pth", "from here": "mine.pth"}
    folder = adapter(tmp_path / "lora", base=named.get(form, "../mine.pth"))
    (tmp_path / "lora" / "link.pth").symlink_to(tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match="which lies outside of its folder") as caught:
        initcfg.plan(net(), rule(folder, adapt="merge_lora"))
    assert f"base={named.get(form, '../mine.pth')!r}" in str(caught.value.fix)
    mine = str(tmp_path / "mine.pth")
    state, _, _ = loaded(rule(folder, adapt=dict(type="merge_lora", base=mine)))
    assert torch.equal(state["fc.weight"], BASE["fc.weight"] + (B @ A) * 3.0)


@pytest.mark.parametrize("base", ["", "\0", "x" * 300, "x/" * 3000, 5, ["a"], "\ud800", "/dev/zero", ".."])
def test_odd_names_of_a_base(tmp_path, base):
    folder = adapter(tmp_path / "lora")
    said = CONFIG | {"base_model_name_or_path": base}
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match=r"cannot be merged|is damaged|no text"):
        initcfg.plan(net(), rule(folder, adapt="merge_lora"))
