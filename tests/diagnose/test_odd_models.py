"""Models of unusual types, gradients and modes: diagnosed as others are, or refused with the reason."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

import initcfg
from initcfg.errors import DiagnosisError

TARGETS = torch.arange(32) % 4


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


def numbers() -> torch.Tensor:
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(0))


def test_double_precision_tells_what_single_tells() -> None:
    single = initcfg.diagnose(small(), (numbers(), TARGETS), steps=2).measures.numbers
    double = initcfg.diagnose(small().double(), (numbers().double(), TARGETS), steps=2).measures.numbers
    for name in ("loss", "gradient_norm", "logit_std"):
        assert double[name] == pytest.approx(single[name], rel=1e-5)


class Table(nn.Module):
    """An embedding by function, whose gradient is sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(50, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(functional.embedding(words, self.table, sparse=True).mean(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.EmbeddingBag(50, 8, sparse=True), nn.Linear(8, 4)),
        lambda: nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Flatten(), nn.Linear(40, 4)),
        Table,
    ],
)
def test_sparse_gradients(make) -> None:
    torch.manual_seed(0)
    model = make()
    words = torch.randint(0, 50, (32, 5))
    found = initcfg.diagnose(model, (words, TARGETS), steps=2)
    assert found.ok and len(found.measures.probe[1].losses) == 3
    # Rows that no word names have no gradient.
    first = found.measures.tensors[0]
    assert first.gradient_rms is not None and first.gradient_rms > 0
    assert all(module.sparse for module in model.modules() if hasattr(module, "sparse"))


def test_within_inference_mode() -> None:
    model, batch = small(), (numbers(), TARGETS)
    outside = initcfg.diagnose(model, batch, steps=2)
    with torch.inference_mode():
        inside = initcfg.diagnose(model, batch, steps=2)
        made_there = small()
        with pytest.raises(DiagnosisError, match="cannot be trained"):
            initcfg.diagnose(made_there, batch)
    assert inside.measures == outside.measures


def test_scripted_modules_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(small())
    for model, name in ((scripted, "This model"), (nn.Sequential(scripted), "0")):
        with pytest.raises(DiagnosisError, match=f"^{name} is a module of torch.jit") as caught:
            initcfg.diagnose(model, (numbers(), TARGETS))
        assert caught.value.fix is not None


class Attending(nn.Module):
    """A block whose branch is scaled by so little that a token hardly sees another."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.up = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + 1e-6 * self.up(self.attention(y, y, y)[0])


class ReadsOneToken(nn.Module):
    """CaiT and DeiT III in small: the head reads the first token alone."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Attending() for _ in range(4))
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


def test_a_head_that_reads_one_token_is_no_vanishing_gradient() -> None:
    torch.manual_seed(0)
    found = initcfg.diagnose(ReadsOneToken(), (torch.randn(32, 9, 16), TARGETS), steps=2)
    assert "gradient-vanishes" not in {each.code for each in found.findings}
    first, last = found.measures.blocks[0].gradient_rms, found.measures.blocks[-1].gradient_rms
    # Of the usual token it is: the last block has a gradient at the first token alone.
    assert first is not None and last is not None and first < 1e-4 * last
    assert abs(found.measures.numbers["gradient_depth"]) < 0.1


class Force(nn.Module):
    """What learns energies: its output is a gradient that it takes itself."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.fc, self.scale = nn.Linear(8, 4), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        energy = (torch.tanh(self.fc(x)) * self.scale).sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]


def test_a_model_that_takes_gradients_itself() -> None:
    torch.manual_seed(0)
    model, batch = Force(), (torch.randn(16, 8), torch.randn(16, 8))
    loss = nn.functional.mse_loss
    found = initcfg.diagnose(model, batch, loss, steps=2)
    assert not found.errors
    assert all(len(run.losses) == 3 for run in found.measures.probe)
    expected = loss(model(batch[0]), batch[1]).item()
    assert found.measures.numbers["loss"] == pytest.approx(expected)
    broken = initcfg.diagnose(Force(float("inf")), batch, loss, steps=2)
    assert {"nonfinite-activation", "nonfinite-loss"} & {each.code for each in broken.errors}
