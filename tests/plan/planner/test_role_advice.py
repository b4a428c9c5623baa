"""What an error about roles advises: it fits the role that was asked for."""

from __future__ import annotations

import pytest
import torch
from role_models import NanoGPT, ResNet

import initcfg
from initcfg.errors import RoleError

IDS = torch.zeros(2, 8, dtype=torch.long)


def error_of(model, rule, example) -> RoleError:
    with pytest.raises(RoleError) as caught:
        initcfg.plan(model, rule, example=example)
    return caught.value


def test_a_gate_is_of_the_model() -> None:
    found = error_of(NanoGPT(), dict(type="ReZero"), IDS)
    assert "must multiply its branches by a parameter" in str(found.fix)
    assert "roles=dict(gate=['*.gamma'])" in str(found.fix)


def test_norms_that_end_no_branch() -> None:
    found = error_of(NanoGPT(), dict(type="ZeroResidual"), IDS)
    assert "what='weight'" in str(found.fix) and "c_proj" not in str(found.fix)
    initcfg.plan(NanoGPT(), dict(type="ZeroResidual", what="weight"), example=IDS)


def test_values_within_a_fused_weight() -> None:
    found = error_of(NanoGPT(), dict(type="DeepNorm"), IDS)
    assert "are one weight (attn_qkv)" in str(found.fix) and "needs no attn_v" in str(found.fix)


def test_a_glob_is_no_name_of_a_declaration() -> None:
    found = error_of(ResNet(), dict(type="Normal", role="attn_*", std=1), torch.zeros(2, 3, 16, 16))
    assert "roles=dict(attn_qkv=['*.qkv.weight'])" in str(found.fix)


@pytest.mark.parametrize("role", ["router", "expert_out", "position", "mlp_gate"])
def test_each_role_has_an_example_of_its_own(role: str) -> None:
    found = error_of(ResNet(), dict(type="Normal", role=role, std=1), torch.zeros(2, 3, 16, 16))
    assert f"roles=dict({role}=['" in str(found.fix) and "c_proj" not in str(found.fix)


def test_what_a_model_is_like_says_nothing_of_its_heads() -> None:
    found = error_of(NanoGPT(), dict(type="Normal", role="mlp_in", std=1, scale="1/heads"), IDS)
    assert found.problem == "The rule needs heads, which is not known for this tensor."
