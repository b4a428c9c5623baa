"""Parameters that share memory: an error before the first byte, unless they are one, or share nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import TensorError

Make = Callable[[], tuple[torch.Tensor, torch.Tensor]]
NORMAL = dict(type="Normal", param=["a", "b"])


class Two(nn.Module):
    def __init__(self, make: Make) -> None:
        super().__init__()
        first, second = make()
        self.other = nn.Parameter(torch.zeros(3))
        self.a, self.b = nn.Parameter(first), nn.Parameter(second)


def flat(*cuts: Callable[[torch.Tensor], torch.Tensor]) -> Make:
    def make() -> Any:
        memory = torch.zeros(64)
        return tuple(cut(memory) for cut in cuts)

    return make


def of_one_array(*cuts: slice) -> Make:
    """Each with a storage of its own, over memory of NumPy's."""

    def make() -> Any:
        memory = np.zeros(64, dtype=np.float32)
        return tuple(torch.from_numpy(memory[cut]) for cut in cuts)

    return make


OVERLAPPING = {
    "rows in part": flat(lambda m: m[:40], lambda m: m[39:]),
    "one in the other": flat(lambda m: m.view(8, 8), lambda m: m[9:10]),
    "columns in part": flat(lambda m: m.view(8, 8)[:, :5], lambda m: m.view(8, 8)[:, 4:]),
    "row and column": flat(lambda m: m.view(8, 8)[3], lambda m: m.view(8, 8)[:, 2]),
    "as strided": flat(lambda m: m.as_strided((4, 4), (8, 2)), lambda m: m.as_strided((4,), (4,), 24)),
    "turned": flat(lambda m: m.view(8, 8), lambda m: m.view(8, 8).t()),
    "two storages of one size": of_one_array(slice(0, 32), slice(16, 48)),
    "two storages in part": of_one_array(slice(0, 40), slice(39, None)),
    "a storage within another": of_one_array(slice(None), slice(60, 61)),
    "another type": flat(lambda m: m[:4], lambda m: m.view(torch.float16)[7:12]),
}
SAME = flat(lambda m: m, lambda m: m)
APART = {
    "rows": flat(lambda m: m[:40], lambda m: m[40:]),
    "columns": flat(lambda m: m.view(8, 8)[:, :4], lambda m: m.view(8, 8)[:, 4:]),
    "even and odd": flat(lambda m: m[::2], lambda m: m[1::2]),
    "corners": flat(lambda m: m.view(8, 8)[:4, 4:], lambda m: m.view(8, 8)[4:, :4]),
    "two storages": of_one_array(slice(0, 40), slice(40, None)),
    "nothing": flat(lambda m: m, lambda m: m[3:3]),
}


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize("make", OVERLAPPING.values(), ids=OVERLAPPING)
def test_overlapping_parameters_are_refused(make: Make, rng: Any) -> None:
    model = Two(make)
    rules = [dict(type="Constant", val=1.0, param="other"), NORMAL]
    with pytest.raises(
        TensorError, match=r"are two parameters that lie (partly )?in the same memory"
    ) as found:
        initcfg.init_weights(model, rules, seed=0, rng=rng)
    assert found.value.parameter in ("a", "b")
    assert not any(bool(parameter.any()) for parameter in model.parameters())


@pytest.mark.parametrize("make", APART.values(), ids=APART)
def test_views_side_by_side_are_fine(make: Make) -> None:
    model = Two(make)
    initcfg.init_weights(model, NORMAL, seed=0)
    alone = nn.ParameterDict({name: torch.zeros(getattr(model, name).shape) for name in "ab"})
    initcfg.init_weights(alone, NORMAL, seed=0)
    assert torch.equal(model.a, alone["a"])
    assert torch.equal(model.b, alone["b"])


def test_what_no_rule_writes_may_overlap() -> None:
    model = Two(OVERLAPPING["rows in part"])
    initcfg.init_weights(model, dict(type="Constant", val=1.0, param="other"), seed=0)
    assert model.other.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(TensorError):
        # The one that is written changes the one that is kept.
        initcfg.init_weights(model, dict(type="Normal", param="a"), seed=0)


@pytest.mark.parametrize("make", [SAME, of_one_array(slice(None), slice(None))])
def test_one_memory_under_two_objects_is_tied(make: Make) -> None:
    """As `b.data = a.data` ties them: the numbers are those of one of the names, whoever writes last."""
    model, alone = Two(make), nn.ParameterDict({"a": torch.zeros(64)})
    initcfg.init_weights(model, NORMAL, seed=0)
    initcfg.init_weights(alone, dict(type="Normal", param="a"), seed=0)
    assert torch.equal(model.a, alone["a"])
    assert torch.equal(model.b, alone["a"])
    initcfg.init_weights(model, dict(type="Constant", val=2.0, param="b"), seed=0)
    assert model.a.unique().tolist() == [2.0]
    two = [dict(type="Normal", param="a"), dict(type="Constant", val=2.0, param="b")]
    with pytest.raises(TensorError, match="are two parameters that lie in the same memory"):
        initcfg.init_weights(model, two, seed=0)
    model.b = model.a
    initcfg.init_weights(model, NORMAL, seed=0)
    assert torch.equal(model.a, alone["a"])


def test_a_large_matrix_of_columns_costs_nothing() -> None:
    memory = torch.empty(1 << 14, 1 << 15, device="meta").numel() * 4
    assert memory > 1 << 28
    whole = torch.empty(1 << 12, 1 << 15, dtype=torch.float32)
    model = nn.ParameterDict({"a": whole[:, : 1 << 14], "b": whole[:, 1 << 14 :]})
    plan = initcfg.plan(model, dict(type="Constant", val=0.0, param="*"))
    from initcfg._apply.overlaps import check_overlaps, neighbors_in
    from initcfg._model import named_tensors

    check_overlaps({**plan.parameters}, neighbors_in(named_tensors(model)))


@pytest.mark.parametrize("change", [lambda p: p.normal_(), lambda p: p.normal_().exp_()])
def test_traced_parameters_on_one_memory_hold_one_draw(change: Callable[[torch.Tensor], object]) -> None:
    def build() -> nn.Module:
        model = nn.ParameterDict({name: torch.empty(4, 4) for name in "ab"})
        model["b"].data = model["a"].data
        change(model["a"].data)
        return model

    model = build()
    initcfg.trace(build).apply(model, seed=0)
    assert torch.equal(model["a"], model["b"])
    assert len(model["a"].unique()) == 16
