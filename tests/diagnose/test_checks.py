"""Each check: a small model that is broken in one way has its code, with the number that is expected."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diagnosed_models import Language, classes, perceptron, tokens
from torch import nn

import initcfg
from initcfg import Diagnosis, Finding
from initcfg._diagnose.checks.codes import CHECKS


def _found(diagnosis: Diagnosis, code: str) -> Finding:
    codes = [each.code for each in diagnosis.findings]
    assert code in codes, codes
    return diagnosis.findings[codes.index(code)]


def _changed(model: nn.Module, change: Callable[[str, torch.Tensor], Any]) -> nn.Module:
    with torch.no_grad():
        for name, each in model.named_parameters():
            change(name, each)
    return model


@pytest.mark.parametrize("model, batch", [(perceptron(), classes()), (Language(), tokens())])
def test_of_healthy_models_there_is_nothing_to_say(model: nn.Module, batch: Any) -> None:
    diagnosis = initcfg.diagnose(model, batch, lr=1e-3)
    assert diagnosis.ok, str(diagnosis)
    assert diagnosis.measures.numbers["loss"] == pytest.approx(
        diagnosis.measures.numbers["log_classes"], abs=0.2
    )


def _with(change: Callable[[nn.Module], Any], **more: Any) -> nn.Module:
    model = perceptron(**more)
    with torch.no_grad():
        change(model)
    return model


BROKEN: dict[str, tuple[Callable[[], nn.Module], str, str, tuple[float, float]]] = {
    "a head of 4": (lambda: _with(lambda m: m[-1].weight.mul_(80)), "initial-loss", "6", (2, 100)),
    "weights of 1": (
        lambda: _with(lambda m: [each.weight.normal_() for each in m if hasattr(each, "weight")], depth=8),
        "activation-explodes",
        "10",
        (1e3, 1e7),
    ),
    "weights of .001": (
        lambda: _with(lambda m: [each.weight.normal_(0, 1e-3) for each in m if hasattr(each, "weight")]),
        "activation-vanishes",
        "4",
        (0, 1e-6),
    ),
    "biases of -9": (lambda: _with(lambda m: m[0].bias.fill_(-9)), "dead-relu", "1", (0.8, 1)),
    "tanh of 40": (
        lambda: _with(lambda m: m[0].weight.mul_(40), act=nn.Tanh),
        "saturated",
        "1",
        (0.8, 1),
    ),
    "sigmoids": (lambda: perceptron(10, act=nn.Sigmoid), "gradient-vanishes", "0", (0, 1e-4)),
    "3 × Kaiming": (
        lambda: _with(lambda m: [each.weight.mul_(3) for each in m if hasattr(each, "weight")], depth=8),
        "gradient-explodes",
        "0",
        (1e2, 1e6),
    ),
    "equal rows": (
        lambda: _with(lambda m: m[2].weight.copy_(m[2].weight[:1].expand_as(m[2].weight))),
        "symmetric-units",
        "2.weight",
        (1, 1),
    ),
    "a NaN": (
        lambda: _with(lambda m: m[2].weight[0, 0].fill_(math.nan)),
        "nonfinite-weight",
        "2.weight",
        (1, 1),
    ),
    "an input of no use": (
        lambda: _with(lambda m: [m[0].weight.zero_(), m[0].bias.fill_(1)]),
        "input-lost",
        "0",
        (0, 1e-3),
    ),
    "two zeros": (
        lambda: _with(lambda m: [m[2].weight.zero_(), m[4].weight.zero_()]),
        "dead-parameter",
        "0.weight",
        (6, 8),
    ),
    "a zero head": (lambda: _with(lambda m: m[-1].weight.zero_()), "starts-later", "0.weight", (6, 7)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_has_its_code(name: str) -> None:
    build, code, where, (low, high) = BROKEN[name]
    finding = _found(initcfg.diagnose(build(), classes(), lr=1e-3, steps=0), code)
    assert finding.level == CHECKS[code].level
    assert finding.where == where
    assert finding.measured is not None and low <= finding.measured <= high, finding.measured
    assert finding.why == CHECKS[code].why and finding.healthy == CHECKS[code].healthy


def test_a_layer_that_is_not_called() -> None:
    model = perceptron()
    model.append(nn.Identity())
    model[-1].register_parameter("idle", nn.Parameter(torch.ones(3)))
    finding = _found(initcfg.diagnose(model, classes(), steps=0), "unused-parameter")
    assert (finding.where, finding.measured, finding.level) == ("7.idle", 1, "warning")


@pytest.mark.parametrize("factor", [60, 6000])
def test_sharp_heads(factor: float) -> None:
    """Also those whose other weights are 0 exactly."""
    model = _changed(Language(), lambda name, each: each.mul_(factor) if "qkv" in name else None)
    finding = _found(initcfg.diagnose(model, tokens(), steps=0), "attention-collapsed")
    assert finding.measured is not None and finding.measured < 0.2
    assert finding.tensors == (f"{finding.where}.qkv.weight",)


def test_sharp_heads_of_modules_of_torch() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=True)
    model = nn.Sequential(nn.Embedding(50, 32), nn.TransformerEncoder(layer, 2), nn.Linear(32, 50))
    ids = torch.randint(0, 50, (8, 12))
    quiet = initcfg.diagnose(model, ids, steps=0)
    assert [len(each.entropies) for each in quiet.measures.attention] == [4, 4]
    assert min(min(each.entropies) for each in quiet.measures.attention) > 0.8
    _changed(model, lambda name, each: each.mul_(40) if "in_proj_weight" in name else None)
    finding = _found(initcfg.diagnose(model, ids, steps=0), "attention-collapsed")
    assert finding.tensors == (f"{finding.where}.in_proj_weight",)


def test_what_every_head_sees_is_a_row() -> None:
    measures = initcfg.diagnose(Language(), tokens()).measures
    assert [len(each.entropies) for each in measures.attention] == [4] * 4
    assert min(min(each.entropies) for each in measures.attention) > 0.99
    assert [each.name for each in measures.blocks] == [f"blocks.{place}" for place in range(4)]
    assert [each.lr for each in measures.probe] == pytest.approx([1e-3 / 3, 1e-3, 3e-3])
    assert all(len(each.losses) == 9 for each in measures.probe)


@pytest.mark.parametrize("norms", [True, False])
def test_a_stream_that_grows_is_a_warning_where_no_norm_reads_it(norms: bool) -> None:
    model = Language(norms=norms)
    _changed(
        model, lambda name, each: each.mul_(200 if norms else 15) if "down" in name or "up" in name else None
    )
    finding = _found(initcfg.diagnose(model, tokens(), steps=0), "stream-grows")
    assert finding.measured is not None and finding.measured > 30
    assert finding.level == ("info" if norms else "warning")
    assert finding.tensors[0].endswith(("down.weight", "up.weight"))


def test_a_padding_row_that_enters_norms_is_named() -> None:
    """The norms on branches multiply the gradient of zeros by 1/√ε each; the loss shows nothing of it."""
    clean = initcfg.diagnose(Language(padding=0, after=True), tokens(), steps=0)
    assert "zero-into-norm" not in {each.code for each in clean.findings}
    diagnosis = initcfg.diagnose(Language(padding=0, after=True), tokens(0).clamp(0, 9), steps=0)
    finding = _found(diagnosis, "zero-into-norm")
    assert finding.level == "warning" and "row 0 of embed.weight" in finding.text
    assert finding.tensors == ("embed.weight",)
    assert diagnosis.measures.numbers["loss"] < 6


def test_what_depends_on_a_learning_rate_that_nobody_gave_is_information() -> None:
    for lr, level in ((None, "info"), (1e-3, "warning")):
        model = _with(lambda m: [each.weight.mul_(1e-2) for each in m if hasattr(each, "weight")])
        assert _found(initcfg.diagnose(model, classes(), lr=lr, steps=0), "update-too-large").level == level


@pytest.mark.parametrize(
    "lr, codes", [(1.0, {"update-too-large", "probe-diverges"}), (1e-8, {"update-too-small", "probe-stalls"})]
)
def test_learning_rates(lr: float, codes: set[str]) -> None:
    diagnosis = initcfg.diagnose(perceptron(), classes(), lr=lr)
    assert {each.code for each in diagnosis.warnings} == codes
    assert diagnosis.lr_given and diagnosis.lr == lr


def test_input_and_class_frequencies() -> None:
    inputs, labels = classes()
    diagnosis = initcfg.diagnose(perceptron(), (inputs * 50 + 128, labels.clamp(max=1)), steps=0)
    scale, prior = _found(diagnosis, "input-scale"), _found(diagnosis, "class-prior")
    assert scale.measured == pytest.approx(50, rel=0.05)
    entropy = -(7 / 8 * math.log(7 / 8) + 1 / 8 * math.log(1 / 8))
    assert prior.measured == pytest.approx(math.log(8) - entropy, abs=1e-3)


@pytest.mark.parametrize("kind, factor, share", [("GRU", 12.0, 0.5), ("LSTM", 20.0, 0.5), ("RNN", 12.0, 0.5)])
def test_gates_inside_of_recurrent_layers(kind: str, factor: float, share: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(50, 32), getattr(nn, kind)(32, 32, 2, batch_first=True))
    model.append(_First())
    model.append(nn.Linear(32, 50))
    ids = torch.randint(0, 50, (16, 12))
    quiet = initcfg.diagnose(model, ids, steps=0)
    assert "saturated" not in {each.code for each in quiet.findings}
    _changed(model[1], lambda _, each: each.mul_(factor))
    finding = _found(initcfg.diagnose(model, ids, steps=0), "saturated")
    assert finding.measured is not None and finding.measured > share
    assert finding.where == "1" and finding.tensors[0].startswith("1.weight_ih_l")


class _First(nn.Module):
    def forward(self, both: Any) -> torch.Tensor:
        return both[0]


def test_gates_are_those_of_torch() -> None:
    from initcfg._diagnose.measuring.recurrent import _layer

    torch.manual_seed(0)
    for kind in (nn.GRU, nn.LSTM, nn.RNN):
        cells = kind(5, 7)
        signal = torch.randn(6, 3, 5)
        output, _ = _layer(cells, signal, "_l0")
        assert torch.allclose(output, cells(signal)[0], atol=1e-6)


def test_half_precision() -> None:
    model = _with(lambda m: m[0].weight.mul_(3e4))
    finding = _found(initcfg.diagnose(model, classes(), dtype="float16", steps=0), "fp16-overflow")
    assert finding.measured is not None and finding.measured > 8192
    assert finding.tensors == ("0.weight",)
    stored = perceptron().bfloat16()
    inputs, labels = classes()
    diagnosis = initcfg.diagnose(stored, (inputs.bfloat16(), labels), lr=1e-5, steps=1)
    finding = _found(diagnosis, "bf16-no-update")
    assert finding.measured == 1.0 and diagnosis.dtype == "bfloat16"
    healthy = initcfg.diagnose(perceptron(), classes(), dtype="bfloat16", lr=1e-3)
    assert healthy.ok and healthy.dtype == "bfloat16"


def test_within_autocast_what_is_not_finite_is_found() -> None:
    model = _with(lambda m: m[2].weight.fill_(1e38))
    with torch.autocast("cpu", torch.bfloat16):
        diagnosis = initcfg.diagnose(model, classes())
    finding = _found(diagnosis, "nonfinite-activation")
    assert finding.level == "error" and finding.where in ("2", "4")
