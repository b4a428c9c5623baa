"""Tensors under other names, fused or apart, stacked or one by one: the right numbers, if asked for."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import CheckpointError

E, H, N = 3, 4, 6


class Experts(nn.Module):
    """As transformers 5 builds them; transposed and in turn, as GPT-OSS."""

    def __init__(self, transposed=None, concatenated=True):
        super().__init__()
        up, down = ((H, 2 * N), (N, H)) if transposed else ((2 * N, H), (H, N))
        self.gate_up_proj = nn.Parameter(torch.zeros(E, *up))
        self.down_proj = nn.Parameter(torch.zeros(E, *down))
        if transposed is not None:
            self.is_transposed, self.is_concatenated = transposed, concatenated


def moe(experts):
    model = nn.Module()
    model.mlp = nn.Module()
    model.mlp.experts = experts
    model.mlp.gate = nn.Linear(H, E, bias=False)
    return model


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def one_by_one(base, gate="gate_proj", up="up_proj", down="down_proj", ending=".weight"):
    state = {"mlp.gate.weight": numbers(E, H)}
    for e in range(E):
        state |= {
            f"{base}.{e}.{gate}{ending}": numbers(N, H, seed=10 + e),
            f"{base}.{e}.{up}{ending}": numbers(N, H, seed=20 + e),
            f"{base}.{e}.{down}{ending}": numbers(H, N, seed=30 + e),
        }
    return state


FUSED = torch.stack([torch.cat([numbers(N, H, seed=10 + e), numbers(N, H, seed=20 + e)]) for e in range(E)])
DOWN = torch.stack([numbers(H, N, seed=30 + e) for e in range(E)])


def loaded(model, state, **options):
    plan, again = (
        initcfg.plan(model, dict(type="Pretrained", checkpoint=state, **options)) for _ in range(2)
    )
    assert json.dumps(plan.to_json()) == json.dumps(again.to_json())
    plan.apply(model, seed=0)
    return plan


@pytest.mark.parametrize("adapt", ["auto", "stack_experts", {"mlp.experts": "stack_experts"}])
@pytest.mark.parametrize(
    "state",
    [
        one_by_one("mlp.experts"),
        one_by_one("mlp.experts", "w1", "w3", "w2"),
        one_by_one("block_sparse_moe.experts", "w1", "w3", "w2"),
        one_by_one("mlp", "w1", "w3", "w2", ending=""),
    ],
)
def test_experts_one_by_one_are_stacked(state, adapt):
    model = moe(Experts())
    plan = loaded(model, state, adapt=adapt, strict="all")
    assert torch.equal(model.mlp.experts.gate_up_proj, FUSED)
    assert torch.equal(model.mlp.experts.down_proj, DOWN)
    assert dict(plan.loads[0].adapted) == {
        "mlp.experts.gate_up_proj": "stacked by 3, joined along axis 1",
        "mlp.experts.down_proj": "stacked by 3",
    }
    assert plan["mlp.experts.down_proj"].value.steps == (("stack", 3),)
    assert "stacked by 3" in str(plan) and "stacked by 3" in str(plan.explain("mlp.experts.down_proj"))


def test_without_leave_it_is_a_hint():
    load = initcfg.plan(moe(Experts()), dict(type="Pretrained", checkpoint=one_by_one("mlp.experts"))).loads[
        0
    ]
    assert load.missing == ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
    assert "adapt='stack_experts' would fit 2 tensors" in load.hints


def test_in_layers_that_are_numbered_too():
    model = nn.Module()
    model.layers = nn.ModuleList([moe(Experts()), moe(Experts())])
    state = {
        f"layers.{layer}.{key}": each for layer in (0, 1) for key, each in one_by_one("mlp.experts").items()
    }
    loaded(model, state, adapt="auto", strict="all")
    assert torch.equal(model.layers[1].mlp.experts.gate_up_proj, FUSED)
    assert torch.equal(model.layers[0].mlp.experts.down_proj, DOWN)


def test_more_than_ten_are_in_their_order():
    module = nn.ParameterDict({"down_proj": torch.zeros(12, 1, 2)})
    state = {
        f"experts.{e}.down_proj.weight": torch.full((1, 2), float(e)) for e in sorted(range(12), key=str)
    }
    for options in (dict(), dict(rename={r"experts\.\d+\.down_proj\.weight": "down_proj"})):
        loaded(module, state, adapt="auto", **options)
        assert module["down_proj"][:, 0, 0].tolist() == [float(e) for e in range(12)]


@pytest.mark.parametrize("change", ["one is missing", "one is more", "another shape"])
def test_what_is_not_all_of_them_is_no_stack(change):
    state = one_by_one("mlp.experts")
    if change == "one is missing":
        del state["mlp.experts.1.down_proj.weight"]
    elif change == "one is more":
        state["mlp.experts.3.down_proj.weight"] = numbers(H, N)
    else:
        state["mlp.experts.1.down_proj.weight"] = numbers(H, N + 1)
    load = initcfg.plan(moe(Experts()), dict(type="Pretrained", checkpoint=state, adapt="auto")).loads[0]
    assert load.missing == ("mlp.experts.down_proj",)


@pytest.mark.parametrize(
    ("gone", "lacks"),
    [
        ("mlp.experts.1.down_proj.weight", "mlp.experts.down_proj"),
        ("mlp.experts.2.gate_proj.weight", "mlp.experts.gate_up_proj"),
        ("mlp.experts.0.up_proj.weight", "mlp.experts.gate_up_proj"),
    ],
)
def test_the_expert_that_is_missing_is_named(gone, lacks):
    state = one_by_one("mlp.experts")
    del state[gone]
    told = f"the checkpoint has no {gone!r}: 2 of 3 are there"
    rule = dict(type="Pretrained", checkpoint=state)
    for adapt in ("stack_experts", {"mlp.experts": "stack_experts"}):
        with pytest.raises(CheckpointError) as caught:
            initcfg.plan(moe(Experts()), rule | dict(adapt=adapt))
        assert f"cannot make {lacks!r}: {told}" in caught.value.problem
        assert caught.value.parameter == lacks
    (load,) = initcfg.plan(moe(Experts()), rule | dict(adapt="auto")).loads
    assert load.missing == (lacks,)
    assert load.warning is not None and told in load.warning
    # Who says that it may be missing gets the rest.
    (load,) = initcfg.plan(moe(Experts()), rule | dict(adapt="stack_experts", ignore=lacks)).loads
    assert load.loaded == 2


def test_more_experts_than_here_are_said():
    state = one_by_one("mlp.experts") | {"mlp.experts.3.down_proj.weight": numbers(H, N)}
    with pytest.raises(CheckpointError, match="the checkpoint has 4 experts, and it is of 3 here"):
        initcfg.plan(moe(Experts()), dict(type="Pretrained", checkpoint=state, adapt="stack_experts"))


def test_the_projection_that_is_missing_is_named():
    model = nn.ModuleDict(dict(attn=nn.ModuleDict(dict(qkv=nn.Linear(2, 6, bias=False)))))
    state = {f"attn.{each}_proj.weight": numbers(2, 2) for each in "qv"}
    for more, text in ((dict(), "fix"), (dict(head=nn.Linear(2, 2)), "problem")):
        whole = nn.ModuleDict({**model, **more})
        found = state | ({"head.weight": numbers(2, 2), "head.bias": numbers(2)} if more else {})
        with pytest.raises(CheckpointError) as caught:
            initcfg.plan(whole, dict(type="Pretrained", checkpoint=found, adapt="qkv"))
        assert "and no 'attn.k_proj.weight'" in str(getattr(caught.value, text))
    state["attn.k_proj.weight"] = numbers(2, 2)
    assert initcfg.plan(model, dict(type="Pretrained", checkpoint=state, adapt="qkv")).loads[0].loaded == 1


def test_experts_that_lie_on_their_side():
    model = moe(Experts(transposed=True))
    loaded(model, one_by_one("mlp.experts"), adapt="auto", strict="all")
    assert torch.equal(model.mlp.experts.gate_up_proj, FUSED.transpose(1, 2))
    assert torch.equal(model.mlp.experts.down_proj, DOWN.transpose(1, 2))


def test_rows_in_turn_are_not_guessed():
    model = moe(Experts(transposed=True, concatenated=False))
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=one_by_one("mlp.experts"), adapt="auto"))
    assert plan.loads[0].missing == ("mlp.experts.gate_up_proj",)


@pytest.mark.parametrize("names", [("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2")])
def test_stacked_experts_one_by_one(names):
    layers = [dict(zip(names, ((H, N), (H, N), (N, H)), strict=True)) for _ in range(E)]
    model = nn.Module()
    model.experts = nn.ModuleList(
        nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in each.items()}) for each in layers
    )
    state = {"experts.gate_up_proj": FUSED, "experts.down_proj": DOWN}
    plan = loaded(model, state, adapt="auto", strict="all")
    for e, expert in enumerate(model.experts):
        assert torch.equal(torch.cat([expert[names[0]].weight, expert[names[1]].weight]), FUSED[e])
        assert torch.equal(expert[names[2]].weight, DOWN[e])
    told = dict(plan.loads[0].adapted)
    assert told[f"experts.1.{names[1]}.weight"] == "number 1 of the stack, rows 6 to 12"


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(H, 2)


def vit():
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Module()])
    model.layers[0].attn = Attention()
    return model


QKV = {
    "qkv.weight": numbers(3 * H, H),
    "qkv.bias": numbers(3 * H),
    "proj.weight": numbers(H, H),
    "proj.bias": numbers(H),
}


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("start", ["layers.0.attn.", "layers.0.attn.attn.", "layers.0.self_attn."])
def test_attention_of_another_library(start, apart):
    """timm's and mmpretrain's names to mmsegmentation's: a module more around, and the output renamed."""
    state = {start + key: each for key, each in QKV.items()}
    if apart:
        for role in ("weight", "bias"):
            for name, part in zip("qkv", state.pop(f"{start}qkv.{role}").chunk(3), strict=True):
                state[f"{start}{name}_proj.{role}"] = part
            state[f"{start}out_proj.{role}"] = state.pop(f"{start}proj.{role}")
    model = vit()
    found = initcfg.plan(model, dict(type="Pretrained", checkpoint=state, adapt="qkv", strict="all"))
    found.apply(model, seed=0)
    attention = model.layers[0].attn.attn
    assert torch.equal(attention.in_proj_weight, QKV["qkv.weight"])
    assert torch.equal(attention.in_proj_bias, QKV["qkv.bias"])
    assert torch.equal(attention.out_proj.weight, QKV["proj.weight"])
    assert torch.equal(attention.out_proj.bias, QKV["proj.bias"])


