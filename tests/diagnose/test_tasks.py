"""What may be given for model, batch and loss, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diagnosed_models import Language, classes, perceptron, tokens
from torch import nn
from torch.nn import functional

import initcfg
from initcfg.errors import DiagnosisError


def _loss(model: nn.Module, batch: Any) -> torch.Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize(
    "loss",
    [
        None,
        nn.CrossEntropyLoss(),
        functional.cross_entropy,
        _loss,
        lambda output, targets: functional.cross_entropy(output.float(), targets),
    ],
)
def test_losses_of_classes(loss: Any) -> None:
    model, batch = perceptron(), classes()
    expected = functional.cross_entropy(model(batch[0]), batch[1]).item()
    assert initcfg.diagnose(model, batch, loss, steps=0).measures.numbers["loss"] == pytest.approx(expected)


def test_next_tokens_and_numbers() -> None:
    model, ids = Language(), tokens()
    expected = functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).item()
    for batch in (ids, (ids,), {"ids": ids}, lambda: ids):
        found = initcfg.diagnose(model, batch, steps=0).measures.numbers["loss"]
        assert found == pytest.approx(expected, rel=1e-5)
    inputs, targets = torch.randn(32, 16), torch.randn(32, 8)
    expected = functional.mse_loss(perceptron()(inputs), targets).item()
    found = initcfg.diagnose(perceptron(), (inputs, targets), steps=0).measures.numbers["loss"]
    assert found == pytest.approx(expected)


@dataclass
class Output:
    loss: torch.Tensor
    logits: torch.Tensor


class WithLoss(nn.Module):
    """As models of transformers are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = perceptron()

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> Output:
        logits = self.inner(pixels)
        return Output(2 * functional.cross_entropy(logits, labels), logits)


def test_a_model_that_returns_its_loss() -> None:
    inputs, labels = classes()
    numbers = initcfg.diagnose(WithLoss(), {"pixels": inputs, "labels": labels}, steps=0).measures.numbers
    assert numbers["loss"] == pytest.approx(2 * numbers["log_classes"], abs=0.4)
    # A guess is compared with the cross entropy, not with what is made of it.
    assert abs(numbers["loss_excess"]) < 0.2


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (perceptron(), "a synthetic batch (64×16 float32), not your data"),
        (Language(), "a synthetic batch (16×32 int64), not your data"),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 900, 4)),
            "a synthetic batch (16×3×32×32 float32), not your data",
        ),
    ],
)
def test_a_synthetic_batch_is_said(model: nn.Module, said: str) -> None:
    assert initcfg.diagnose(model, steps=0).batch == said


def test_a_synthetic_batch_has_no_padding() -> None:
    diagnosis = initcfg.diagnose(Language(padding=0, after=True), steps=0)
    assert "zero-into-norm" not in {each.code for each in diagnosis.findings}


