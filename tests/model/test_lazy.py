"""Lazy layers: a good message wherever they are in the way, and left alone where they are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from own_models import run
from torch import nn

import initcfg
from initcfg.errors import LazyParameterError

NORMAL = dict(type="Normal", std=0.1)


def half_lazy() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(2), nn.LazyBatchNorm1d())


def deferred() -> nn.Module:
    with initcfg.deferred():
        return half_lazy()


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return half_lazy()


class Based(initcfg.BaseModule):
    def __init__(self, rule: Any) -> None:
        super().__init__(rule)
        self.a, self.b = nn.Linear(4, 4), nn.LazyLinear(3)


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (deferred, "2.running_mean"),
        (lambda: initcfg.build(dict(type="torch.nn:LazyLinear", out_features=3)), "weight"),
        (lambda: initcfg.trace(half_lazy), "1.weight"),
        (lambda: initcfg.trace(lambda model: nn.init.zeros_(model[0].weight), half_lazy()), "1.weight"),
        (lambda: initcfg.plan(half_lazy()), "1.weight"),
        (lambda: initcfg.materialize(half_lazy(), dict(NORMAL, name="0")), "1.weight"),
        (lambda: initcfg.materialize(on_meta(), dict(NORMAL, name="0")), "1.weight"),
        (lambda: initcfg.normal_init(nn.LazyLinear(3)), None),
    ],
)
def test_where_a_shape_is_needed(call: Callable[[], Any], parameter: str | None) -> None:
    with pytest.raises(LazyParameterError, match="Run one batch") as found:
        call()
    assert found.value.parameter == parameter


@pytest.mark.parametrize(
    ("rule", "parameter"),
    [
        (dict(layer="Linear"), "1.weight"),
        (dict(layer="LazyLinear"), "1.weight"),
        # What the layer becomes with its first batch is what is meant.
        (dict(layer="BatchNorm1d"), "2.weight"),
        (dict(name="1"), "1.weight"),
        (dict(param="*.bias"), "1.bias"),
        (dict(buffer="2.running_*"), "2.running_mean"),
        (dict(override=dict(name="1")), "1.weight"),
    ],
    ids=str,
)
def test_a_rule_that_means_a_lazy_tensor(rule: dict[str, Any], parameter: str) -> None:
    for call in (initcfg.plan, initcfg.init_weights):
        with pytest.raises(LazyParameterError, match="Run one batch") as found:
            call(half_lazy(), dict(NORMAL, **rule))
        assert found.value.parameter == parameter
        assert found.value.where.startswith("init_cfg")


@pytest.mark.parametrize("rule", [dict(name="0"), dict(layer="Linear", exclude="1")], ids=str)
def test_a_rule_that_does_not(rule: dict[str, Any]) -> None:
    model = half_lazy()
    plan = initcfg.plan(model, dict(NORMAL, **rule), strict=True)
    assert list(plan) == ["0.weight", "0.bias"]
    assert any(note.startswith("1.weight, 1.bias, 2.weight, 2.bias and 2 more: lazy") for note in plan.notes)
    ledger = initcfg.Plan.from_json(plan.to_json()).apply(model, seed=0)
    assert list(ledger) == ["0.weight", "0.bias"]
    alone = nn.Linear(4, 4)
    initcfg.init_weights(nn.Sequential(alone), dict(NORMAL, name="0"), seed=0)
    assert torch.equal(model[0].weight, alone.weight)
    # Its own first batch fills the rest.
    assert model(torch.zeros(3, 4)).shape == (3, 2)
    assert isinstance(model[2], nn.BatchNorm1d)


def test_an_init_cfg_that_does_not() -> None:
    model = Based(dict(type="Constant", val=2.0, name="a"))
    model.init_weights()
    assert model.a.weight.unique().tolist() == [2.0]
    with pytest.raises(LazyParameterError):
        Based(dict(type="Constant", val=2.0, layer="Linear")).init_weights()


@pytest.mark.parametrize(
    "words", [["plan"], ["init", "-o", "w.pth"], ["trace"], ["explain", "1.weight"]], ids=str
)
def test_the_command_refuses_without_a_traceback(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lazy_model.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(2))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    done = run(words[0], "lazy_model:net", *words[1:])
    assert done.exit_code == 2
    assert "A lazy module has no shape" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".pth", ".json")] == []
