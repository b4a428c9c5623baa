"""Random short programs of partial writes: what is fixed, or equal, with torch is so with us.

Each is done in a constructor, and in init_weights() of a model that is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import HealthCheck, given, reject, settings
from torch import nn

import initcfg

ROWS, COLUMNS = 4, 3
# With these, rounding makes nothing equal by chance.
NUMBERS = (0.0, -0.0, 1.0, 2.0, -1.0, 0.5)
FACTORS = (2.0, -1.0, 0.25, 16.0, 0.5, 0.0)
SEEDS = range(4)

Tensors = list[torch.Tensor]
# What is written, by a program's numbers: the target's part, another tensor's, and a number to choose by.
Write = Callable[[torch.Tensor, torch.Tensor, int], Any]

PARTS: tuple[Callable[[torch.Tensor, int], torch.Tensor], ...] = (
    lambda tensor, number: tensor,
    lambda tensor, number: tensor[number % ROWS],
    lambda tensor, number: tensor[number % ROWS :],
    lambda tensor, number: tensor[: 1 + number % ROWS],
    lambda tensor, number: tensor[:, number % COLUMNS],
    lambda tensor, number: tensor[:, number % COLUMNS :],
    lambda tensor, number: tensor[::2],
    lambda tensor, number: tensor[1:3, number % 2 :],
    lambda tensor, number: tensor.t(),
    lambda tensor, number: tensor.view(-1)[number % 7 : number % 7 + 4],
)


def of(choices: tuple[float, ...], number: int) -> float:
    return choices[number % len(choices)]


WRITES: dict[str, Write] = {
    "fill": lambda target, other, number: target.fill_(of(NUMBERS, number)),
    "zero": lambda target, other, number: target.zero_(),
    "init": lambda target, other, number: nn.init.constant_(target, of(NUMBERS, number)),
    "normal": lambda target, other, number: target.normal_(0.0, 0.1 + number % 3),
    "uniform": lambda target, other, number: target.uniform_(-1.0, 2.0),
    "mul": lambda target, other, number: target.mul_(of(FACTORS, number)),
    "add": lambda target, other, number: target.add_(of(NUMBERS, number)),
    "neg": lambda target, other, number: target.neg_(),
    "out": lambda target, other, number: torch.mul(target, of(FACTORS, number), out=target),
    "element": lambda target, other, number: target.fill_(other.reshape(-1)[0]),
    "copy": lambda target, other, number: target.copy_(fitting(target, other)),
    "clone": lambda target, other, number: target.copy_(fitting(target, other).clone()),
    "add tensor": lambda target, other, number: target.add_(fitting(target, other)),
    "mul tensor": lambda target, other, number: target.mul_(fitting(target, other)),
    "sums": lambda target, other, number: target.copy_(fitting(target, other).cumsum(0)),
    "look": lambda target, other, number: other.sum().item(),
}


def fitting(target: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The other, in the form of the target if it can be."""
    return other if other.shape == target.shape else other.reshape(-1)[:1]


steps = st.tuples(
    st.sampled_from(sorted(WRITES)),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, len(PARTS) - 1),
    st.integers(0, len(PARTS) - 1),
    st.integers(0, 999),
)
programs = st.lists(steps, min_size=2, max_size=8)
Program = list[tuple[str, int, int, int, int, int]]

BEGINNINGS: tuple[Callable[[], Tensors], ...] = (
    lambda: [torch.zeros(ROWS, COLUMNS), torch.ones(ROWS, COLUMNS), torch.empty(ROWS, COLUMNS).fill_(1.0)],
    lambda: [torch.randn(ROWS, COLUMNS), torch.zeros(ROWS, COLUMNS), torch.randn(ROWS, COLUMNS)],
    lambda: [nn.Linear(COLUMNS, ROWS).weight.data, counted(), torch.zeros(ROWS, COLUMNS)],
)


def counted() -> torch.Tensor:
    return torch.tensor(
        [[float(1 + row * COLUMNS + column) for column in range(COLUMNS)] for row in range(ROWS)]
    )


