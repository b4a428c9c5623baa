# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
"""Rules that Python code gives say where they stand: the line of the rule, or that of the call."""

from __future__ import annotations

import copy
import gc
import json
import linecache
import pickle
import sys
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg import errors

_HEAD = "import initcfg\nfrom torch import nn\nmodel = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))\n"


def _written(plan: Any) -> dict[str, str | None]:
    return {where: note.written for where, note in plan.rules.items()}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a script of a person's."""

    def run(text: str, name: str = "net.py") -> dict[str, Any]:
        file = tmp_path / name
        file.write_text(_HEAD + text, encoding="utf-8")
        space: dict[str, Any] = {"__name__": "net"}
        exec(compile(file.read_bytes(), str(file), "exec"), space)
        return space

    return run


# Each begins at line 4; what the two rules of the plan say.
CALLS = {
    "a list in the call": (
        """plan = initcfg.plan(model, [
    dict(type="Normal", layer="Linear", std=0.1),

    dict(type="Constant", param="0.bias",
         val=-1),
])
""",
        ("net.py:5", "net.py:7"),
    ),
    "a literal with other words": (
        """plan = initcfg.plan(model=model,
    init_cfg=(
        {"type": "Normal", "layer": ["Linear"],
         "std": 2 / 3},
        {"type": "Normal", "layer": "Linear", "std": -0.0 + 1},
    ))
""",
        ("net.py:6", "net.py:8"),
    ),
    "a name": (
        """rules = [
    dict(type="Normal", layer="Linear"),
    dict(type="Constant", param="0.bias", val=1)]
other = [dict(type="Normal", layer="Linear")]
def go():
    return initcfg.plan(model, rules)
plan = go()
""",
        ("net.py:5", "net.py:6"),
    ),
    "a name that was set twice": (
        """def go(rules):
    rules = [dict(type="Normal", layer="Linear"), dict(type="Normal", layer="Linear")]
    if rules:
        rules = [dict(type="Normal", layer="Linear"), dict(type="Normal", layer="Linear")]
    return initcfg.plan(
        model, rules)
plan = go(None)
""",
        ("net.py:8", "net.py:8"),
    ),
    "a list that was changed": (
        """rules = [dict(type="Normal", layer="Linear", std=1), dict(type="Normal", layer="Linear")]
rules[0]["std"] = 2
plan = initcfg.plan(model, rules)
""",
        ("net.py:6", "net.py:6"),
    ),
    "what somebody handed on": (
        """def go(rules):
    return initcfg.plan(model, rules)
rules = None
plan = go([dict(type="Normal", layer="Linear"), dict(type="Normal", layer="Linear")])
""",
        ("net.py:5", "net.py:5"),
    ),
    "a list that is made": (
        """plan = initcfg.plan(model, [dict(type="Normal", layer="Linear", std=std)
                            for std in (1, 2)])
""",
        ("net.py:4", "net.py:4"),
    ),
    "a call in a call": (
        """plan = dict(
    plan=initcfg.plan(
        model, [dict(type="Normal", layer="Linear"),
                dict(type="Normal", layer="Linear", std=3)]))["plan"]
""",
        ("net.py:6", "net.py:7"),
    ),
}


@pytest.mark.parametrize("text, lines", CALLS.values(), ids=CALLS)
def test_a_rule_in_a_call(run: Callable[..., Any], text: str, lines: tuple[str, str]) -> None:
    plan = run(text)["plan"]
    assert tuple(_written(plan).values()) == lines
    assert f"init_cfg[0] ({lines[0]})" in plan.explain("0.weight")
    assert plan.to_json()["rules"]["init_cfg[1]"]["written"] == lines[1]


def test_the_one_rule_of_a_call_and_its_overrides(run: Callable[..., Any]) -> None:
    plan = run(
        """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
plan = initcfg.plan(
    Net(),
    dict(
        type="Normal", layer="Linear",
        override=[
            dict(name="a"),
            dict(name="b", type="Constant", val=1)]))
"""
    )["plan"]
    assert _written(plan) == {
        "init_cfg": "net.py:10",
        "init_cfg.override[0]": "net.py:13",
        "init_cfg.override[1]": "net.py:14",
    }


@pytest.mark.parametrize("call", ["init_weights", "materialize", "initialize"])
def test_an_error_says_the_line(run: Callable[..., Any], call: str) -> None:
    with pytest.raises(errors.ArgumentError) as caught:
        run(f"""initcfg.{call}(
    model,
    [dict(type="Normal", layer="Linear"),
     dict(type="Normal", st=1)])
""")
    assert caught.value.where == "init_cfg[1] (net.py:7)"
    assert "where:        init_cfg[1] (net.py:7)" in str(caught.value)


