"""The last line of a plan counts each tensor once, and opaque tensors are told as what they are."""

from __future__ import annotations

import re

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initcfg
from initcfg import Plan, values
from initcfg._plan import Assignment, Shadowed
from initcfg._plan.assignment import RuleNote

KINDS = [
    values.Keep(),
    values.Constant(1.0),
    values.Normal(0.0, 0.02),
    values.Computed("Net.__init__"),
    values.Opaque("Net.init_weights", values.Keep()),
    values.Opaque("Net.init_weights", values.Normal(0.0, 1.0)),
    values.CopyOf("a", values.Normal(0.0, 1.0)),
    values.FromCheckpoint("w.pth", ("a",)),
]
DEFAULT = Shadowed("Linear.reset_parameters", values.Constant(0.0))
ITEMS = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from([None, "model.init_cfg", "model.a.init_cfg[1]", "net.py:3 Net.__init__"]),
    st.sampled_from([None, DEFAULT]),
)


@given(st.lists(ITEMS, max_size=12))
def test_the_counts_add_up(kinds):
    items = {
        f"p{index}": Assignment(f"p{index}", (2,), "float32", value, None, rule, default=default)
        for index, (value, rule, default) in enumerate(kinds)
    }
    known = {"model.init_cfg": RuleNote("{}"), "model.a.init_cfg[1]": RuleNote("{}")}
    last = next(line for line in str(Plan(items, rules=known)).splitlines() if " elements: " in line)
    counts = [int(each) for each in re.findall(r"(?:: |, )(-?\d+) ", last.partition("elements")[2])]
    assert sum(counts) == len(items) and min(counts) >= 0


def test_numbers_that_nobody_computed_are_the_codes_own():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(torch.tensor([float(i) ** 0.5 for i in range(20)]))
            self.n = nn.Parameter(torch.from_numpy(np.linspace(0, 1, 32)))

    plan = initcfg.trace(Own)
    assert str(plan).splitlines()[-1] == (
        "2 parameters, 52 elements: 0 by 0 rules, 2 by code of the model's own, 0 by default."
    )
    for name in "pn":
        assert str(plan[name].value).startswith("Opaque(Own.__init__: it comes from ")
        assert plan[name].rule.endswith("Own.__init__")
        assert "No rule reaches it" not in plan.explain(name)


def test_a_tensor_that_was_there_before_the_code():
    table = torch.arange(40.0)
    table[0] = 7.5

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(table)

    plan = initcfg.trace(Own)
    assert str(plan["p"].value).startswith("Opaque(code: it comes from 40 numbers")
    assert "No rule reaches it: the model's own code makes it what it is." in plan.explain("p")
    assert "1 by code of the model's own, 0 by default" in str(plan)


def test_tied_tensors_are_told_once_for_layers_that_are_alike() -> None:
    model = nn.Module()
    model.embed = nn.Embedding(8, 4)
    model.head = nn.Linear(4, 8, bias=False)
    model.head.weight = model.embed.weight
    model.blocks = nn.ModuleList(
        nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}) for _ in range(3)
    )
    for block in model.blocks:
        block["b"].bias = block["a"].bias
    lines = str(initcfg.plan(model)).splitlines()
    assert [each for each in lines if each.startswith("tied")] == [
        "tied         head.weight is embed.weight",
        "tied         blocks.{0..2}.b.bias is blocks.{0..2}.a.bias",
    ]
