"""What torch refuses is refused where it stands: code may expect the error, and go another way."""

from __future__ import annotations

import pytest
import torch
from held_tensors import holding
from torch import nn

import initcfg

NAN, INF = float("nan"), float("inf")
TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
BEGUN = {
    "empty": lambda p: p,
    "random": lambda p: p.uniform_(),
    "constant": lambda p: p.fill_(2.0),
    "in part": lambda p: (p.zero_(), p[1:].uniform_()),
}
CALLS = {
    "uniform_": [
        (-3e38, 3e38),
        (0, 1e39),
        (1, 0),
        (0, INF),
        (0, NAN),
        (-INF, 0),
        (-4e4, 4e4),
        (0, 7e4),
        (1, 1),
    ],
    "normal_": [(0, -1), (0, NAN), (INF, 1), (NAN, 1), (0, INF), (0, 1e39), (0, 0), (3, 2)],
    "fill_": [(1e39,), (1e6,), (INF,), (NAN,), (True,), (1 + 2j,), (torch.ones(2),), (70000,)],
    "mul_": [(1e39,), (1j,), (torch.ones(3),), (2,)],
    "add_": [(1e39,), (torch.ones(3),), (torch.ones(3, 4),)],
    "sub_": [(True,), (0.5,)],
    "div_": [(0,), (1e-50,)],
    "clamp_": [(1e39,), (1, 0), (), (-1, 7e4)],
    "copy_": [(torch.ones(3),), (torch.ones(4, dtype=torch.float64),)],
    "pow_": [(1e39,), (2,)],
    "exponential_": [(-1,), (2,)],
    "cauchy_": [(0, -1)],
    "log_normal_": [(0, -1), (0, 1)],
    "geometric_": [(2,), (0.5,)],
    "bernoulli_": [(2.0,), (0.5,)],
    "random_": [(5, 1), (1, 5)],
    "masked_fill_": [(torch.ones(3, dtype=torch.bool), 1.0)],
}


class Tried(nn.Module):
    def __init__(self, begin, function, numbers, dtype) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.empty(4, dtype=dtype))
        self.error = None
        with torch.no_grad():
            begin(self.p)
            try:
                getattr(self.p, function)(*numbers)
            except Exception as error:
                self.error = type(error), str(error).partition("\n")[0]
                self.p.fill_(3.0)


@pytest.mark.parametrize("begin", BEGUN)
@pytest.mark.parametrize("function", CALLS)
def test_errors_are_torch_s(function, begin):
    for dtype in TYPES:
        for numbers in CALLS[function]:
            plain = Tried(BEGUN[begin], function, numbers, dtype)
            with initcfg.deferred():
                recorded = Tried(BEGUN[begin], function, numbers, dtype)
            assert recorded.error == plain.error, (dtype, numbers)
            if plain.error is not None:
                assert initcfg.plan(recorded)["p"].value in (
                    initcfg.values.Constant(3.0),
                    initcfg.values.Keep(),
                )


def overlapping(change):
    def build():
        tensor = torch.rand(4)
        try:
            change(tensor)
        except RuntimeError:
            tensor.fill_(7.0)
        return holding(p=tensor)

    return build


OVERLAPS = {
    "expanded": lambda t: t[:1].expand(4).uniform_(),
    "strided": lambda t: t.as_strided((4,), (0,)).add_(1),
    "a number of its own": lambda t: t.add_(t[0]),
    "shifted": lambda t: t[1:].copy_(t[:-1]),
    "another shape": lambda t: t.add_(torch.rand(3, 4)),
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_memory_that_overlaps(name):
    build = overlapping(OVERLAPS[name])
    assert build().p.tolist() == [7.0] * 4
    ours = build()
    initcfg.trace(build).apply(ours, seed=0)
    assert ours.p.tolist() == [7.0] * 4


# -- what rounding leaves of random numbers ------------------------------------------------------

ROUNDED = {
    "far and back": lambda d: (torch.rand(400, dtype=d) + 1e4) - 1e4,
    "far and back in place": lambda d: torch.rand(400, dtype=d).add_(3000).sub_(3000),
    "small and back": lambda d: (torch.randn(400, dtype=d) * 1e-7) * 1e7,
    "smaller and back": lambda d: (torch.randn(400, dtype=d) * 1e-300) * 1e300,
    "large and back": lambda d: (torch.rand(400, dtype=d) * 1e5) * 1e-5,
    "centered": lambda d: torch.randn(400, dtype=d).mul_(0.02).add_(64).sub_(64),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ROUNDED)
def test_random_numbers_are_rounded_as_torch_rounds_them(name, dtype):
    """What is left is as many different numbers, as large, as torch's."""
    plain = ROUNDED[name](dtype).double()
    plan = initcfg.trace(lambda: holding(p=ROUNDED[name](dtype)))
    ours = holding(p=torch.zeros(400, dtype=dtype))
    plan.apply(ours, seed=1)
    found = ours.p.detach().double()
    both = plain.isfinite() & found.isfinite()
    assert abs(int(plain.isfinite().sum()) - int(found.isfinite().sum())) <= 60
    one, other = (float(each[both].std(correction=0)) if bool(both.any()) else 0.0 for each in (plain, found))
    assert abs(one - other) <= 0.25 * one
    many, mine = plain.unique().numel(), found.unique().numel()
    assert mine <= 2 * many + 2 and many <= 2 * mine + 2


def test_usual_arithmetic_in_low_precision_keeps_its_names():
    for dtype in TYPES:
        plan = initcfg.trace(
            lambda dtype=dtype: holding(
                a=torch.rand(9, dtype=dtype) * 2 - 1,
                b=torch.randn(9, dtype=dtype) * 0.02,
                c=torch.randn(9, dtype=dtype).mul_(0.02).add_(1),
                d=nn.init.trunc_normal_(torch.empty(9, dtype=dtype), std=0.02),
            )
        )
        assert [type(plan[name].value).__name__ for name in "abcd"] == [
            "Uniform",
            "Normal",
            "Normal",
            "TruncNormal",
        ]