def test_attention_back_to_qkv():
    theirs = vit()
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Module()])
    model.layers[0].attn = nn.ModuleDict(dict(qkv=nn.Linear(H, 3 * H), proj=nn.Linear(H, H)))
    plan = loaded(model, theirs.state_dict(), adapt="auto", strict="all")
    assert torch.equal(model.layers[0].attn["qkv"].weight, theirs.layers[0].attn.attn.in_proj_weight)
    assert torch.equal(model.layers[0].attn["proj"].bias, theirs.layers[0].attn.attn.out_proj.bias)
    assert ("layers.0.attn.attn.out_proj.weight", "layers.0.attn.proj.weight") in plan.loads[0].renamed


def test_attention_without_leave_is_an_error_with_the_hint():
    with pytest.raises(CheckpointError) as caught:
        initcfg.plan(
            vit(), dict(type="Pretrained", checkpoint={f"layers.0.attn.{k}": v for k, v in QKV.items()})
        )
    assert "adapt='qkv' would fit 4 tensors" in str(caught.value.fix)


def test_norms_of_the_first_berts():
    model = nn.ModuleDict(
        dict(LayerNorm=nn.LayerNorm(2), scale=nn.ParameterDict(dict(weight=torch.zeros(2))))
    )
    state = {
        "LayerNorm.gamma": torch.tensor([2.0, 3]),
        "LayerNorm.beta": torch.ones(2),
        "scale.gamma": torch.ones(2),
    }
    load = initcfg.plan(
        nn.ModuleDict(dict(LayerNorm=nn.LayerNorm(2), a=nn.Linear(1, 1))),
        dict(type="Pretrained", checkpoint={**state, "a.bias": torch.ones(1)}),
    ).loads[0]
    assert "adapt='names' would fit 2 tensors" in load.hints
    plan = loaded(model, state, adapt="names")
    assert model["LayerNorm"].weight.tolist() == [2.0, 3.0] and model["LayerNorm"].bias.tolist() == [1.0, 1.0]
    assert plan.loads[0].missing == ("scale.weight",)
    assert plan.loads[0].renamed == (
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("LayerNorm.beta", "LayerNorm.bias"),
    )


def test_layers_that_peft_has_put_into_others():
    plain = {
        "fc.weight": numbers(2, 2),
        "fc.bias": numbers(2),
        "norm.weight": numbers(2),
        "norm.bias": numbers(2),
    }
    of_peft = {
        "base_model.model." + key.replace("fc.", "fc.base_layer."): each for key, each in plain.items()
    }
    model = nn.ModuleDict(dict(fc=nn.Linear(2, 2), norm=nn.LayerNorm(2)))
    loaded(model, of_peft, adapt="auto", strict="all")
    assert all(torch.equal(model.state_dict()[key], each) for key, each in plain.items())
    # And a plain checkpoint into the model as PEFT has it.
    outer = nn.ModuleDict(dict(fc=nn.ModuleDict(dict(base_layer=nn.Linear(2, 2))), norm=nn.LayerNorm(2)))
    wrapped = nn.ModuleDict(dict(base_model=nn.ModuleDict(dict(model=outer))))
    loaded(wrapped, plain, adapt="names", strict="all")
    assert all(torch.equal(wrapped.state_dict()[key], each) for key, each in of_peft.items())
