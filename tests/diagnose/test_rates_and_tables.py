"""Mends that are learning rates, and rules for tables and heads; each is tried before it is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diagnosed_models import Language, classes, perceptron, tokens
from torch import nn
from torch.nn import functional

import initcfg
from initcfg._diagnose.training import trained_losses


def _codes(diagnosis: initcfg.Diagnosis) -> dict[str, initcfg.Finding]:
    return {each.code: each for each in diagnosis.findings}


@pytest.mark.parametrize(
    "lr, codes",
    [
        (1.0, {"update-too-large", "probe-diverges"}),
        (0.03, {"update-too-large"}),
        (1e-5, {"probe-stalls"}),
        (1e-9, {"update-too-small", "probe-stalls"}),
    ],
)
def test_a_learning_rate_that_helps_is_told(lr: float, codes: set[str]) -> None:
    found = _codes(initcfg.diagnose(perceptron(), classes(), lr=lr))
    assert set(found) == codes
    rates = {each.mend["lr"] for each in found.values() if each.mend is not None}
    assert len(rates) == 1 and all(set(each.mend or {}) == {"lr"} for each in found.values())
    (rate,) = rates
    assert rate < lr if lr > 1e-3 else rate > lr
    assert initcfg.diagnose(perceptron(), classes(), lr=rate).findings == ()
    assert str(found[min(codes)]).endswith(f" Try lr={rate:g}.")


def test_rows_of_zeros_that_no_padding_holds_are_mended() -> None:
    model = Language(after=True)
    with torch.no_grad():
        model.embed.weight[0] = 0
    batch = tokens(0).clamp(0, 9)
    found = _codes(initcfg.diagnose(model, batch, steps=0))["zero-into-norm"]
    assert found.mend == {"type": "Normal", "std": 0.05, "param": ["embed.weight"]}
    initcfg.init_weights(model, dict(found.mend), seed=0)
    assert "zero-into-norm" not in _codes(initcfg.diagnose(model, batch, steps=0))
    # A row of padding_idx stays zero by any rule: no rule is offered.
    padded = _codes(initcfg.diagnose(Language(padding=0, after=True), batch, steps=0))["zero-into-norm"]
    assert padded.mend is None and "padding_idx=None" in padded.fix
    assert "row 0 of embed.weight, its padding_idx" in str(padded)


@pytest.mark.parametrize("padding", [None, 0])
def test_what_comes_of_zeros_in_norms_is_mended_with_them(padding: int | None) -> None:
    """The gradient that norms enlarge is no matter of how large the layers are."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed = nn.Embedding(100, 64, padding_idx=padding)
            nn.init.normal_(self.embed.weight, 0, 0.02)
            with torch.no_grad():
                self.embed.weight[0] = 0
            self.norms = nn.ModuleList(nn.RMSNorm(64, eps=1e-6) for _ in range(9))
            self.layers = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(4))
            self.head = nn.Linear(64, 100, bias=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.embed(ids)
            for layer, first, last in zip(self.layers, self.norms[::2], self.norms[1::2], strict=False):
                x = x + last(layer(first(x)))
            return self.head(self.norms[8](x))

    batch = torch.randint(0, 100, (8, 24), generator=torch.Generator().manual_seed(0))
    model = Deep()
    found = _codes(initcfg.diagnose(model, batch, steps=0))
    assert found["gradient-explodes"].fix.startswith("Mend zero-into-norm first")
    assert found["gradient-explodes"].tensors[0] == "embed.weight"
    if padding is not None:
        assert all(each.mend is None for each in found.values())
        return
    rule = found["gradient-explodes"].mend
    assert rule == found["zero-into-norm"].mend and rule is not None
    initcfg.init_weights(model, dict(rule), seed=0)
    assert initcfg.diagnose(model, batch, steps=0).ok


def test_a_head_whose_bias_is_as_large_is_mended_with_it() -> None:
    model = perceptron()
    with torch.no_grad():
        model[-1].weight.mul_(80)
        model[-1].bias.normal_(0, 8)
    found = _codes(initcfg.diagnose(model, classes(), steps=0))["initial-loss"]
    assert found.mend is not None and found.mend["param"] == ["6.weight", "6.bias"]
    initcfg.init_weights(model, dict(found.mend), seed=0)
    assert initcfg.diagnose(model, classes(), steps=0).ok


class _Counted:
    """A task of one batch."""

    def __call__(self, model: nn.Module) -> torch.Tensor:
        inputs, targets = classes()
        return functional.cross_entropy(model(inputs), targets)


def test_a_scaler_trains_as_torchs_own_does() -> None:
    """On a GPU float16 is trained with a scaler of losses; held to torch.amp's, here that of a CPU."""
    task: Any = _Counted()
    losses = trained_losses(perceptron(), task, "sgd", 0.1, 6, scaled=True)
    model = perceptron()
    stepping = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=False)
    scaler = torch.amp.GradScaler("cpu")
    expected = []
    for step in range(7):
        loss = task(model)
        expected.append(loss.item())
        if step < 6:
            stepping.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(stepping)
            scaler.update()
    assert losses == tuple(expected)
    assert losses == pytest.approx(trained_losses(perceptron(), task, "sgd", 0.1, 6), rel=1e-5)
