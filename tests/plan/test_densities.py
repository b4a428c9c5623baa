"""The law that a value says is that of the numbers which the stream draws for it."""

from __future__ import annotations

import math

import pytest
import torch

from initcfg import values as v
from initcfg._plan.report.html.densities import deviation, edges_of, histogram, laws
from initcfg.values import Value

NORMAL = v.Normal(0.1, 0.5)
CASES: list[tuple[Value, tuple[int, ...]]] = [
    (v.Constant(3.0), (20, 20)),
    (v.Uniform(-1.0, 3.0), (200, 200)),
    (NORMAL, (200, 200)),
    (v.TruncNormal(0.0, 1.0, -0.5, 2.0), (200, 200)),
    (v.TruncNormal(0.0, 1.0, -math.inf, math.inf), (200, 200)),
    (v.Orthogonal(2.0), (200, 200)),
    (v.Orthogonal(1.0, stack=(0,), rows=(1,)), (4000, 4, 4)),
    (v.Sparse(0.75, 0.5), (200, 200)),
    (v.Eye(2.0), (10, 20)),
    (v.Dirac(1), (8, 8, 3, 3)),
    (v.Hadamard(0.5), (64, 64)),
    (v.Parts(0, (100, 300), (NORMAL, v.Constant(1.0))), (400, 100)),
    (v.PaddingRow(index=0, value=NORMAL), (4, 10000)),
    (v.Repeat(0, 2, NORMAL), (400, 100)),
    (v.Scaled(NORMAL, (-1.0, 2.0), 0), (2, 20000)),
    (v.Numbers((1.0, 2.0, 2.0, 5.0)), (4,)),
]


def _drawn(value: Value, shape: tuple[int, ...]) -> torch.Tensor:
    from torch import nn

    import initcfg

    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(shape))
    initcfg.init_weights(model, dict(type="Value", param="weight", value=value), seed=0)
    return model.weight.detach().double().flatten()


@pytest.mark.parametrize(("value", "shape"), CASES, ids=lambda each: getattr(each, "kind", str(each)))
def test_the_law_is_that_of_the_numbers(value: Value, shape: tuple[int, ...]) -> None:
    found, drawn = laws(value, shape), _drawn(value, shape)
    low, high = edges_of(found)
    shares = torch.tensor(histogram(found, low, high))
    there = torch.histc(drawn, bins=32, min=low, max=high) / len(drawn)
    assert (shares - there).abs().max() < 0.012
    assert float(shares.sum()) == pytest.approx(1, abs=1e-4)
    mean, std = deviation(found)
    assert mean == pytest.approx(float(drawn.mean()), abs=0.02)
    assert std == pytest.approx(float(drawn.std(unbiased=False)), rel=0.03, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [v.Keep(), v.Computed("a.py:1"), v.Opaque("f", v.Keep()), v.FromCheckpoint("a", "b"),
     v.Parts(0, (1, 1), (v.Keep(), NORMAL)), v.Constant(math.nan), v.Constant(math.inf)],
)  # fmt: skip
def test_of_others_nothing_is_said(value: Value) -> None:
    assert laws(value, (2, 2)) == ()
    assert laws(NORMAL, (0, 3)) == ()
