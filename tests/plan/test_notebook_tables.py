"""What a notebook shows of tables, comparisons of numbers, and verifications."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import ArgumentValueError
from initcfg.testing import assert_initialized


def test_a_notebook_shows_tables_and_not_their_repr() -> None:
    model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))
    table = plan.to_table()
    assert repr(table).startswith("<PlanTable of 2 tensors, columns name, shape")
    assert "<td>weight</td>" in table._repr_html_()
    plan.apply(model, seed=0)
    before = {name: item.clone() for name, item in model.state_dict().items()}
    with torch.no_grad():
        model.weight.mul_(2)
    compared = initcfg.diff(before, model, values=True)
    verified = initcfg.verify(model, plan=plan, seed=0)
    for found in (compared, verified):
        page = found._repr_html_()
        assert page.startswith("<pre>")
        assert "weight" in page
        assert page.count("\n") == str(found).count("\n")


def test_a_device_that_torch_does_not_have_is_an_error_with_a_remedy() -> None:
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    with pytest.raises(ArgumentValueError, match="'gpu' is no device of torch"):
        initcfg.materialize(model, device="gpu", seed=0)
    assert model.weight.is_meta


def test_what_is_no_model_cannot_be_initialized() -> None:
    with pytest.raises(
        TypeError, match=r"assert_initialized takes a torch\.nn\.Module as model, not the text"
    ):
        assert_initialized("net.py")  # type: ignore[arg-type]
