"""Weights that are computed from others: written through ``right_inverse``, or refused while planning."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import initcfg
from initcfg import errors, values

NORMAL = dict(type="Normal", layer="Linear", std=0.5, bias=2)


def plain_and(wrap: Any, *shape: int) -> tuple[nn.Linear, nn.Linear]:
    """The same layer with a plain weight and with a parametrized one."""
    return nn.Linear(*shape), wrap(nn.Linear(*shape))


class Symmetric(nn.Module):
    """Has no way back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.triu() + x.triu(1).transpose(-1, -2)


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


class Transposed(nn.Module):
    """Is stored in another shape than the layer sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.t()

    def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
        return x.t()


class NoWayBack(nn.Module):
    """Says so only when it is asked."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("no way back")


def register(*chain: nn.Module) -> Any:
    def wrap(linear: nn.Linear) -> nn.Linear:
        for each in chain:
            parametrize.register_parametrization(linear, "weight", each, unsafe=True)
        return linear

    return wrap


@pytest.mark.parametrize(
    "wrap",
    [
        parametrizations.weight_norm,
        register(Doubled()),
        register(Transposed()),
        register(Doubled(), Doubled()),
    ],
    ids=["weight_norm", "doubled", "transposed", "chain"],
)
def test_the_layer_sees_what_a_plain_one_gets(wrap: Any) -> None:
    plain, wrapped = plain_and(wrap, 4, 3)
    plan = initcfg.plan(wrapped, NORMAL)
    assert plan == initcfg.plan(wrapped, NORMAL)
    assert list(plan) == ["bias", "weight"]
    assert plan["weight"].shape == (3, 4)
    for model in (plain, wrapped):
        initcfg.init_weights(model, NORMAL, seed=6)
    torch.testing.assert_close(wrapped.weight, plain.weight, rtol=1e-6, atol=1e-7)
    assert wrapped.bias.tolist() == [2, 2, 2]


def test_fans_are_those_of_what_the_layer_sees() -> None:
    wrapped = register(Transposed())(nn.Linear(4, 9))
    assert wrapped.parametrizations.weight.original.shape == (4, 9)
    plan = initcfg.plan(wrapped, dict(type="Kaiming", layer="Linear", mode="fan_in", nonlinearity="linear"))
    assert plan["weight"].value == values.Normal(0.0, 0.5)


def test_orthogonal_and_spectral_norm_hold_what_they_promise() -> None:
    wrapped = parametrizations.orthogonal(nn.Linear(4, 4))
    initcfg.init_weights(wrapped, dict(type="Constant", layer="Linear", val=0, weight=None))
    before = wrapped.weight.clone()
    with pytest.raises(errors.ApplyError):
        # A constant matrix is not orthogonal, and its right_inverse says so.
        initcfg.init_weights(parametrizations.orthogonal(nn.Linear(4, 4), use_trivialization=False), NORMAL)
    torch.testing.assert_close(before @ before.t(), torch.eye(4))
    plain, spectral = plain_and(parametrizations.spectral_norm, 5, 4)
    for model in (plain, spectral):
        initcfg.init_weights(model, NORMAL, seed=6)
    assert torch.equal(spectral.parametrizations.weight.original, plain.weight)


@pytest.mark.parametrize("select", [dict(layer="Linear"), dict(name="0"), dict(param="0.weight")])
def test_without_a_way_back_it_is_an_error_while_planning(select: dict[str, Any]) -> None:
    model = nn.Sequential(register(Symmetric())(nn.Linear(3, 3)))
    before = model[0].parametrizations.weight.original.clone()
    with pytest.raises(errors.TensorError) as caught:
        initcfg.plan(model, dict(select, type="Normal"))
    text = str(caught.value)
    assert "Symmetric" in text
    assert "right_inverse" in text
    assert "0.weight" in text
    assert "init_cfg" in text
    assert torch.equal(model[0].parametrizations.weight.original, before)
    # It can be left out, and what no rule reaches can have any parametrization.
    plan = initcfg.plan(model, dict(type="Constant", layer="Linear", val=1, bias=3, exclude="0.weight"))
    plan.apply(model)
    assert model[0].bias.tolist() == [3, 3, 3]
    assert plan["0.weight"].value == values.Keep()


