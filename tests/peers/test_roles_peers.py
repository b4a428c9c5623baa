"""Roles in models of transformers, timm and torchvision, as their libraries build them."""

from __future__ import annotations

import contextlib
import re

import pytest
import torch
from roles_table import TABLE

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