# A library's module, and how a person's code, in another file, builds it; where its rule was written.
HANDED = {
    "the call": ("super().__init__(init_cfg)", "Head(dict(type='Normal', layer='Linear'))", "net.py:7"),
    "a keyword": ("super().__init__(init_cfg=init_cfg)", "Head(\n  init_cfg=rule)", "net.py:7"),
    "through two": ("super().__init__(init_cfg)", "Bigger(rule)", "net.py:7"),
    "its own": (
        "init_cfg = dict(type='Normal', layer='Linear', std=0.1) if init_cfg is None else init_cfg\n"
        "        super().__init__(init_cfg)",
        "Head()",
        "library.py:4",
    ),
    "made there": (
        "init_cfg = made()\n        super().__init__(init_cfg)",
        "Head(rule)",
        "library.py:5",
    ),
    "around": (
        "super().__init__(init_cfg)",
        "around(dict(type='Normal', layer='Linear'))()",
        "library.py:12",
    ),
    "within": ("super().__init__()\n        self.init_cfg = init_cfg", "Head(rule)", "library.py:3"),
}


@pytest.mark.parametrize("name", HANDED)
def test_rules_that_a_constructor_hands_on(run: Callable[..., Any], tmp_path: Path, name: str) -> None:
    constructor, call, place = HANDED[name]
    library = types.ModuleType("library")
    text = f"""import initcfg; from torch import nn; made = lambda: dict(type='Normal', layer='Linear')
class Head(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        {constructor}
        self.linear = nn.Linear(2, 2)
class Bigger(Head):
    def __init__(self, init_cfg=None, width=2):
        super().__init__(init_cfg=init_cfg)
def around(init_cfg):
    class Around(initcfg.BaseModule):
        def __init__(self):
            super().__init__(init_cfg)
            self.linear = nn.Linear(2, 2)
    return Around
"""
    (tmp_path / "library.py").write_text(text)
    exec(compile(text, str(tmp_path / "library.py"), "exec"), vars(library))
    space = "from library import Head, Bigger, around\n"
    sys.modules["library"] = library
    try:
        plan = run(f"{space}rule = dict(type='Normal', layer='Linear')\n\nplan = initcfg.plan({call})\n")[
            "plan"
        ]
    finally:
        del sys.modules["library"]
    assert _written(plan) == {"model.init_cfg": place}


def test_a_scheme_and_its_parts(run: Callable[..., Any]) -> None:
    plan = run(
        """plan = initcfg.plan(model, [
    dict(type="Normal", layer="Linear"),
    dict(type="TorchDefault"),
])
"""
    )["plan"]
    assert _written(plan)["init_cfg[0]"] == "net.py:5"
    assert {written for where, written in _written(plan).items() if where != "init_cfg[0]"} == {"net.py:6"}


def test_a_diagnosis_names_the_line(run: Callable[..., Any]) -> None:
    found = run(
        """rules = [
    dict(type="Normal", layer="Linear", std=40.0),
]
initcfg.init_weights(model, rules, seed=0)
one = initcfg.diagnose(model, steps=0)
two = initcfg.diagnose(model, steps=2, seeds=1, against=[
    dict(type="Normal", layer="Linear", std=0.5),
    dict(type="Normal", layer="Linear", std=60.0)])
"""
    )
    assert found["one"].warnings[0].source == "net.py:5"
    sources = {each.source for each in found["two"].there.findings} | {
        each.source for each in found["two"].here.findings
    }
    assert {"net.py:5", "net.py:11"} <= sources


CLASSES = {
    "set afterwards": ("super().__init__()\n        self.init_cfg = {}", "net.py:7"),
    "given above": ("super().__init__(init_cfg={})", "net.py:6"),
    "given above, by a name": ("init_cfg = init_cfg or {}\n        super().__init__(init_cfg)", "net.py:6"),
    "made, as far as anybody knows": (
        "super().__init__(init_cfg=[dict(each) for each in {}])",
        "net.py:6",
    ),
}


@pytest.mark.parametrize("text, line", CLASSES.values(), ids=CLASSES)
def test_a_rule_in_a_class(run: Callable[..., Any], text: str, line: str) -> None:
    rules = (
        '[\n\n            dict(type="Normal", layer="Linear"), dict(type="Constant", layer="Conv2d", val=0)]'
    )
    plan = run(
        f"""class Net(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        {text.format(rules)}
        self.a = nn.Linear(2, 2)
        self.b = initcfg.Sequential(nn.Linear(2, 2), init_cfg=dict(type="Normal", layer="Linear", std=3))
class Child(Net):
    pass
plan = initcfg.plan(Child())
""".replace("{}", rules)
    )["plan"]
    number = int(line.partition(":")[2]) + (0 if "for each" in text else 2)
    assert _written(plan)["model.init_cfg[0]"] == f"net.py:{number}"


