"""The weights and what the rule says of them stand in one place of the picture where they agree."""

from __future__ import annotations

import re

import pytest
import torch

from initcfg import values as v
from initcfg._plan.report.html.bars import law_cell
from initcfg._plan.report.html.densities import laws
from initcfg._plan.report.html.wording import Wording
from initcfg.values import Value

ONE = (192, *(0,) * 31)
Measured = tuple[tuple[float, float], tuple[int, ...]]


def _bins(d: str) -> set[int]:
    """The bins in which a path is above the ground."""
    height, place, found = 20.0, 0, set()
    for step, number in re.findall(r"([MVh])([\d.]+)", d):
        if step == "V":
            height = float(number)
        elif step == "h":
            if height < 20:
                found.add(place)
            place += 1
    return found


def _drawn(value: Value | None, measured: Measured | None, ends: tuple[float, float] | None = None):
    words = Wording("en", {})
    cell = str(law_cell(laws(value, (64, 64)) if value is not None else (), words, measured, ends))
    paths = [_bins(each) for each in re.findall(r'<path[^>]* d="([^"]+)"', cell)]
    shown = re.findall(r"<span>([^<]+)</span>", cell)
    return paths, shown


def _rounded(number: float, dtype: torch.dtype) -> Measured:
    there = torch.tensor(number).to(dtype).item()
    return (there, there), ONE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("number", [0.0, 1.0, 0.1, 0.7, -3.0, 1 / 3, -1e-4])
def test_a_constant_stands_where_its_rule_says(number: float, dtype: torch.dtype) -> None:
    (weights, theory), shown = _drawn(v.Constant(number), _rounded(number, dtype))
    assert weights == theory == {16}
    assert shown[0] == ("−1" if number == 0 else shown[0])


def test_a_constant_that_its_rule_does_not_say_stands_apart() -> None:
    for value, number in ((0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, 1.02)):
        (weights, theory), shown = _drawn(v.Constant(value), ((number, number), ONE))
        assert weights == ({31} if number > value else {0}) and theory == {31 - min(weights)}
        assert shown[0] != shown[1]
    (weights, theory), shown = _drawn(v.Normal(0.0, 0.02), ((0.0, 0.0), ONE))
    assert weights == {16} and len(theory) == 32 and shown == ["−0.08", "0.08"]


def test_numbers_at_the_ends_are_not_lost_by_rounding() -> None:
    end = torch.tensor(0.7).item()
    (weights, theory), _ = _drawn(v.Hadamard(0.7), ((-end, end), (96, *(0,) * 30, 96)))
    assert weights == theory == {0, 31}


def test_two_are_drawn_over_one_range() -> None:
    even = (10,) * 32
    for edges, bins in (((-0.5, 0.5), set(range(8, 24))), ((-1.0, 1.0), set(range(32))), ((1.0, 1.0), {31})):
        counts = ONE if edges[0] == edges[1] else even
        paths, shown = _drawn(None, (edges, counts), (-1.0, 1.0))
        assert paths == [bins] and shown == ["−1", "1"]
    assert _drawn(None, ((0.0, 0.0), (0,) * 32))[0] == []
