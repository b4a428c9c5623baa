"""Roles in models of transformers, timm and torchvision, as their libraries build them."""

from __future__ import annotations

import contextlib
import re

import pytest
import torch
from roles_table import TABLE

import initcfg
from initcfg._model import declaration
from initcfg._model.roles import find_roles

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("name", TABLE)
def test_each_role_is_where_it_should_be_and_nowhere_else(name: str) -> None:
    case = TABLE[name]
    with torch.device("meta") if name != "regnet" else contextlib.nullcontext():
        # torchvision computes the widths of a RegNet with tensors.
        model = case.build()
    found = find_roles(model)
    assert {each.how for each in found.tensors.values()} == {"seen"}
    assert (found.residuals, found.layers) == (case.residuals, case.layers)
    expected = case.roles | ({"residual_out": case.residual_out} if case.residual_out else {})
    weights = [each for each, _ in model.named_parameters() if not each.endswith("bias")]
    tied = {min(names) for names in _names_of_each(model).values()}
    for role, pattern in expected.items():
        having = {each for each, roles in found.tensors.items() if role in roles.roles}
        wanted = {each for each in tied if re.search(pattern, each) and not each.endswith("bias")}
        assert {each for each in having if not each.endswith("bias")} == wanted, (role, weights)


def _names_of_each(model: torch.nn.Module) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(tensor), []).append(name)
    return found


def test_a_model_is_not_changed_by_it() -> None:
    model = TABLE["resnet18"].build()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    find_roles(model)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_each_tower_of_clip_counts_its_own_blocks() -> None:
    import transformers

    tower = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    text = dict(tower, vocab_size=120, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    images = dict(tower, image_size=32, patch_size=8, num_hidden_layers=3)

    def make() -> torch.nn.Module:
        return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=images))

    plan, theirs = initcfg.plan(make(), dict(type="CLIP", of="transformers")), initcfg.trace(make)
    ends = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    compared = [name for name in plan if name.endswith(tuple(f"{each}.weight" for each in ends))]
    assert len(compared) == 5 * len(ends)
    for name in compared:
        assert plan[name].value.args["std"] == pytest.approx(theirs[name].value.args["std"], rel=1e-6), name


STACKS = {
    "bart": (
        "BartForConditionalGeneration",
        dict(
            d_model=64,
            encoder_layers=2,
            decoder_layers=3,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            vocab_size=120,
        ),
        "model.{}.layers.1.fc2.weight",
    ),
    "t5": (
        "T5ForConditionalGeneration",
        dict(d_model=64, d_ff=128, d_kv=16, num_heads=4, num_layers=2, num_decoder_layers=3, vocab_size=120),
        "{}.block.1.layer.0.SelfAttention.o.weight",
    ),
}


@pytest.mark.parametrize(("name", "config", "tensor"), STACKS.values(), ids=STACKS)
def test_encoder_and_decoder_are_two_stacks(name: str, config: dict, tensor: str) -> None:
    import transformers

    cls = getattr(transformers, name)
    model = cls(cls.config_class(**config))
    found = find_roles(model)
    assert [(each.layers, each.residuals) for each in found.stacks] == [(2, 4), (3, 9)]
    encoder, decoder = (found.tensors[tensor.format(half)] for half in ("encoder", "decoder"))
    assert (encoder.layer, encoder.layers, encoder.residuals) == (1, 2, 4)
    assert (decoder.layer, decoder.layers, decoder.residuals) == (1, 3, 9)
    again = find_roles(model, declared=declaration(model, found))
    assert {each: (role.layer, role.layers) for each, role in again.tensors.items()} == {
        each: (role.layer, role.layers if role.layer is not None else again.tensors[each].layers)
        for each, role in found.tensors.items()
    }


def test_stages_and_class_attention_are_of_one_stack() -> None:
    import timm

    swin = find_roles(timm.create_model("swin_tiny_patch4_window7_224"))
    assert [(each.layers, each.residuals) for each in swin.stacks] == [(12, 24)]
    assert swin.tensors["layers.3.blocks.1.mlp.fc2.weight"].layer == 11
    cait = find_roles(timm.create_model("cait_xxs24_224", depth=4))
    assert [(each.layers, each.residuals) for each in cait.stacks] == [(6, 12)]
    assert cait.tensors["blocks_token_only.1.mlp.fc2.weight"].layer == 5
