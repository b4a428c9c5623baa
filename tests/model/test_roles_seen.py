"""Roles that are seen: whole models by hand, each tensor's roles and block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from role_models import (
    Encoder,
    GatedMLP,
    Mamba,
    Mixture,
    NanoGPT,
    Parallel,
    ResNet,
    StandardizedConv2d,
)
from torch import nn

from initcfg._model.roles import Roles, find_roles

IDS = torch.zeros(2, 8, dtype=torch.long)
IMAGE = torch.zeros(2, 3, 16, 16)


def of_weights(found: Roles) -> dict[str, tuple[Any, ...]]:
    """Roles and block of each tensor but norms and what has neither role."""
    return {
        name: (" ".join(each.roles), each.layer)
        for name, each in found.tensors.items()
        if each.roles and each.roles != ("norm",)
    }


def in_blocks(pattern: str, roles: dict[str, str], count: int) -> dict[str, tuple[Any, ...]]:
    return {pattern.format(n) + name: (each, n) for n in range(count) for name, each in roles.items()}


def test_gpt() -> None:
    found = find_roles(NanoGPT(), example=IDS)
    assert (found.layers, found.residuals, found.width) == (3, 6, 16)
    assert found.notes == ("pre-norm", "head tied to the embedding")
    assert of_weights(found) == {
        "out.weight": ("embedding head", None),
        "places.weight": ("position", None),
    } | in_blocks(
        "h.{}.",
        {
            "mix_in.weight": "attn_qkv",
            "mix_back.weight": "attn_out residual_out",
            "up.weight": "mlp_in",
            "down.weight": "mlp_out residual_out",
        },
        3,
    )
    assert found.tensors["h.1.mix_in.weight"].heads == 4
    assert {each.how for each in found.tensors.values()} == {"seen"}
    assert found.tensors["h.2.ln_1.bias"].roles == ("norm",) and found.tensors["h.2.ln_1.bias"].layer == 2


def test_a_tensor_without_a_role_has_its_block() -> None:
    found = find_roles(NanoGPT(), example=IDS)
    assert (found.tensors["h.1.up.bias"].roles, found.tensors["h.1.up.bias"].layer) == ((), 1)


def test_mamba() -> None:
    found = find_roles(Mamba(), example=IDS)
    assert (found.layers, found.residuals, found.width) == (2, 2, 8)
    assert of_weights(found) == {
        "embed.weight": ("embedding", None),
        "readout.weight": ("head", None),
    } | in_blocks("layers.{}.", {"in_proj.weight": "mlp_in", "out_proj.weight": "mlp_out residual_out"}, 2)


@pytest.mark.parametrize(("first", "note"), [(True, "pre-norm"), (False, "post-norm")])
def test_layers_of_torch(first: bool, note: str) -> None:
    found = find_roles(Encoder(first), example=IDS)
    assert (found.layers, found.residuals, found.width, found.notes) == (2, 4, 16, (note,))
    assert of_weights(found) == {
        "e.weight": ("embedding", None),
        "o.weight": ("head", None),
    } | in_blocks(
        "t.layers.{}.",
        {
            "self_attn.in_proj_weight": "attn_qkv",
            "self_attn.out_proj.weight": "attn_out residual_out",
            "linear1.weight": "mlp_in",
            "linear2.weight": "mlp_out residual_out",
        },
        2,
    )
    assert found.tensors["t.layers.0.self_attn.in_proj_weight"].heads == 4


@pytest.mark.parametrize("convolution", [nn.Conv2d, StandardizedConv2d])
def test_resnet(convolution: type) -> None:
    found = find_roles(ResNet(convolution), example=IMAGE)
    assert (found.layers, found.residuals, found.width, found.notes) == (4, 4, None, ())
    block = {"a.weight": "conv_in", "b.weight": "residual_out", "norm_b.weight": "residual_norm norm"}
    first = in_blocks("stage1.{}.", block, 2)
    second = {name.replace("stage1", "stage2"): (each, n + 2) for name, (each, n) in first.items()}
    assert of_weights(found) == {
        "first.weight": ("stem", None),
        "classes.weight": ("head", None),
        "stage2.0.side.0.weight": ("shortcut", 2),
        **first,
        **second,
    }


def test_gated_mlp() -> None:
    found = find_roles(GatedMLP(), example=torch.zeros(2, 6))
    assert (found.layers, found.residuals, found.width, found.notes) == (2, 2, 16, ("pre-norm",))
    assert of_weights(found) == {
        "inp.weight": ("stem", None),
        "outp.weight": ("head", None),
    } | in_blocks(
        "blocks.{}.",
        {"w1.weight": "mlp_gate", "w3.weight": "mlp_in", "w2.weight": "mlp_out residual_out"},
        2,
    )
    assert found.tensors["blocks.0.n.g"].roles == found.tensors["final.g"].roles == ("norm",)


def test_branches_side_by_side_with_gates() -> None:
    found = find_roles(Parallel(), example=torch.zeros(2, 5, 12))
    assert (found.layers, found.residuals, found.width) == (2, 4, 16)
    assert of_weights(found) == {
        "patches.weight": ("stem", None),
        "pos": ("position", None),
        "top.weight": ("head", None),
    } | in_blocks(
        "body.{}.",
        {
            "q.weight": "attn_q",
            "kv.weight": "attn_k attn_v",
            "o.weight": "attn_out residual_out",
            "i.weight": "mlp_in",
            "u.weight": "mlp_out residual_out",
            "s1": "gate",
            "s2": "gate",
        },
        2,
    )
    assert found.tensors["body.0.kv.weight"].heads == 2


def test_experts_also_those_that_nothing_chose() -> None:
    torch.manual_seed(0)
    found = find_roles(Mixture(), example=torch.tensor([[1, 1, 1, 1]]))
    assert (found.layers, found.residuals, found.width) == (2, 2, 8)
    assert any("that no data reached" in note for note in found.notes)
    experts = {
        f"members.{n}.{name}": role
        for n in range(4)
        for name, role in {"0.weight": "expert_in", "2.weight": "residual_out expert_out"}.items()
    }
    assert of_weights(found) == {
        "tokens.weight": ("embedding", None),
        "out.weight": ("head", None),
    } | in_blocks("layers.{}.", {"choose.weight": "router", **experts}, 2)
