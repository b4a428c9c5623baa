"""The printed plan: one line a parameter at 80 columns, and one look for what no rule reaches."""

from __future__ import annotations

import pytest
from torch import nn

import initcfg


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {f"stage_with_a_long_name_{at}": nn.Conv2d(3, 3, 3) for at in ("first", "second")}
        )
        self.head = nn.Linear(3, 3)


RULES = [
    dict(type="TruncNormal", layer="Conv2d", std=0.02, a=-0.04, b=0.04),
    dict(type="Normal", name="head", std=0.01),
]


def printed(monkeypatch, columns: int, *, built: bool = True) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    if built:
        model = Deep()
    else:
        with initcfg.deferred():
            model = Deep()
    return str(initcfg.plan(model, RULES[:1])).splitlines()


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_one_line_a_parameter(monkeypatch, columns: int) -> None:
    lines = printed(monkeypatch, columns)
    assert max(map(len, lines)) <= columns
    rows = lines[1:7]
    assert [row.split()[0][:4] for row in rows] == ["back"] * 4 + ["head"] * 2
    assert all("3×3×3×3  TruncNormal(" in row for row in rows[:4:2])
    assert rows[0].split()[0].endswith("first.weight") and rows[1].split()[0].endswith(".bias")
    whole = columns == 160
    assert ("…" in rows[0]) is not whole
    assert any(line.startswith("Shortened to fit") for line in lines) is not whole
    assert rows[4].endswith("default") and "keeps its constructor's value" in rows[4]


def test_two_lines_where_there_is_too_little_room(monkeypatch) -> None:
    lines = printed(monkeypatch, 60)
    assert lines[0] == "backbone.stage_with_a_long_name_first.weight  3×3×3×3"
    assert lines[1].strip().startswith("TruncNormal(mean=0, std=0.02")


def test_what_no_rule_reaches_is_the_default_however_it_was_built(monkeypatch) -> None:
    for built in (True, False):
        lines = printed(monkeypatch, 160, built=built)
        assert lines[-1] == "6 parameters, 180 elements: 4 by 1 rule, 2 by default."
    assert lines[5].endswith("default (Linear.reset_parameters)")


def test_what_is_said_names_no_other_system(monkeypatch) -> None:
    class Own(initcfg.BaseModule):
        def __init__(self, init_cfg=None) -> None:
            super().__init__(init_cfg)
            self.fc = nn.Linear(2, 2)

    class Coded(Own):
        def init_weights(self) -> None:
            nn.init.zeros_(self.fc.weight)

    class Outer(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList([Own(dict(type="Constant", layer="Linear", val=1)), Coded()])

    plan = initcfg.plan(Outer())
    text = str(plan)
    assert "reached      the init_cfg of heads.0, though what holds it is no BaseModule" in text
    assert "not called   heads.1.init_weights(), since what holds it is no BaseModule" in text
    assert "MMEngine" not in text + plan.explain("heads.0.fc.weight") + plan.explain("heads.1.fc.weight")


def test_a_module_that_is_taken_for_a_parameter_leads_to_its_parameters():
    plan = initcfg.plan(nn.Sequential(nn.Linear(2, 2)), dict(type="Normal", layer="Linear"))
    with pytest.raises(initcfg.errors.PlanError, match="'0' is a module, and no parameter") as told:
        plan.explain("0")
    assert list(told.value.meant) == ["0.weight", "0.bias"]
