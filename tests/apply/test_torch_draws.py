"""Under rng='torch', the numbers are those of torch.nn.init; under compat='mmengine', those of MMEngine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import init

import initcfg

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
Fill = Callable[[torch.Tensor], Any]

COUNTERPARTS: list[tuple[dict[str, Any], Fill]] = [
    (dict(type="Constant", val=0.1), lambda w: init.constant_(w, 0.1)),
    (dict(type="Uniform", a=-0.1, b=0.3), lambda w: init.uniform_(w, -0.1, 0.3)),
    (dict(type="Normal", mean=0.1, std=0.3), lambda w: init.normal_(w, 0.1, 0.3)),
    (dict(type="TruncNormal", std=0.02), lambda w: init.trunc_normal_(w, 0, 0.02)),
    (dict(type="TruncNormal", std=0.5, a=-0.3, b=1), lambda w: init.trunc_normal_(w, 0, 0.5, -0.3, 1)),
    (dict(type="Xavier", gain=0.7), lambda w: init.xavier_normal_(w, 0.7)),
    (dict(type="Xavier", distribution="uniform"), init.xavier_uniform_),
    (dict(type="Kaiming", mode="fan_in"), lambda w: init.kaiming_normal_(w, nonlinearity="relu")),
    (
        dict(type="Kaiming", a=0.3, nonlinearity="leaky_relu", distribution="uniform"),
        lambda w: init.kaiming_uniform_(w, 0.3, "fan_out"),
    ),
    (dict(type="Orthogonal", gain=1.3), lambda w: init.orthogonal_(w, 1.3)),
    (dict(type="Sparse", sparsity=0.4, std=0.3), lambda w: init.sparse_(w, 0.4, 0.3)),
    (dict(type="Identity"), init.eye_),
]


def drawn(rule: dict[str, Any], dtype: torch.dtype, **options: Any) -> torch.Tensor:
    model = nn.Linear(60, 40, dtype=dtype)
    torch.manual_seed(5)
    initcfg.init_weights(model, dict(rule, layer="Linear"), rng="torch", **options)
    return model.weight.detach()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rule", "fill"), COUNTERPARTS, ids=lambda item: str(item)[:40])
def test_the_numbers_are_those_of_torch(rule: dict[str, Any], fill: Fill, dtype: torch.dtype) -> None:
    if rule["type"] == "Orthogonal" and dtype not in (torch.float64, torch.float32):
        # torch has no such function for the small types; here it is float32, rounded.
        assert torch.equal(drawn(rule, dtype), drawn(rule, torch.float32).to(dtype))
        return
    weight = torch.empty(40, 60, dtype=dtype)
    torch.manual_seed(5)
    fill(weight)
    after = torch.get_rng_state()
    assert torch.equal(drawn(rule, dtype), weight)
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_small_types_keep_the_spread(dtype: torch.dtype) -> None:
    weight = drawn(dict(type="TruncNormal", std=0.02), dtype).float()
    assert abs(weight.std().item() - 0.02) < 0.001
    assert weight.abs().max() < 0.12


@pytest.mark.parametrize(("dtype", "share"), [(torch.bfloat16, 512), (torch.float16, 4096)], ids=str)
def test_the_original_loses_tails_in_small_types_and_the_plan_says_so(dtype: torch.dtype, share: int) -> None:
    """MMEngine draws u between two erfs, and takes the inverse, all in the type of the tensor."""
    rule = dict(type="TruncNormal", layer="Linear", std=0.02)
    expected = torch.empty(40, 60, dtype=dtype)
    torch.manual_seed(5)
    end = math.erf(2 / 0.02 / math.sqrt(2))
    expected.uniform_(-end, end).erfinv_().mul_(0.02 * math.sqrt(2)).add_(0.0).clamp_(min=-2, max=2)
    assert torch.equal(drawn(rule, dtype, compat="mmengine"), expected)
    notes = initcfg.plan(nn.Linear(60, 40, dtype=dtype), rule, compat="mmengine").notes
    assert any(f"about one of {share} numbers on a bound of TruncNormal" in note for note in notes)
    model = nn.Linear(60, 40, dtype=dtype)
    assert not any("own sampler" in note for note in initcfg.plan(model, rule).notes)
    single = initcfg.plan(nn.Linear(60, 40), rule, compat="mmengine")
    assert not any("own sampler" in note for note in single.notes)


def test_an_initializer_that_code_calls_draws_as_the_original_does() -> None:
    """A part under compat, within a plan that is not: each draws in its own way."""
    rule = dict(type="TruncNormal", std=0.02)

    class Outer(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__(dict(rule, name="last"))
            self.first, self.last = nn.Linear(30, 30), nn.Linear(30, 30)

        def init_weights(self) -> None:
            initcfg.TruncNormalInit(std=0.02, layer="Linear")(self.first)
            super().init_weights()

    model, end = Outer(), math.erf(2 / 0.02 / math.sqrt(2))
    torch.manual_seed(3)
    initcfg.plan(model).apply(model, rng="torch")
    torch.manual_seed(3)
    first = torch.empty(30, 30).uniform_(-end, end).erfinv_().mul_(0.02 * math.sqrt(2)).clamp_(-2, 2)
    assert torch.equal(model.first.weight, first)
    assert torch.equal(model.last.weight, init.trunc_normal_(torch.empty(30, 30), 0, 0.02))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("a", "b"), [(-math.inf, 0.01), (0.03, math.inf), (-math.inf, -0.2)], ids=str)
def test_one_bound_from_torch(a: float, b: float, dtype: torch.dtype) -> None:
    weight = drawn(dict(type="TruncNormal", std=0.02, a=a, b=b), dtype)
    kept_by_torch = a == -math.inf and b > 0
    if kept_by_torch:
        torch.manual_seed(5)
        assert torch.equal(weight, init.trunc_normal_(torch.empty(40, 60, dtype=dtype), 0, 0.02, a, b))
    bound = torch.tensor(b if math.isinf(a) else a, dtype=dtype)
    assert bool(((weight <= bound) if math.isinf(a) else (weight >= bound)).all())
    assert bool(weight.isfinite().all())