def test_a_default_of_a_class(run: Callable[..., Any]) -> None:
    plan = run(
        """class Net(initcfg.BaseModule):
    def __init__(
        self,
        width=2,
        init_cfg=dict(type="Normal", layer="Linear"),
    ):
        super().__init__(init_cfg)
        self.a = nn.Linear(width, 2)
plan = initcfg.plan(Net())
other = initcfg.plan(Net(init_cfg=dict(type="Normal", layer="Linear", std=2)))
"""
    )
    assert _written(plan["plan"]) == {"model.init_cfg": "net.py:8"}
    assert _written(plan["other"]) == {"model.init_cfg": "net.py:13"}


def test_of_what_a_registry_builds_it_says_none_of_its_lines() -> None:
    model = initcfg.build(
        dict(type="initcfg.Sequential", init_cfg=dict(type="Normal", layer="Linear")), init=False
    )
    model.append(nn.Linear(2, 2))
    places = _written(initcfg.plan(model)).values()
    assert not any("models.py" in str(each) or "registry.py" in str(each) for each in places), places


def test_places_make_no_other_plan(run: Callable[..., Any]) -> None:
    one = run('plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))')["plan"]
    other = run('\n\nplan = initcfg.plan(model, dict(type="Normal", layer="Linear"))', "other.py")["plan"]
    assert one == other and one.digest == other.digest and not one.diff(other)
    assert one.rules == other.rules and _written(one) != _written(other)
    for again in (
        pickle.loads(pickle.dumps(one.rules)),
        copy.deepcopy(one.rules),
        initcfg.Plan.from_json(json.loads(json.dumps(one.to_json()))).rules,
    ):
        assert {where: note.written for where, note in again.items()} == _written(one)


@pytest.mark.parametrize("file", ["<stdin>", "<string>", "<python-input-0>"])
def test_of_what_was_typed_nothing_is_said(file: str) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(
        compile(_HEAD + 'plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))', file, "exec"),
        space,
    )
    assert _written(space["plan"]) == {"init_cfg": None}


def test_a_cell_of_a_notebook_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    file = "/tmp/ipykernel_12/3456789.py"
    text = _HEAD + 'plan = initcfg.plan(model, [\n    dict(type="Normal", layer="Linear"),\n])'

    def cell() -> Any:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, file, "exec"), space)
        return space["plan"]

    assert _written(cell()) == {"init_cfg[0]": None}
    names = {file: ("Cell", "In[7]")}
    shell = types.SimpleNamespace(compile=types.SimpleNamespace(format_code_name=names.get))
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(linecache.cache, file, (len(text), None, text.splitlines(keepends=True), file))
    assert _written(cell()) == {"init_cfg[0]": "In[7]:5"}


def test_source_that_is_gone_or_another_leaves_the_call(tmp_path: Path) -> None:
    text = _HEAD + 'plan = initcfg.plan(model, [\n    dict(type="Normal", layer="Linear"),\n])\n'
    for now in (None, "x = (", text.replace("Normal", "Uniform"), "\0", text[:80]):
        file = tmp_path / "net.py"
        file.write_text(text, encoding="utf-8")
        space: dict[str, Any] = {"__name__": "net"}
        exec(compile(text, str(file), "exec"), space)
        file.unlink() if now is None else file.write_text(now, encoding="utf-8")
        linecache.checkcache(str(file))
        assert _written(space["plan"]) == {"init_cfg[0]": "net.py:4"}, now


def test_nothing_is_read_until_somebody_asks(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    lines = types.SimpleNamespace(getlines=lambda file: (read.append(file), linecache.getlines(file))[1])
    monkeypatch.setattr("initcfg._rules.literals.linecache", lines)
    space = run(
        'rules = [dict(type="Normal", layer="Linear")]\nplan = initcfg.plan(model, rules)\n'
        "initcfg.init_weights(model, rules, seed=0)\n"
    )
    assert read == []
    assert "(net.py:4)" in space["plan"].explain("0.weight") and read


def test_tensors_in_rules_are_not_held() -> None:
    state = {"0.weight": torch.zeros(2, 2)}
    gone = weakref.ref(state["0.weight"])
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=state))
    notes = plan.rules
    del state, plan
    gc.collect()
    assert gone() is None and str(notes["init_cfg"].written).startswith("test_written_places.py:")
