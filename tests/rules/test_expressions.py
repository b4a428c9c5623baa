"""Regular expressions of rules: those that may take forever are refused before they are tried."""

from __future__ import annotations

import time

import pytest
from torch import nn

import initcfg
from initcfg._rules import expressions
from initcfg._rules.expressions import Endless, compiled
from initcfg.errors import PatternError


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+b", "(a*)*b", "(a|a)*b", "(a|aa)+b", "(a?a?)*b", "(.*a)*b", "(x+x+)+y", "(a?){30}a{30}",
        "([a-z]+)*b", "(.*)(.*)(.*)(.*)b", r"(\w+\.?)+!", "((a{1,3})+)+b", "(" * 3000 + ")" * 3000,
        "(a+){50}b",
    ],
)  # fmt: skip
def test_refused(text: str):
    start = time.perf_counter()
    with pytest.raises(Endless):
        compiled(text)
    with pytest.raises(PatternError, match="may take forever"):
        initcfg.plan(nn.Linear(1, 1), dict(type="Constant", val=0, param="re:" + text))
    with pytest.raises(PatternError, match="is not valid"):
        initcfg.plan(nn.Linear(1, 1), dict(type="Pretrained", checkpoint="x", rename={text: ""}))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (r"layers\.\d+\..*weight", "layers.3.fc.weight"),
        (r"(layers\.\d+\.)+weight", "layers.0.layers.1.weight"),
        (r"(?!head).*\.(weight|bias)", "body.fc.bias"),
        (r"(?i)FC\d*\.weight", "fc1.weight"),
        (r"(\w+)\.\1\.weight", "a.a.weight"),
        (r"(?:q|k|v)_proj(?:\.bias)?", "q_proj.bias"),
        (r".*attn.*\.(weight|bias)", "x.attn.y.weight"),
    ],
)
def test_taken(text: str, name: str):
    assert compiled(text).fullmatch(name)
    assert not compiled(text).fullmatch("!" + "a.1" * 60)


def test_wildcards_take_linear_time():
    start = time.perf_counter()
    with pytest.raises(PatternError, match="matches nothing"):
        initcfg.plan(
            nn.ModuleDict({"a" * 2000: nn.Linear(1, 1)}), dict(type="Constant", val=0, param="*a" * 30 + "b")
        )
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("text", "longest"),
    [(".*a.*b", 20_000), (".*a.*b.*c", 1_000), ("(?:x|y)?.*a.*b", 15_000)],
)
def test_the_work_on_one_name_is_bounded(text: str, longest: int):
    expression = compiled(text)
    start = time.perf_counter()
    assert expression.fullmatch("a" * (longest // 10)) is None
    with pytest.raises(PatternError, match=r"may take forever on a name of [\d,]+ characters"):
        expression.fullmatch("a" * (2 * longest))
    assert time.perf_counter() - start < 5


def test_the_time_for_all_names_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(expressions, "_MOST_SECONDS", 0.05)
    model = nn.ModuleDict({"a" * 200 + str(number): nn.Linear(1, 1) for number in range(200)})
    with pytest.raises(PatternError, match="has taken 0 s on names"):
        initcfg.plan(model, dict(type="Constant", val=0, param="re:.*a.*a.*b"))


def test_a_rename_makes_no_endless_names():
    state = {"a" * 100 + ".weight": nn.Linear(1, 1).weight.detach()}
    rename = [("(.+)", r"\1\1")] * 40
    start = time.perf_counter()
    with pytest.raises(PatternError, match="makes a name of"):
        initcfg.plan(nn.Linear(1, 1), dict(type="Pretrained", checkpoint=state, rename=rename))
    assert time.perf_counter() - start < 5
