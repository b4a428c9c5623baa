"""Rules that are written alike are parsed once: each is still its module's own."""

import pytest
from torch import nn

import initcfg
from initcfg import INITIALIZERS, BaseInit
from initcfg._rules import Compiler
from initcfg.errors import InitcfgError
from initcfg.values import Normal


class Block(initcfg.BaseModule):
    def __init__(self, init_cfg) -> None:
        super().__init__(init_cfg)
        self.linear, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)


def chain(*rules) -> nn.Module:
    return initcfg.Sequential(*(Block(each) for each in rules))


def test_each_has_its_own_path_and_place():
    rule = dict(type="Constant", val=1, layer="Linear", override=dict(name="norm", type="Constant", val=2))
    other = [dict(type="Normal", layer="Linear", std=1.0), dict(type="Constant", layer="LayerNorm", val=3)]
    model = chain(rule, rule, other, other, rule)
    plan = initcfg.plan(model)
    for number in (0, 1, 4):
        assert plan[f"{number}.linear.weight"].rule == f"model.{number}.init_cfg"
        assert plan[f"{number}.norm.weight"].rule == f"model.{number}.init_cfg.override"
    for number in (2, 3):
        assert plan[f"{number}.linear.weight"].rule == f"model.{number}.init_cfg[0]"
        assert plan[f"{number}.norm.weight"].rule == f"model.{number}.init_cfg[1]"
    told = {note.cfg for path, note in plan.rules.items() if path.endswith(".init_cfg")}
    assert told == {
        "dict(type='Constant', val=1, layer='Linear', override=dict(name='norm', type='Constant', val=2))"
    }
    assert all("test_written_alike.py:" in (note.written or "") for note in plan.rules.values())


@pytest.mark.parametrize(
    ("first", "second"), [(0.0, -0.0), (1, 1.0), (2.0, 3.0), (float("nan"), float("inf"))], ids=str
)
def test_what_is_nearly_alike_is_not(first, second):
    plan = initcfg.plan(chain(*(dict(type="Constant", val=each, layer="Linear") for each in (first, second))))
    alone = [initcfg.plan(chain(dict(type="Constant", val=each, layer="Linear"))) for each in (first, second)]
    for number, each in enumerate(alone):
        found, wanted = plan[f"{number}.linear.weight"], each["0.linear.weight"]
        assert repr(found.value) == repr(wanted.value)
        assert repr(found.initializer) == repr(wanted.initializer)


def test_ones_own_initializer_is_made_for_each():
    made = []

    @INITIALIZERS.register_module(name="Counted", force=True)
    class Counted(BaseInit):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            made.append(self)

        def value(self, layout):
            return Normal(0.0, float(len(made)))

    try:
        program = Compiler(chain(*[dict(type="Counted", layer="Linear")] * 3), compat=False).run(None)
    finally:
        INITIALIZERS.module_dict.pop("Counted")
    assert len(made) == 3
    assert [step.rule.weight for step in program.steps if step.rule is not None] == made


def test_rules_that_contain_themselves_are_refused_as_ever():
    model = chain(dict(type="Constant", val=1, layer="Linear"))
    endless: list[object] = []
    endless.append(endless)
    model[0].init_cfg = endless
    with pytest.raises(InitcfgError, match="contains itself"):
        initcfg.plan(model)


def test_a_wrong_rule_is_told_with_the_module_that_has_it_first():
    right, wrong = (
        dict(type="Constant", val=1, layer="Linear"),
        dict(type="Constant", value=1, layer="Linear"),
    )
    with pytest.raises(InitcfgError) as caught:
        initcfg.plan(chain(right, wrong, wrong))
    assert "model.1.init_cfg" in str(caught.value)
