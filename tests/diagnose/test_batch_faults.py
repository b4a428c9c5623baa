"""What is the batch's fault, or the loss's, is told as theirs: no weight is blamed for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diagnosed_models import classes, perceptron
from torch import nn
from torch.nn import functional

import initcfg
from initcfg.errors import DiagnosisError


def _found(model: nn.Module, *arguments: Any, **options: Any) -> dict[str, initcfg.Finding]:
    diagnosis = initcfg.diagnose(model, *arguments, **{"steps": 0, **options})
    return {each.code: each for each in diagnosis.findings}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_targets_that_are_not_finite(bad: float) -> None:
    model = nn.Linear(8, 1)
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    targets = x.sum(1, keepdim=True)
    assert _found(model, (x, targets)) == {}
    targets[:2] = bad
    found = _found(model, (x, targets))
    assert set(found) == {"nonfinite-input"} and found["nonfinite-input"].tensors == ()
    assert found["nonfinite-input"].text == "2 of the 32 numbers of the targets are NaN or infinite."


def test_a_mask_of_infinities_is_no_fault() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = perceptron()

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.body(x * mask.exp())

    inputs, targets = classes()
    mask = torch.zeros_like(inputs)
    mask[:, 0] = -torch.inf
    assert _found(Masked(), (inputs, mask, targets)) == {}


def test_a_weight_that_is_not_finite_is_still_the_weights_fault() -> None:
    model = perceptron()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    assert _found(model, classes())["nonfinite-weight"].where == "0.weight"


def test_classes_that_the_output_has_not() -> None:
    inputs, targets = classes()
    targets[3] = 8
    said = r"The targets hold the class 8, and the output has the classes 0 to 7\."
    for loss in (None, functional.cross_entropy):
        with pytest.raises(DiagnosisError, match=said):
            initcfg.diagnose(perceptron(), (inputs, targets), loss)
    targets[3] = -100
    assert _found(perceptron(), (inputs, targets)) == {}


def test_tokens_that_the_table_has_not() -> None:
    model = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 20))
    ids = torch.arange(40).view(4, 10) % 20
    assert _found(model, ids) == {}
    ids[1, 1] = 20
    with pytest.raises(DiagnosisError, match=r"holds token 20, and the table 0 has the rows 0 to 19\."):
        initcfg.diagnose(model, ids)


def test_masks_of_255_under_a_binary_loss() -> None:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    targets = (x[:, :1] > 0).float()
    loss = functional.binary_cross_entropy_with_logits
    assert _found(nn.Linear(8, 1), (x, targets), loss) == {}
    found = _found(nn.Linear(8, 1), (x, 255 * targets), loss)
    assert found["target-range"].level == "error" and found["target-range"].measured == 255


class Leaks(nn.Module):
    """It is given its targets."""

    def __init__(self) -> None:
        super().__init__()
        self.body = perceptron()

    def forward(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.body(x) + 12 * functional.one_hot(targets, 8)


def _leaking() -> tuple[torch.Tensor, ...]:
    inputs, targets = classes()
    return inputs, targets, targets


def test_a_loss_far_below_a_guess_is_a_leak() -> None:
    model = Leaks()
    # Rules have drawn all of it: nobody has trained these weights.
    initcfg.init_weights(model, dict(type="Kaiming", layer="Linear"), seed=0)
    found = _found(model, _leaking())["loss-too-low"]
    assert found.level == "warning" and found.where == "the loss" and found.tensors == ()
    assert found.measured == pytest.approx(2.08, abs=0.1)


def test_trained_weights_may_have_a_low_loss() -> None:
    model = perceptron()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    inputs, targets = classes()
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    found = _found(model, (inputs, targets))["loss-too-low"]
    assert found.level == "info" and "trained before" in found.text


def test_frequencies_of_labels_in_a_bias_are_no_leak() -> None:
    inputs, _ = classes()
    targets = (torch.arange(len(inputs)) % 50 == 0).long() * 5
    model = perceptron()
    freq = (torch.bincount(targets, minlength=8) + 0.01) / (len(targets) + 0.08)
    initcfg.init_weights(
        model, dict(type="HeadBias", freq=freq.tolist(), param="*.bias", name=f"{len(model) - 1}")
    )
    found = _found(model, (inputs, targets))
    assert "loss-too-low" not in found and "class-prior" not in found


@pytest.mark.parametrize("reduction", ["sum", "none", "mean"])
def test_what_is_passed_over_does_not_lower_the_loss(reduction: str) -> None:
    inputs, targets = classes()
    targets[8:] = -100

    def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(output, targets, reduction=reduction).sum()

    assert "loss-too-low" not in _found(perceptron(), (inputs, targets), loss)


def test_a_mean_that_is_divided_again() -> None:
    inputs, targets = classes()
    count = len(inputs)
    loss = functional.cross_entropy
    found = _found(perceptron(), (inputs, targets), lambda output, y: loss(output, y) / count)
    assert found["loss-too-low"].level == "info" and f"1/{count} of the mean" in found["loss-too-low"].text
    for fine in (
        lambda output, y: loss(output, y, reduction="sum") / count,
        lambda output, y: loss(output, y) / 4,
    ):
        assert "loss-too-low" not in _found(perceptron(), (inputs, targets), fine)


def test_an_output_that_is_the_target_already() -> None:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(8, 8, bias=False)
    assert _found(model, (x, x)) == {}
    with torch.no_grad():
        model.weight.copy_(torch.eye(8))
    assert _found(model, (x, x))["loss-too-low"].level == "info"
    # A standardized target has no such loss, nor has a start that is near to it.
    assert "loss-too-low" not in _found(model, (x, x + 0.1 * torch.randn_like(x)))
