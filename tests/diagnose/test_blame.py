"""Findings and tensors name the rule that gave the weights, where it is written, and a rule that helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diagnosed_models import Language, classes, perceptron, tokens
from torch import nn

import initcfg
from initcfg import Diagnosis, Finding


def _found(diagnosis: Diagnosis, code: str) -> Finding:
    return next(each for each in diagnosis.findings if each.code == code)


class Ruled(initcfg.BaseModule):
    """A model with rules of its own."""

    def __init__(self, std: float) -> None:
        super().__init__(
            [
                dict(type="Kaiming", layer="Linear"),
                dict(type="Normal", param="head.weight", std=std),
            ]
        )
        self.body, self.norm, self.head = nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.body(x)).relu())


def test_a_finding_names_the_rule_and_its_line() -> None:
    model = Ruled(std=2.0)
    initcfg.init_weights(model, seed=0)
    diagnosis = initcfg.diagnose(model, classes(), steps=0)
    finding = _found(diagnosis, "initial-loss")
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), 1)
        if "super().__init__(" in text
    )
    assert finding.rule == "model.init_cfg[1]"
    assert finding.source is not None and finding.source.startswith("test_blame.py:")
    assert abs(int(finding.source.partition(":")[2]) - line) <= 6
    assert finding.value == "Normal(mean=0, std=2)" and finding.tensors == ("head.weight",)
    assert "model.init_cfg[1] (test_blame.py:" in str(finding)


def test_every_tensor_has_its_origin() -> None:
    """Rules, and for what they do not reach the constructors of torch's layers."""
    model = Ruled(std=0.1)
    initcfg.init_weights(model, seed=0)
    told = {
        each.name: (each.rule, each.value)
        for each in initcfg.diagnose(model, classes(), steps=0).measures.tensors
    }
    assert told["body.bias"] == ("model.init_cfg[0]", "Constant(0)")
    assert told["norm.weight"] == ("LayerNorm.reset_parameters", "Constant(1)")
    assert all(rule for rule, _ in told.values()) and len(told) == 6


def test_of_a_built_model_the_plan_is_known() -> None:
    cfg = dict(type="Linear", in_features=16, out_features=8)
    model = initcfg.build(cfg, seed=0)
    diagnosis = initcfg.diagnose(model, classes(), steps=0)
    assert diagnosis.plan is not None
    for each in diagnosis.measures.tensors:
        assert (each.rule, each.value) == ("Linear.reset_parameters", "Uniform(a=-0.25, b=0.25)")


def test_of_traced_code_file_and_line_are_named() -> None:
    def build() -> nn.Module:
        made = perceptron()
        nn.init.normal_(made[-1].weight, 0, 3)
        return made

    plan = initcfg.trace(build)
    model = build()
    diagnosis = initcfg.diagnose(model, classes(), plan=plan, steps=0)
    assert all(each.source for each in diagnosis.measures.tensors)
    finding = _found(diagnosis, "initial-loss")
    assert finding.source is not None and finding.source.startswith("test_blame.py:")
    assert finding.value == "Normal(mean=0, std=3)"


def test_rules_given_to_a_call_are_remembered() -> None:
    model = perceptron()
    initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=1.0), seed=0)
    finding = _found(initcfg.diagnose(model, classes(), steps=0), "initial-loss")
    assert (finding.rule, finding.value) == ("init_cfg", "Normal(mean=0, std=1)")


def test_weights_that_have_changed_since_are_said_to_have() -> None:
    model = perceptron()
    initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=0.05), seed=0)
    with torch.no_grad():
        model[-1].weight.mul_(5000)
    finding = _found(initcfg.diagnose(model, classes(), steps=0), "initial-loss")
    assert finding.value is not None and "something has changed it since (RMS " in finding.value


def _large() -> nn.Module:
    model = perceptron(8)
    initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=1.0), seed=0)
    return model


def _constant() -> nn.Module:
    model = perceptron()
    initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=0.01), seed=0)
    return model


def _zeros() -> nn.Module:
    model = Language()
    rules = [dict(type="Constant", param=["*.qkv.weight", "*.proj.weight"], val=0)]
    initcfg.init_weights(model, rules, seed=0)
    return model


def _sharp() -> nn.Module:
    model = Language()
    initcfg.init_weights(model, dict(type="Normal", param="*.qkv.weight", std=3.0), seed=0)
    return model


@pytest.mark.parametrize(
    ("build", "batch", "code"),
    [
        (_large, classes(), "initial-loss"),
        (_large, classes(), "activation-explodes"),
        (_large, classes(), "gradient-explodes"),
        (_constant, classes(), "symmetric-units"),
        (_zeros, tokens(), "dead-parameter"),
        (_sharp, tokens(), "attention-collapsed"),
    ],
)
def test_the_rule_that_is_told_removes_the_finding(build: Any, batch: Any, code: str) -> None:
    model = build()
    finding = _found(initcfg.diagnose(model, batch, steps=0), code)
    assert finding.mend is not None and finding.rule is not None
    before = {name: each.clone() for name, each in model.named_parameters()}
    initcfg.init_weights(model, [dict(finding.mend)], seed=0)
    for name, each in model.named_parameters():
        assert torch.equal(each, before[name]) == (name not in finding.mend["param"]), name
    assert code not in {each.code for each in initcfg.diagnose(model, batch, steps=0).findings}