def test_a_way_back_that_fails_is_an_error_with_its_cause() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Linear(3, 3)
        parametrize.register_parametrization(model, "weight", Doubled())
        model.parametrizations.weight[0].right_inverse = NoWayBack().right_inverse
    with pytest.raises((errors.ApplyError, errors.TensorError), match="no way back"):
        initcfg.init_weights(model, NORMAL)
    with pytest.raises(errors.ApplyError, match="failed half-way"):
        model.state_dict()


def test_a_checkpoint_fills_what_is_stored(tmp_path: Any) -> None:
    model, loaded = register(Doubled())(nn.Linear(3, 3)), register(Doubled())(nn.Linear(3, 3))
    torch.save(model.state_dict(), tmp_path / "a.pth")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth"))
    for compat in (None, "mmengine"):
        initcfg.init_weights(loaded, [dict(type="Constant", layer="Linear", val=0), rule], compat=compat)
        assert torch.equal(loaded.weight, model.weight)
        assert torch.equal(loaded.bias, model.bias)
    # Two tensors for one weight, each by itself.
    saved, normed = (parametrizations.weight_norm(nn.Linear(3, 3)) for _ in range(2))
    torch.save(saved.state_dict(), tmp_path / "a.pth")
    for compat in (None, "mmengine"):
        initcfg.init_weights(normed, [dict(type="Constant", layer="Linear", val=1), rule], compat=compat)
        stored = [*saved.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(stored, normed.parameters(), strict=True))


def test_keep_leaves_the_stored_tensors_alone() -> None:
    model = parametrizations.weight_norm(nn.Linear(3, 3))
    stored = [model.parametrizations.weight.original0, model.parametrizations.weight.original1]
    before = [(tensor._version, tensor.tolist()) for tensor in stored]
    initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=1, weight=None))
    assert [(tensor._version, tensor.tolist()) for tensor in stored] == before


def test_names_in_json_and_ledger_are_the_layers() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3)))
    plan = initcfg.plan(model, dict(type="Normal", param="0.weight"))
    ledger = plan.apply(model, seed=1)
    assert ledger["0.weight"].by == "rule"
    again = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3)))
    again.load_state_dict(model.state_dict())
    initcfg.Plan.from_json(plan.to_json()).apply(again, seed=1)
    assert torch.equal(again[0].weight, model[0].weight)


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, parametrizations.orthogonal])
def test_a_parametrization_that_changes_what_is_written_is_told(wrap):
    model = nn.Sequential(wrap(nn.Linear(4, 4)))
    plan = initcfg.plan(model, dict(type="Constant", val=3, layer="Linear"))
    assert any("0.weight is written through" in note for note in plan.notes)
    ledger = plan.apply(model)
    assert ledger["0.weight"].altered
    assert not ledger["0.bias"].altered
    assert "changed by their parametrization: 0.weight" in str(ledger)
    assert initcfg.Ledger.from_json(ledger.to_json()) == ledger


def test_weight_norm_changes_nothing():
    model = parametrizations.weight_norm(nn.Linear(4, 4))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))
    assert plan.notes == ()
    assert not plan.apply(model, seed=1)["weight"].altered


def test_weights_that_old_wrappers_compute_are_refused():
    rule = dict(type="Normal", layer="Conv2d")
    with warnings.catch_warnings():
        # Some versions of torch call it deprecated.
        warnings.simplefilter("ignore")
        spectral = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(2, 2, 1)))
    with pytest.raises(errors.TensorError, match=r"parametrizations\.spectral_norm"):
        initcfg.plan(spectral, rule)
    pruned = nn.Sequential(prune.random_unstructured(nn.Conv2d(2, 2, 1), "weight", 0.5))
    with pytest.raises(errors.TensorError, match="prune after"):
        initcfg.plan(pruned, rule)
    plan = initcfg.plan(pruned, dict(type="Normal", param="*.weight_orig"))
    assert plan["0.weight_orig"].rule == "init_cfg"
