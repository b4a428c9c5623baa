"""Tensors that are written in parts, one over the other: what is said of them is what torch makes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import initcfg
from initcfg.values import Formula, Parts

Made = Callable[[], torch.Tensor]


class Held(nn.Module):
    def __init__(self, make: Made) -> None:
        super().__init__()
        with torch.no_grad():
            self.weight = nn.Parameter(make())


def _made(make: Made, way: str, seed: int = 0) -> torch.Tensor:
    if way == "trace":
        model = Held(make)
        initcfg.trace(lambda: Held(make)).apply(model, seed=seed)
    else:
        with initcfg.deferred():
            model = Held(make)
        initcfg.init_weights(model, seed=seed)
    return model.weight.detach()


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().view(torch.int32)


def _rows_over_columns() -> torch.Tensor:
    made = torch.ones(3, 3)
    made[:, 1:] = 0.3
    made[0] = 1.0
    return made


def _from_an_element() -> torch.Tensor:
    made = torch.ones(4, 4)
    nn.init.constant_(made[..., 1:], 0.3)
    made[0] = made[0, 0]
    return made


def _overlapping_rows() -> torch.Tensor:
    made = torch.zeros(6, 6)
    made[2:4].fill_(1.0)
    made[3:5].fill_(2.0)
    made[0:3].fill_(0.0)
    return made


def _forget_gate() -> torch.Tensor:
    made = torch.empty(12).fill_(1.0)
    made[3:].zero_()
    made[3:6].fill_(1.0)
    return made


def _half_back() -> torch.Tensor:
    made = torch.zeros(4)
    made[1:3] = 0.5
    made[2:] = 0
    return made


def _columns_back() -> torch.Tensor:
    made = torch.zeros(3, 4)
    made[:, 1:3] = 0.5
    made[:, 1:3] = 0.0
    return made


def _scratch_used_again() -> torch.Tensor:
    made, scratch = torch.zeros(2, 4), torch.empty(4)
    for row in range(2):
        scratch.fill_(row + 1.0)
        scratch[::2].add_(1)
        made[row].copy_(scratch)
    return made


def _scratch_read_before_it_changes() -> torch.Tensor:
    made, scratch = torch.zeros(3, 4), torch.empty(4)
    scratch.fill_(1.0)
    scratch[1:3].mul_(5.0)
    made[0] = scratch
    scratch[::2] = 2.0
    made[1] = scratch
    scratch.fill_(7.0)
    scratch[::3].neg_()
    made[2] = scratch
    return made


def _weight_as_scratch() -> torch.Tensor:
    weight, made = nn.Linear(4, 4).weight.data, torch.zeros(4, 4)
    made[0].copy_(weight[0])
    weight.zero_()
    weight.view(-1).as_strided((3,), (2,), 1).add_(1)
    made[0].copy_(weight[0])
    return made


def _some_minus_zeros(change: Callable[[torch.Tensor], object]) -> Made:
    def make() -> torch.Tensor:
        made = torch.zeros(4, 4)
        change(made)
        return made

    return make


def _over_itself() -> torch.Tensor:
    made = torch.arange(9.0).view(3, 3)
    return made.copy_(made[:, :1])


def _number_that_changed() -> torch.Tensor:
    number, chance = torch.tensor([3.0, 4.0]), torch.randn(2).mul(0).abs()
    number.add_(chance).add_(1.0)
    made = torch.empty(3)
    made[1:], made[0] = number[0], number[1]
    return made


FIXED: dict[str, Made] = {
    "rows over columns": _rows_over_columns,
    "from an element": _from_an_element,
    "overlapping rows": _overlapping_rows,
    "forget gate": _forget_gate,
    "half back": _half_back,
    "columns back": _columns_back,
    "scratch used again": _scratch_used_again,
    "scratch read before it changes": _scratch_read_before_it_changes,
    "weight as scratch": _weight_as_scratch,
    "a row negative": _some_minus_zeros(lambda made: made[1].neg_()),
    "every other row negative": _some_minus_zeros(lambda made: made[::2].neg_()),
    "a row times minus two": _some_minus_zeros(lambda made: made[1].mul_(-2.0)),
    "a row by minus two": _some_minus_zeros(lambda made: made[1].div_(-2.0)),
    "a column of minus zeros": _some_minus_zeros(lambda made: made[:, 1].fill_(-0.0)),
    "over itself": _over_itself,
    "a number that changed": _number_that_changed,
}


@pytest.mark.parametrize("way", ["trace", "deferred"])
@pytest.mark.parametrize("name", FIXED)
def test_what_is_fixed_has_torchs_bits(name: str, way: str) -> None:
    assert torch.equal(_bits(_made(FIXED[name], way)), _bits(FIXED[name]()))


def _padding(made: torch.Tensor) -> torch.Tensor:
    made.zero_()
    made[1:].normal_(0, 0.02)
    made[3].zero_()
    return made


def test_a_row_of_zeros_over_random_rows_stays() -> None:
    plan = initcfg.trace(lambda: Held(lambda: _padding(torch.empty(6, 50))))
    assert isinstance(plan["weight"].value, Parts)
    for way in ("trace", "deferred"):
        made = _made(lambda: _padding(torch.empty(6, 50)), way)
        assert made[[0, 3]].eq(0).all()
        assert made[[1, 2, 4, 5]].ne(0).all()
        assert 0.015 < made[[1, 2, 4, 5]].std() < 0.025


def test_such_a_row_stays_also_in_a_model_that_is_there() -> None:
    class Words(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(6, 50)

        def init_weights(self) -> None:
            with torch.no_grad():
                _padding(self.words.weight)

    own, traced = Words(), Words()
    initcfg.init_weights(own, seed=0)
    initcfg.trace(lambda model: model.init_weights(), traced).apply(traced, seed=0)
    for model in (own, traced):
        weight = model.words.weight.detach()
        assert weight[[0, 3]].eq(0).all()
        assert 0.015 < weight[[1, 2, 4, 5]].std() < 0.025


def _blocks() -> torch.Tensor:
    made, scratch = torch.zeros(2, 40, 40), torch.empty(40, 40)
    for block in made:
        scratch.normal_()
        scratch[0, ::2] *= 2
        block.copy_(scratch)
    return made


@pytest.mark.parametrize("way", ["trace", "deferred"])
def test_a_scratch_tensor_has_new_numbers_each_time(way: str) -> None:
    first, second = _made(_blocks, way)
    assert first.ne(second).all()
    for block in (first, second):
        assert 0.9 < block[1:].std() < 1.1
        assert 0.6 < block[0, 1::2].std() < 1.6
        assert 1.2 < block[0, ::2].std() < 3.2


def _by_its_own_number() -> torch.Tensor:
    made = torch.randn(3, 3)
    return made.fill_(made[0, 0])


def _by_its_own_column() -> torch.Tensor:
    made = torch.randn(3, 3)
    return made.copy_(made[:, :1])


def _by_a_random_number() -> torch.Tensor:
    number = torch.tensor(3.0)
    number.mul_(torch.randn(()))
    return torch.cat([torch.zeros(3).fill_(number), number.view(1)])


@pytest.mark.parametrize("way", ["trace", "deferred"])
def test_what_reads_random_numbers_shows_them(way: str) -> None:
    for make in (_by_its_own_number, _by_a_random_number):
        ones = [_made(make, way, seed=seed).unique() for seed in range(2)]
        assert all(each.numel() == 1 and each.item() != 0 for each in ones)
        assert ones[0] != ones[1]
    made = _made(_by_its_own_column, way)
    assert made.eq(made[:, :1]).all()
    assert made.unique().numel() == 3


def test_random_numbers_times_zero_keep_their_signs() -> None:
    made = _made(lambda: torch.empty(1000).uniform_(-1, 3).mul_(0.0), "trace")
    assert made.eq(0).all()
    assert 200 < int(made.signbit().sum()) < 300


def test_a_draw_over_its_own_mean_is_not_said() -> None:
    """torch draws first, and then reads what it has just drawn."""

    def make() -> torch.Tensor:
        made = torch.ones(4, 4).cumsum(0)
        return torch.normal(made, 1.0, out=made)

    assert not isinstance(initcfg.trace(lambda: Held(make))["weight"].value, Formula)
