"""The Chinese page of broken models: nothing on it is English but names, code and numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from diagnosed_models import Language, classes, perceptron, tokens
from html_check import read_page
from made_diagnoses import made
from page_language import english_on
from torch import nn

import initcfg
from initcfg import Diagnosis, DiagnosisComparison
from initcfg._diagnose.sentences import SENTENCES, say


def _changed(model: nn.Module, pattern: str, change: Callable[[torch.Tensor], Any]) -> nn.Module:
    with torch.no_grad():
        for name, each in model.named_parameters():
            if re.search(pattern, name):
                change(each)
    return model


class Divided(nn.Module):
    """A division by a parameter that is zero."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.scale = nn.Linear(16, 8), nn.Parameter(torch.zeros(1))
        self.unused = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) / self.scale


class Forgetful(nn.Module):
    """A layer that is not called, and a tied head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.lost = nn.Embedding(100, 32), nn.Linear(32, 32)
        self.head = nn.Linear(32, 100, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(ids))


def _nan_batch() -> Any:
    inputs, targets = classes()
    inputs[0, 0] = torch.nan
    return inputs, targets


def _pixels() -> Any:
    inputs, _ = classes()
    return inputs * 50 + 128, torch.zeros(64, dtype=torch.int64).index_fill(0, torch.tensor([3]), 1)


BROKEN: dict[str, tuple[Callable[[], nn.Module], Any, dict[str, Any], set[str]]] = {
    "too large": (
        lambda: _changed(perceptron(6, act=nn.Tanh), "weight", lambda each: each.mul_(40)),
        classes,
        {"lr": 1.0},
        {"initial-loss", "saturated"},
    ),
    "explodes": (
        lambda: _changed(perceptron(8), "weight", lambda each: each.mul_(9)),
        classes,
        {},
        {"activation-explodes", "gradient-norm"},
    ),
    "vanishes": (
        lambda: _changed(perceptron(8), "weight", lambda each: each.mul_(0.01)),
        classes,
        {"lr": 1e-8},
        {"activation-vanishes", "probe-stalls"},
    ),
    "dead": (
        lambda: _changed(perceptron(), r"^\d\.bias", lambda each: each.fill_(-9)),
        classes,
        {},
        {"dead-relu", "dead-parameter"},
    ),
    "alike": (
        lambda: _changed(perceptron(), "weight", lambda each: each.fill_(0.1)),
        classes,
        {},
        {"symmetric-units"},
    ),
    "NaN": (
        lambda: _changed(perceptron(), "2.weight", lambda each: each[0].fill_(math.nan)),
        classes,
        {},
        {"nonfinite-weight", "nonfinite-activation"},
    ),
    "divided": (Divided, classes, {}, {"nonfinite-activation"}),
    "batch": (perceptron, _nan_batch, {}, {"nonfinite-input"}),
    "pixels": (perceptron, _pixels, {}, {"input-scale", "class-prior"}),
    "float16": (
        lambda: _changed(perceptron(), "0.weight", lambda each: each.mul_(3e4)),
        classes,
        {"dtype": "float16"},
        {"fp16-overflow"},
    ),
    "bfloat16": (
        lambda: perceptron().bfloat16(),
        lambda: (classes()[0].bfloat16(), classes()[1]),
        {"lr": 1e-5},
        {"bf16-no-update"},
    ),
    "stream": (
        lambda: _changed(Language(), "down|up", lambda each: each.mul_(200)),
        tokens,
        {},
        {"stream-grows"},
    ),
    "padding": (
        lambda: Language(padding=0, after=True),
        lambda: tokens(0).clamp(0, 9),
        {},
        {"zero-into-norm"},
    ),
    "sharp": (
        lambda: _changed(Language(), "qkv", lambda each: each.mul_(60)),
        tokens,
        {},
        {"attention-collapsed"},
    ),
    "later": (
        lambda: _changed(Language(), "proj|down", lambda each: each.zero_()),
        tokens,
        {},
        {"starts-later"},
    ),
    "tied": (Forgetful, None, {}, {"unused-parameter", "initial-loss"}),
}


def _diagnosed(name: str, steps: int = 2) -> Diagnosis:
    build, batch, options, _ = BROKEN[name]
    given = None if batch is None else batch()
    return initcfg.diagnose(build(), given, **{"steps": steps, **options})


@pytest.mark.parametrize("name", BROKEN)
def test_a_page_of_a_broken_model_is_chinese(name: str) -> None:
    found = _diagnosed(name)
    assert BROKEN[name][3] <= {each.code for each in found.findings}
    assert english_on(found.to_html(lang="zh")) == []
    # The measure measures: the English page is full of it.
    assert len(english_on(found.to_html())) > 10


def test_a_value_that_was_changed_since_its_rule_is_said_in_chinese() -> None:
    model = perceptron()
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.3))
    plan.apply(model, seed=0)
    _changed(model, "weight", lambda each: each.mul_(20))
    found = initcfg.diagnose(model, classes(), plan=plan, steps=1)
    assert any("something has changed it since" in (each.value or "") for each in found.findings)
    page = found.to_html(lang="zh")
    assert "之后又被改动" in page and english_on(page) == []


def test_two_side_by_side_are_chinese() -> None:
    model = perceptron()
    one, other = (initcfg.plan(model, dict(type="Normal", layer="Linear", std=std)) for std in (2, 0.1))
    one.apply(model, seed=0)
    found = initcfg.diagnose(model, classes(), plan=one, against=other, steps=2, seeds=2)
    assert isinstance(found, DiagnosisComparison) and found.here.findings
    page = found.to_html(lang="zh")
    assert english_on(page) == []
    assert "当前方案" in page and "对照方案" in page and ">here<" not in page
    assert ">here<" in found.to_html()


@pytest.mark.parametrize("key", SENTENCES)
def test_every_sentence_comes_onto_the_page(key: str) -> None:
    said = say(key, **dict.fromkeys(re.findall(r"\{(\w+)\}", SENTENCES[key][0]), "x1"))
    english = SENTENCES[key][0].partition("|")[0][:12].partition("{")[0]
    new = replace(made().findings[0], said=(said,), remedy=said, text="It is English.", fix="Mend it.")
    page = replace(made(), findings=(new,), batch="the batch given (3 float32)").to_html(lang="zh")
    texts = read_page(page).texts
    chinese = re.sub(r"\{\w+\}", "x1", SENTENCES[key][1])
    assert texts.count(chinese) == 2
    assert english_on(page) == [] and not any(english and each.startswith(english) for each in texts)


def test_a_diagnosis_from_json_is_as_chinese() -> None:
    found = _diagnosed("padding")
    again = Diagnosis.from_json(found.to_json())
    assert again.to_html(lang="zh") == found.to_html(lang="zh")
    assert again.findings[0].said[0].key in SENTENCES


def test_a_diagnosis_from_before_sentences_had_keys_is_read_and_shown() -> None:
    data = _diagnosed("padding").to_json()
    for each in data["findings"]:
        del each["said"], each["remedy"]
    old = Diagnosis.from_json(data)
    page = old.to_html(lang="zh")
    assert all(f'<p lang="en">{each.text}' in page.replace("&#x27;", "'") for each in old.findings)
