"""Where a fault begins, between modules too; and mends that bring no other fault."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small import classes
from torch import nn
from torch.nn import functional

import initcfg
from initcfg._diagnose.diagnose import Diagnosis


def _found(model: nn.Module, *arguments: Any, **options: Any) -> dict[str, initcfg.Finding]:
    return {each.code: each for each in initcfg.diagnose(model, *arguments, **options).findings}


class Between(nn.Module):
    """Two layers, and between them a function."""

    def __init__(self, between: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = nn.Linear(16, 16), nn.Linear(16, 8)
        self.scale = nn.Parameter(torch.zeros(1))
        self.rows = nn.Parameter(torch.zeros(16, 16))
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        if self.between == "divided":
            x = x / self.scale
        elif self.between == "divided by what is made of it":
            x = x / (self.scale * 2).expand(16)
        elif self.between == "rows by their norms":
            x = x @ (self.rows / self.rows.norm(dim=1, keepdim=True)).T
        elif self.between == "logarithm":
            x = torch.log(x)
        elif self.between == "mask":
            masked = x.masked_fill(x < 0, -torch.inf)
            x = functional.softmax(masked, -1) / self.scale
        return self.head(x)


@pytest.mark.parametrize(
    ("between", "function", "blamed"),
    [
        ("divided", "/", "scale"),
        ("divided by what is made of it", "/", "scale"),
        ("rows by their norms", "/", "rows"),
        ("mask", "/", "scale"),
    ],
)
def test_a_parameter_between_modules_is_blamed(between: str, function: str, blamed: str) -> None:
    model = Between(between)
    line = {"divided": 38}
    found = _found(model, classes())["nonfinite-activation"]
    assert f"It comes from {function} at test_places.py:" in found.text
    assert found.text.endswith(f", which {blamed} enters.") and found.tensors[0] == blamed
    assert found.fix == "Start it away from zero."
    assert found.mend is not None and found.mend["param"] == [blamed]
    initcfg.init_weights(model, [dict(found.mend), dict(type="Keep", param="*")][:1], seed=0, strict=False)
    assert "nonfinite-activation" not in _found(model, classes()) and line


def test_a_function_out_of_its_range_is_named_and_no_parameter_blamed() -> None:
    found = _found(Between("logarithm"), classes())["nonfinite-activation"]
    assert "It comes from log at test_places.py:" in found.text and found.tensors == ()
    assert found.fix == "Keep what enters that function within what it is defined for."


def test_a_batch_that_is_not_finite_is_named() -> None:
    inputs, targets = classes()
    inputs[3, 4] = torch.nan
    found = _found(Between(""), (inputs, targets))["nonfinite-activation"]
    assert found.fix == "Look at the batch: it holds NaN or infinity."


def test_a_loss_that_is_not_finite_by_itself() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - outputs.max() - 1).log().mean()

    found = _found(Between(""), classes(), loss)["nonfinite-loss"]
    assert found.text.startswith("The loss is nan. It comes from log at test_places.py:")


class Adapted(nn.Module):
    """A frozen layer, and two factors that are both zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5, requires_grad=False)
        self.A = nn.Parameter(torch.zeros(4, inputs))
        self.B = nn.Parameter(torch.zeros(outputs, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.T + x @ self.A.T @ self.B.T


def test_of_two_factors_one_is_mended_in_each_module_and_nothing_frozen() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Adapted(16, 32), nn.ReLU(), Adapted(32, 8))
    found = _found(model, classes())["dead-parameter"]
    assert found.mend == {"type": "Kaiming", "mode": "fan_in", "param": ["0.A", "2.A"]}


def test_no_mend_draws_frozen_weights_anew() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    model[0].weight.requires_grad_(False)
    with torch.no_grad():
        model[0].weight.mul_(50)
    for each in _found(model, classes()).values():
        assert each.mend is None or "0.weight" not in each.mend["param"]


def test_the_matrix_that_is_applied_at_each_step_is_blamed() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.rnn = nn.RNN(16, 32, nonlinearity="relu", batch_first=True)
            self.out = nn.Linear(32, 8)
            nn.init.normal_(self.rnn.weight_hh_l0, std=0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.rnn(x)[0][:, -1])

    batch = torch.randn(32, 20, 16, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 8
    found = _found(Net(), batch)
    assert {"activation-explodes", "gradient-norm"} <= set(found)
    for code in ("initial-loss", "activation-explodes", "gradient-norm"):
        assert found[code].tensors[0] == "rnn.weight_hh_l0"


def test_dead_units_come_before_what_they_lead_to() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two, self.three = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 8)
            nn.init.uniform_(self.two.weight, -0.3, 0.0)
            nn.init.zeros_(self.two.bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.three(functional.relu(self.two(functional.relu(self.one(x)))))

    found = initcfg.diagnose(Net(), classes())
    assert [each.code for each in found.warnings] == ["dead-relu", "input-lost", "dead-parameter"]
    assert [each.tensors[0] for each in found.warnings] == ["two.weight"] * 3
    assert found.warnings[0].where == "two"
    assert all(each.mend is not None for each in found.warnings)


def test_what_float16_cannot_hold_is_an_error() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(5)), nn.LayerNorm(16), nn.Linear(16, 8))
    for layer in model[:5]:
        nn.init.normal_(layer.weight, std=4)
    found = initcfg.diagnose(model, classes(), dtype="float16")
    assert [each.code for each in found.errors] == ["fp16-overflow"]
    assert "float16 ends at 65504: there it is infinite on this very batch" in found.errors[0].text
    assert found.errors[0].mend is not None and "6.weight" not in found.errors[0].mend["param"]


def _masks() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, 16, 16, generator=generator), (
        torch.rand(8, 1, 16, 16, generator=generator) < 0.01
    ).float()


def _bce(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(outputs, targets)


def test_the_loss_is_said() -> None:
    def said(model: nn.Module, *arguments: Any) -> Diagnosis:
        return initcfg.diagnose(model, *arguments, steps=0)

    torch.manual_seed(0)
    convolved, line = nn.Conv2d(3, 1, 1), nn.Linear(16, 8)
    inputs, labels = classes()
    assert said(convolved, _masks()).loss == "binary cross entropy of logits, since none was given"
    assert said(convolved, _masks(), _bce).loss == "the one given"
    assert said(convolved, (_masks()[0], _masks()[1] * 2)).loss == "mean squares, since none was given"
    assert said(line, (inputs, labels)).loss == "cross entropy, since none was given"
    same = [said(convolved, _masks(), *loss).measures.numbers["loss"] for loss in ((), (_bce,))]
    assert same[0] == pytest.approx(same[1])


def test_the_frequency_of_one_class_is_told_to_its_bias() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    found = _found(model, _masks(), _bce)["class-prior"]
    share = round(_masks()[1].mean().item(), 6)
    assert found.mend == {"type": "HeadBias", "freq": [share], "loss": "sigmoid", "param": ["2.bias"]}
