"""Where a fault begins, between modules too; and mends that bring no other fault."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diagnosed_models import classes
from torch import nn
from torch.nn import functional

import initcfg


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
    found = _found(model, classes())["nonfinite-activation"]
    assert f"It comes from {function} at test_places.py:" in found.text
    assert found.text.endswith(f", which {blamed} enters.") and found.tensors[0] == blamed
    assert found.fix == "Start it away from zero."
    assert found.mend is not None and found.mend["param"] == [blamed]
    initcfg.init_weights(model, dict(found.mend), seed=0)
    assert "nonfinite-activation" not in _found(model, classes())


def test_a_function_out_of_its_range_is_named_and_no_parameter_blamed() -> None:
    found = _found(Between("logarithm"), classes())["nonfinite-activation"]
    assert "It comes from log at test_places.py:" in found.text and found.tensors == ()
    assert found.fix == "Keep what enters that function within what it is defined for."


def test_a_batch_that_is_not_finite_is_named() -> None:
    inputs, targets = classes()
    inputs[3, 4] = torch.nan
    found = _found(Between(""), (inputs, targets))
    assert set(found) == {"nonfinite-input"}
    told = found["nonfinite-input"]
    assert told.level == "error" and told.where == "the batch" and told.tensors == () and told.value is None
    assert told.text == f"1 of the {inputs.numel()} numbers of the inputs is NaN or infinite."


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
    def said(model: nn.Module, *arguments: Any) -> initcfg.Diagnosis:
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


class Detector(nn.Module):
    """Two heads: classes, and boxes, which run last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(3, 8, 1)
        self.cls, self.box = nn.Conv2d(8, 1, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = functional.relu(self.body(x))
        return {"cls": self.cls(x), "box": self.box(x)}


def test_the_head_that_gave_the_logits_is_blamed() -> None:
    def loss(outputs: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        return _bce(outputs["cls"].flatten(), targets.flatten()) + outputs["box"].abs().mean()

    found = _found(Detector(), _masks(), loss)["class-prior"]
    assert (found.where, found.tensors) == ("cls", ("cls.bias",))
    assert found.mend is not None and found.mend["param"] == ["cls.bias"]


def test_queries_say_nothing_of_depth() -> None:
    class Encoder(nn.Module):
        """Two blocks, of which there are too few to call them so."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Embedding(100, 32)
            self.query, self.key, self.value = (nn.ModuleList(nn.Linear(32, 32) for _ in "ab") for _ in "abc")
            self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 4)
            for each in self.modules():
                if isinstance(each, (nn.Linear, nn.Embedding)):
                    nn.init.normal_(each.weight, std=2e-3)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.norm(self.table(ids))
            for query, key, value in zip(self.query, self.key, self.value, strict=True):
                x = self.norm(x + functional.softmax(query(x) @ key(x).mT, -1) @ value(x))
            return self.head(x.mean(1))

    ids = torch.randint(0, 100, (16, 12), generator=torch.Generator().manual_seed(0))
    assert "gradient-vanishes" not in _found(Encoder(), (ids, torch.arange(16) % 4))


def test_what_a_checkpoint_gave_is_not_mended(tmp_path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    state = {"0.weight": torch.randn(32, 16) * 30, "0.bias": torch.zeros(32)}
    torch.save(state, tmp_path / "body.pth")
    rules = [
        dict(type="Kaiming", layer="Linear"),
        dict(type="Pretrained", checkpoint=str(tmp_path / "body.pth"), include="0.*"),
    ]
    initcfg.init_weights(model, rules, seed=0)
    found = initcfg.diagnose(model, classes())
    assert not found.ok
    for each in found.findings:
        assert each.mend is None or not any(name.startswith("0.") for name in each.mend["param"])


def test_mends_of_rules_in_yaml_are_yaml() -> None:
    from dataclasses import replace

    from made_diagnoses import made

    from initcfg._diagnose import mend_text

    whole = made()
    finding = replace(whole.findings[0], source="net.yaml:14")
    assert (
        mend_text(finding, replace(whole, findings=(finding,))) == "{type: Normal, layer: Linear, std: 0.02}"
    )
    page = replace(whole, findings=(finding,)).to_html()
    assert "{type: Normal, layer: Linear, std: 0.02}" in page and "dict(type" not in page
    assert mend_text(whole.findings[0], whole) == "dict(type='Normal', layer='Linear', std=0.02)"
