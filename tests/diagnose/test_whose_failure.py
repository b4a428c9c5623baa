"""What the user's code raises is told as the model's failure; what initcfg itself raises is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diagnosed_models import Language, classes, perceptron, tokens
from torch import nn
from torch.nn import functional

import initcfg
from initcfg._diagnose import diagnose, training
from initcfg._diagnose.measuring import functions, modules, one_pass
from initcfg.errors import DiagnosisError


class Fails(nn.Module):
    """Fails in one place, at its ``call``-th call."""

    def __init__(self, where: str, call: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 8)
        self.where, self.call, self.calls = where, call, 0
        for name, add in (
            ("hook before", self.layer.register_forward_pre_hook),
            ("hook after", self.layer.register_forward_hook),
        ):
            if where == name:
                add(lambda *_: self.fail())

    def fail(self) -> None:
        self.calls += 1
        if self.calls >= self.call:
            raise IndexError("of the user's")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        if self.where == "forward":
            self.fail()
        if self.where == "function":
            self.calls += 1
            return functional.layer_norm(x, (9 if self.calls >= self.call else 8,))
        if self.where == "hook of gradient" and x.requires_grad:
            x.register_hook(lambda _: self.fail())
        return Backward.apply(x, self) if self.where == "backward" else x


class Backward(torch.autograd.Function):
    """A function whose gradient fails."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, model: Fails) -> torch.Tensor:
        ctx.model = model
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        ctx.model.fail()
        return gradients[0], None


@pytest.mark.parametrize("call", [1, 3])
@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("forward", "The model failed on the batch: IndexError: of the user's"),
        ("hook before", "The model failed on the batch: IndexError: of the user's"),
        ("hook after", "The model failed on the batch: IndexError: of the user's"),
        ("function", "The model failed on the batch: RuntimeError: Given normalized_shape=[9]"),
        ("hook of gradient", "The backward pass failed"),
        ("backward", "The backward pass failed"),
    ],
)
def test_what_the_model_raises_is_the_models(where: str, said: str, call: int) -> None:
    with pytest.raises(DiagnosisError) as caught:
        initcfg.diagnose(Fails(where, call), classes(), lr=1e-3)
    assert said in str(caught.value) and caught.value.__cause__ is not None


def test_what_the_loss_raises_is_the_losss() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return {}["of the user's"]

    with pytest.raises(DiagnosisError, match='The loss failed on the batch: KeyError: "of the user\'s"'):
        initcfg.diagnose(perceptron(), classes(), loss)
    inputs, targets = classes()
    with pytest.raises(DiagnosisError, match="The targets hold the class 92, and the output has the"):
        initcfg.diagnose(perceptron(), (inputs, targets + 92))


def _broken(*_: Any, **__: Any) -> Any:
    raise ValueError("of ours")


class Patient(nn.Module):
    """Catches whatever its layers raise."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            return self.inner(x)
        except Exception:
            return torch.zeros(*x.shape, 100, requires_grad=True)


@pytest.mark.parametrize("patient", [False, True])
@pytest.mark.parametrize(
    ("place", "name"),
    [
        (functions, "entropies"),
        (functions, "variation"),
        (modules, "largest"),
        (modules, "rms"),
        (modules, "zero_share"),
        (modules._Watching, "leave"),
        (modules._Watching, "enter"),
        (one_pass, "variation"),
        (diagnose, "tensors_seen"),
        (diagnose, "found_in"),
        (training, "_has_gradient"),
    ],
)
def test_what_measuring_raises_is_ours(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str, patient: bool
) -> None:
    monkeypatch.setattr(place, name, _broken)
    with pytest.raises(ValueError, match=r"^of ours$") as caught:
        initcfg.diagnose(Patient(Language()) if patient else Language(), tokens())
    assert not isinstance(caught.value, DiagnosisError)


def test_what_measuring_raises_in_the_backward_pass_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = modules.usual_rms
    monkeypatch.setattr(
        modules,
        "usual_rms",
        lambda x, axis: calls(x, axis) if not x.is_leaf or x.requires_grad else _broken(),
    )
    with pytest.raises(ValueError, match=r"^of ours$"):
        initcfg.diagnose(Language(), tokens())


def test_the_model_is_as_it_was_after_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    model = perceptron()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    monkeypatch.setattr(modules, "rms", _broken)
    with pytest.raises(ValueError):
        initcfg.diagnose(model, classes())
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