def run(program: Program, tensors: Tensors) -> None:
    with torch.no_grad():
        for name, target, other, part, another, number in program:
            WRITES[name](PARTS[part](tensors[target], number), PARTS[another](tensors[other], number), number)


class Built(nn.Module):
    def __init__(self, program: Program, begin: Callable[[], Tensors]) -> None:
        super().__init__()
        tensors = begin()
        run(program, tensors)
        self.one, self.two = map(nn.Parameter, tensors[:2])


class Ready(initcfg.BaseModule):
    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.one, self.two = nn.Parameter(counted()), nn.Parameter(torch.full((ROWS, COLUMNS), 3.0))

    def init_weights(self) -> None:
        run(self.program, [self.one, self.two, torch.zeros(ROWS, COLUMNS)])


def numbers(make: Callable[[int], nn.Module]) -> torch.Tensor:
    """For each seed, all that a model of it holds."""
    models = [make(seed) for seed in SEEDS]
    return torch.stack([torch.cat([each.detach().flatten() for each in one.parameters()]) for one in models])


def compare(ours: torch.Tensor, torchs: torch.Tensor, *, drawn: bool) -> None:
    # NaN has some bits or others, by how it was computed.
    ours, torchs = (each.nan_to_num(nan=123.25) for each in (ours, torchs))
    fixed = (torchs == torchs[0]).all(0)
    if not drawn:
        # Zero times a random number has its sign.
        ours, torchs = (each.view(torch.int32) for each in (ours, torchs))
    assert torch.equal(ours[:, fixed], torchs[:, fixed])
    ours, torchs = ours[:, ~fixed], torchs[:, ~fixed]
    assert (ours != ours[0]).any(0).all(), "not drawn"
    for factor in (1.0, -1.0, 2.0):
        related = [(each[:, :, None] == each[:, None, :] * factor).all(0) for each in (ours, torchs)]
        assert torch.equal(*related), factor
    sizes = ours.abs().amax(0) / torchs.abs().amax(0)
    assert ((sizes > 0.01) & (sizes < 100)).all()


def draws(program: Program) -> bool:
    return not {"normal", "uniform"}.isdisjoint(name for name, *_ in program)


def by_torch(make: Callable[[], nn.Module]) -> torch.Tensor:
    """What torch makes; a program that it refuses is none."""

    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return make()

    try:
        return numbers(made)
    except (RuntimeError, IndexError):
        reject()


fuzzed = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@fuzzed
@given(programs, st.integers(0, len(BEGINNINGS) - 1))
def test_what_a_constructor_writes(program: Program, beginning: int) -> None:
    def build() -> nn.Module:
        return Built(program, BEGINNINGS[beginning])

    def traced(seed: int) -> nn.Module:
        model = build()
        plan.apply(model, seed=seed)
        return model

    def deferred(seed: int) -> nn.Module:
        with initcfg.deferred():
            model = build()
        initcfg.init_weights(model, seed=seed)
        return model

    torchs = by_torch(build)
    plan = initcfg.trace(build)
    drawn = beginning > 0 or draws(program)
    compare(numbers(traced), torchs, drawn=drawn)
    compare(numbers(deferred), torchs, drawn=drawn)


@fuzzed
@given(programs)
def test_what_a_model_that_is_there_writes(program: Program) -> None:
    def done() -> nn.Module:
        model = Ready(program)
        model.init_weights()
        return model

    def own(seed: int) -> nn.Module:
        model = Ready(program)
        initcfg.init_weights(model, seed=seed)
        return model

    def traced(seed: int) -> nn.Module:
        model = Ready(program)
        plan.apply(model, seed=seed)
        return model

    torchs = by_torch(done)
    compare(numbers(own), torchs, drawn=draws(program))
    plan = initcfg.trace(lambda model: model.init_weights(), Ready(program))
    compare(numbers(traced), torchs, drawn=draws(program))
