"""Plans hold no model: neither its tensors nor its modules outlive it."""

from __future__ import annotations

import gc
import weakref

from torch import nn

import initcfg


def test_neither_plan_nor_caches_keep_a_model_alive(foo_class):
    rules = [
        dict(type="Normal", layer=["Conv2d", "Linear"], exclude="cls"),
        dict(type="Constant", val=1, name="re:f.*"),
        dict(type="Uniform", param="*.weight"),
    ]
    model = foo_class(rules)
    model.init_weights()
    plan = initcfg.plan(model)
    ledger = plan.apply(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert len(plan) == len(ledger) == 6


def test_rules_of_many_siblings_are_never_mistaken_for_each_other():
    class Leaf(initcfg.BaseModule):
        def __init__(self, index):
            rules = [
                dict(type="Constant", val=index, layer="Linear", bias=index),
                dict(type="Constant", val=index, name="named", bias=index),
                dict(type="Constant", val=-index, layer="Conv1d", exclude="left*"),
            ]
            super().__init__(rules[: 1 + index % 3])
            self.first, self.named = nn.Linear(1, 1), nn.Linear(1, 1)
            self.right, self.left = nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 1)

    model = initcfg.ModuleList([Leaf(index) for index in range(300)])
    plan = initcfg.plan(model, dict(type="Constant", val=0.5, layer=["Linear", "Conv1d"]))
    for index in range(300):
        values = {name: plan[f"{index}.{name}.weight"].value.args["val"] for name in ("first", "named")}
        assert values == {"first": index, "named": index}
        right = plan[f"{index}.right.weight"].value.args["val"]
        assert right == (-index if index % 3 == 2 else 0.5)
        assert plan[f"{index}.left.weight"].value.args["val"] == 0.5