def test_dropout_is_off_and_batch_norm_sees_the_batch() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.9))
    inputs, labels = classes()
    expected = functional.cross_entropy(nn.Sequential(model[0], nn.BatchNorm1d(8))(inputs), labels).item()
    found = initcfg.diagnose(model, (inputs, labels), steps=0).measures.numbers["loss"]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((perceptron(), "x"), {}, "not a str"),
        ((perceptron(), (torch.ones(4, 3), torch.ones(4).long())), {}, "The model failed on the batch"),
        ((perceptron(), classes(), 3), {}, "The loss is a function"),
        ((perceptron(), classes(), lambda model, batch: model(batch[0])), {}, "should be one number"),
        ((perceptron(), classes()), {"lr": -1}, "A learning rate is a number above 0"),
        ((perceptron(), classes()), {"optimizer": "adamm"}, "did you mean"),
        ((perceptron(), classes()), {"steps": -1}, "steps is a whole number"),
        ((perceptron(), classes()), {"dtype": "int8"}, "dtype is 'float32'"),
        ((perceptron(), classes()), {"plan": {}}, "plan is what"),
        ((nn.ReLU(), classes()), {}, "has no parameters"),
        ((3,), {}, "not 3"),
        ((nn.Linear(3, 3, device="meta"),), {}, "has no numbers yet"),
        ((nn.ParameterList([nn.Parameter(torch.ones(3))]),), {}, "Nothing tells what a ParameterList takes"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(arguments: Any, options: Any, said: str) -> None:
    with pytest.raises(DiagnosisError) as caught:
        initcfg.diagnose(*arguments, **options)
    assert (said in str(caught.value) and "fix:" in str(caught.value)) or caught.value.meant


def test_a_pending_model_is_refused() -> None:
    with initcfg.deferred():
        model = perceptron()
    with pytest.raises(DiagnosisError, match="has no numbers yet"):
        initcfg.diagnose(model, classes())


def test_a_frozen_model_is_refused() -> None:
    model = perceptron().requires_grad_(False)
    with pytest.raises(DiagnosisError, match="No parameter of this model is trained"):
        initcfg.diagnose(model, classes())


given: list[float] = []


class WritesIntoItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given.append(float(x[0, 0]))
        return self.fc(x.mul_(2.0))


def test_each_pass_begins_with_the_batch_that_was_given() -> None:
    batch = (torch.full((3, 4), 1.5), torch.tensor([0, 1, 1]))
    model = WritesIntoItsInput()
    initcfg.diagnose(model, batch, steps=3)
    initcfg.diagnose(model, batch, lambda model, batch: model(batch[0]).sum(), steps=1)
    assert set(given) == {1.5} and len(given) > 8
    assert batch[0].eq(1.5).all()
    inputs = torch.ones(3, 4, requires_grad=True)
    initcfg.diagnose(nn.Linear(4, 2), (inputs * 1.0, batch[1]), steps=2)
    initcfg.diagnose(nn.Linear(4, 2), (inputs, batch[1]), steps=2)
    assert inputs.grad is None


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.eye(4).to_sparse(), "layout torch.sparse_coo"),
        (torch.ones(4, 4, device="meta"), "on the meta device"),
        (torch.ones(0, 4), "The batch is empty"),
    ],
)
def test_inputs_that_cannot_be_measured_are_refused(inputs: torch.Tensor, said: str) -> None:
    with pytest.raises(DiagnosisError, match=said):
        initcfg.diagnose(nn.Linear(4, 2), (inputs, torch.zeros(len(inputs), dtype=torch.long)), steps=0)


def test_complex_parameters_are_refused() -> None:
    model = nn.Linear(4, 2)
    model.spectrum = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(DiagnosisError, match="Complex tensors"):
        initcfg.diagnose(model, (torch.ones(3, 4), torch.tensor([0, 1, 1])), steps=0)


class _Pairs(nn.Module):
    """Takes two inputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.users, self.items, self.out = nn.Embedding(9, 8), nn.Embedding(7, 8), nn.Linear(8, 5)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return self.out(self.users(users) * self.items(items))


@pytest.mark.parametrize("together", [tuple, list])
def test_inputs_of_several_arguments_beside_their_targets(together: type) -> None:
    users, items, targets = torch.arange(32) % 9, torch.arange(32) % 7, torch.arange(32) % 5
    model = _Pairs()
    found = initcfg.diagnose(model, (together((users, items)), targets), steps=0)
    flat = initcfg.diagnose(model, (users, items, targets), steps=0)
    expected = functional.cross_entropy(model(users, items), targets).item()
    assert found.measures.numbers["loss"] == pytest.approx(expected)
    assert flat.measures.numbers["loss"] == pytest.approx(expected)


def test_a_class_that_the_batch_has_none_of_has_a_prior_too() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    batch = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), (torch.arange(64) == 0).long()
    (prior,) = [
        each for each in initcfg.diagnose(model, batch, steps=0).findings if each.code == "class-prior"
    ]
    assert prior.mend == {
        "type": "HeadBias",
        "freq": [0.984375, 0.015625, 0.0078125, 0.0078125],
        "param": ["2.bias"],
    }
    initcfg.init_weights(model, dict(prior.mend), seed=0)
    assert "class-prior" not in {each.code for each in initcfg.diagnose(model, batch, steps=0).findings}
