"""Memory that nobody wrote is told, whole or in part, whatever operation brought it into a parameter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import UnusedRuleError

ONES, EYE = torch.ones(4, 3), torch.eye(4, 3).bool()


def fill(method, *arguments):
    def code(w):
        getattr(w, method)(*arguments)

    return code


def put(index, value):
    return lambda w: w.__setitem__(index, value)


PARTS = {
    "index_fill_": fill("index_fill_", 0, torch.tensor([0, 1]), 1.0),
    "masked_fill_": fill("masked_fill_", EYE, 1.0),
    "scatter_": fill("scatter_", 0, torch.zeros(1, 3, dtype=torch.long), 1.0),
    "index_copy_": fill("index_copy_", 0, torch.tensor([1]), ONES[:1]),
    "put_": fill("put_", torch.tensor([1]), torch.ones(1)),
    "masked_scatter_": fill("masked_scatter_", EYE, ONES),
    "fill_diagonal_": fill("fill_diagonal_", 1.0),
    "triu_": fill("triu_"),
    "a list": put([0, 2], 1.0),
    "a mask": put(EYE, 1.0),
    "a slice": put(slice(1, 3), 1.0),
    "numpy": lambda w: w.numpy().__setitem__(0, 1.0),
    "cat": lambda w: torch.cat([torch.empty(2, 3), ONES[:2]]),
    "stack": lambda w: torch.stack([torch.empty(3), *ONES[1:]]),
    "where": lambda w: torch.where(EYE, torch.empty(4, 3), ONES),
    "pad": lambda w: nn.functional.pad(torch.empty(2, 3), (0, 0, 1, 1)),
    "copied": lambda w: w.copy_(torch.cat([torch.empty(1, 3), ONES[1:]])),
}
NOTHING = {
    "nothing": lambda w: None,
    "clone": lambda w: torch.empty(4, 3).clone(),
    "copy_": lambda w: w.copy_(torch.empty(4, 3)),
    "mul_": fill("mul_", 2),
    "mul_ tensor": fill("mul_", torch.ones(3)),
    "times zero": lambda w: torch.empty(4, 3) * 0,
    "add_": fill("add_", 2),
    "lerp_": fill("lerp_", ONES, 0.5),
    "matmul": lambda w: torch.empty(4, 3) @ torch.ones(3, 3),
    "sum": lambda w: torch.empty(4, 3).sum(0, keepdim=True).expand(4, 3).contiguous(),
    "bfloat16": lambda w: torch.empty(4, 3, dtype=torch.bfloat16).float(),
}
EVERYTHING = {
    "index_fill_": fill("index_fill_", 0, torch.arange(4), 1.0),
    "masked_fill_": fill("masked_fill_", torch.ones(4, 3).bool(), 1.0),
    "permuted": lambda w: w.index_copy_(0, torch.randperm(4), torch.randn(4, 3)),
    "rows": lambda w: [w[i].fill_(i) for i in range(4)],
    "out": lambda w: torch.add(ONES, 1, out=w),
    "numpy": lambda w: w.numpy().fill(1.0),
    "bernoulli_": fill("bernoulli_", 0.5),
    "nan": fill("fill_", float("nan")),
    "cat": lambda w: torch.cat([torch.zeros(2, 3), ONES[:2]]),
    "qr": lambda w: w.copy_(torch.linalg.qr(torch.randn(4, 4))[0][:, :3]),
    "normal times uniform": lambda w: w.normal_().mul_(torch.rand(3)),
}
CASES = [
    pytest.param(code, wanted, id=f"{kind}-{name}")
    for kind, codes, wanted in (
        ("part", PARTS, ((), ("w",))),
        ("nothing", NOTHING, (("w",), ())),
        ("everything", EVERYTHING, ((), ())),
    )
    for name, code in codes.items()
]


def written(module, code):
    with torch.no_grad():
        made = code(module.w)
        if isinstance(made, torch.Tensor) and made is not module.w:
            module.w = nn.Parameter(made)
    return module


class Coded(initcfg.BaseModule):
    def __init__(self, code):
        super().__init__()
        self.w = nn.Parameter(torch.empty(4, 3))
        self.code = code

    def init_weights(self):
        written(self, self.code)


class Built(nn.Module):
    def __init__(self, code):
        super().__init__()
        self.w = nn.Parameter(torch.empty(4, 3))
        written(self, code)


def told(plan):
    return plan.uninitialized, plan.partly_written


@pytest.mark.parametrize(("code", "wanted"), CASES)
def test_it_is_told(code, wanted):
    assert told(initcfg.trace(lambda: Built(code))) == wanted
    with initcfg.deferred():
        built, coded = Built(code), Coded(code)
    assert told(initcfg.plan(built)) == wanted
    plan = initcfg.plan(coded)
    assert told(plan) == wanted
    assert told(initcfg.Plan.from_json(plan.to_json())) == wanted
    assert ("Only a part of it is written" in plan.explain("w")) == bool(wanted[1])
    assert ("It is never written" in plan.explain("w")) == bool(wanted[0])
    if wanted != ((), ()):
        with pytest.raises(UnusedRuleError, match=r"Nothing writes|Only a part is written"):
            initcfg.plan(coded, strict=True)


@pytest.mark.parametrize("code", [*PARTS.values(), NOTHING["mul_"]])
def test_what_a_constructor_wrote_is_no_such_memory(code):
    model = Coded(code)
    with torch.no_grad():
        model.w.fill_(5)
    if code in (PARTS["cat"], PARTS["stack"], PARTS["where"], PARTS["pad"], PARTS["copied"]):
        # These bring their own.
        assert told(initcfg.plan(model)) == ((), ("w",))
    else:
        assert told(initcfg.plan(model)) == ((), ())


def test_large_tensors_are_not_tried():
    def build():
        module = nn.Module()
        module.w = nn.Parameter(torch.empty(1 << 14, 1 << 13))
        with torch.no_grad():
            module.w.mul_(2)
        return module

    assert told(initcfg.trace(build)) == ((), ("w",))


def test_generators_stay_as_they_are():
    before = torch.get_rng_state()
    initcfg.trace(lambda: Built(lambda w: w.index_copy_(0, torch.randperm(2), torch.randn(2, 3))))
    assert torch.equal(torch.get_rng_state(), before)
