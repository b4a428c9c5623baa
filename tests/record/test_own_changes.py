"""A model that is there changes what it holds in its own init_weights(): each change is made once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import initcfg

Change = Callable[[torch.Tensor, torch.Tensor], object]


class Changing(initcfg.BaseModule):
    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change
        self.one = nn.Parameter(torch.arange(1.0, 13.0).view(4, 3))
        self.two = nn.Parameter(torch.full((4, 3), 3.0))
        self.register_buffer("table", torch.full((4, 3), 5.0))

    def init_weights(self) -> None:
        with torch.no_grad():
            self.change(self.one, self.two)


class Above(initcfg.BaseModule):
    """Goes on from what its child's own code leaves."""

    def __init__(self, first: Change, then: Change) -> None:
        super().__init__()
        self.child = Changing(first)
        self.then = then

    def init_weights(self) -> None:
        super().init_weights()
        with torch.no_grad():
            self.then(self.child.one, self.child.two)


def _by_way_of_scratch(one: torch.Tensor, two: torch.Tensor) -> None:
    scratch = torch.zeros(4, 3)
    scratch.copy_(one)
    one.mul_(2.0)
    one[1].fill_(4.0)
    scratch[0].zero_()
    one[2:].add_(scratch[2:])
    two[:2].copy_(scratch[:2])


CHANGES: dict[str, Change] = {
    "sub, row": lambda one, two: (one.sub_(0.5), one[0].fill_(1.0)),
    "mul, row": lambda one, two: (one.mul_(0.1), one[0].zero_()),
    "mul, row, add": lambda one, two: (one.mul_(2.0), one[0].zero_(), one.add_(1)),
    "row, mul": lambda one, two: (one[0].fill_(5.0), one.mul_(2.0)),
    "turned, column": lambda one, two: (one.t().mul_(2.0), one[:, 0].zero_()),
    "rows, row": lambda one, two: (one[1:].mul_(2.0), one[0].fill_(7.0)),
    "diagonal": lambda one, two: (one.mul_(2.0), one.diagonal().zero_()),
    "init": lambda one, two: (one.mul_(2.0), nn.init.zeros_(one[0])),
    "operator": lambda one, two: (one.__iadd__(1), one[0].zero_()),
    "copied row": lambda one, two: (one[1:].zero_(), one.div_(3), two[0].copy_(one[0]), one.mul_(2.0)),
    "copied": lambda one, two: (one[1:].zero_(), one.div_(3), two.copy_(one), one.mul_(2.0)),
    "foreach": lambda one, two: (
        one[1:].zero_(),
        one.div_(3),
        two[0].copy_(one[0]),
        torch.ops.aten._foreach_mul_([one], 2.0),
    ),
    "looked at": lambda one, two: (one[1:].zero_(), one.div_(3), one.sum().item(), one.mul_(2.0)),
    "both ways": lambda one, two: (one[0].fill_(2.0), two.add_(one), one.add_(two), two[1].zero_()),
    "scratch": _by_way_of_scratch,
    "out": lambda one, two: (torch.mul(two, 0.5, out=two), two[:2].zero_()),
}


def _expected(*changes: Change) -> tuple[torch.Tensor, torch.Tensor]:
    model = Changing(changes[0])
    one, two = model.one.detach(), model.two.detach()
    for change in changes:
        change(one, two)
    return one, two


def _check(model: Changing, *changes: Change) -> None:
    for found, wanted in zip((model.one, model.two), _expected(*changes), strict=True):
        assert torch.equal(found.detach().view(torch.int32), wanted.view(torch.int32))


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_made_once(name: str) -> None:
    change = CHANGES[name]
    model = Changing(change)
    initcfg.init_weights(model, seed=0)
    _check(model, change)
    plan = initcfg.plan(Changing(change))
    for rng in ("stream", "torch"):
        model = Changing(change)
        plan.apply(model, rng=rng)
        _check(model, change)
    with initcfg.deferred():
        model = Changing(change)
    initcfg.init_weights(model, seed=0)
    _check(model, change)


@pytest.mark.parametrize("then", ["sub, row", "row, mul", "copied", "looked at"])
@pytest.mark.parametrize("first", ["mul, row", "copied row", "foreach", "out", "scratch"])
def test_code_above_goes_on_from_it(first: str, then: str) -> None:
    model = Above(CHANGES[first], CHANGES[then])
    initcfg.init_weights(model, seed=0)
    _check(model.child, CHANGES[first], CHANGES[then])


@pytest.mark.parametrize("first", ["mul, row", "copied row"])
def test_random_parts_come_by_name(first: str) -> None:
    """What is done already does not decide which numbers a random part has."""

    def change(one: torch.Tensor, two: torch.Tensor) -> None:
        CHANGES[first](one, two)
        one[3].normal_(0.0, 100.0)

    model, alone = Changing(change), Changing(lambda one, two: one[3].normal_(0.0, 100.0))
    for each in (model, alone):
        initcfg.init_weights(each, seed=4)
    one, _ = _expected(CHANGES[first])
    assert torch.equal(model.one[:3], one[:3])
    assert torch.equal(model.one[3], alone.one[3])
    assert (model.one[3].abs() > 12.0).any()


def test_the_ledger_says_the_whole_change() -> None:
    model = Changing(CHANGES["mul, row"])
    value = initcfg.init_weights(model, seed=0)["one"].value
    assert str(value) == "Formula(initial, mul, 0.0)"
