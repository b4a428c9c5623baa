"""What is drawn in place, on any number of threads, has the reference's bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from initcfg._stream.bits import (
    Dim,
    Recipe,
    drawn,
    in_place,
    normal_recipe,
    trunc_normal_recipe,
    uniform_recipe,
)
from initcfg._stream.writing import fallback

KEY = 0x0123_4567_89AB_CDEF
RECIPES = {
    "normal": normal_recipe(0.1, 0.02, False),
    "tiny normal": normal_recipe(0.0, 1e-44, False),
    "uniform": uniform_recipe(-0.1, 0.7, False),
    "uniform from zero": uniform_recipe(0.0, 0.7, False),
    "cut": trunc_normal_recipe(0.0, 1.0, -2.0, 2.0, False),
    "cut at minus zero": trunc_normal_recipe(0.0, 1.0, -0.0, 2.0, False),
    "cut above": trunc_normal_recipe(0.1, 1.0, -math.inf, 2.0, False),
}


@pytest.mark.parametrize("name", RECIPES)
def test_equals_the_reference(name: str) -> None:
    recipe = RECIPES[name]
    assert in_place.draws(recipe)
    for base in (0, 1, 3, 2**34 - 5, 2**62 - 200_011):
        for count in (1, 7, in_place.AT_ONCE, in_place.AT_ONCE + 1, 200_011):
            out = np.empty(count, dtype=np.float32)
            in_place.Scratch().draw(recipe, KEY, base, out)
            assert np.array_equal(pattern(out), pattern(drawn(recipe, KEY, base, count)))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads: int) -> None:
    """Whole, and by rows of a larger tensor; also where small numbers are taken for zero."""
    recipe = RECIPES["tiny normal"]
    whole = pattern(drawn(recipe, KEY, 7, 1_200_000))
    torch.set_flush_denormal(True)
    try:
        out = fallback.draw(recipe, KEY, 7, (Dim(1_200_000, 1, 1),), threads)
        rows = fallback.draw(recipe, KEY, 7, (Dim(2, 1, 600_000), Dim(500_000, 1, 1)), threads)
    finally:
        torch.set_flush_denormal(False)
    assert np.array_equal(pattern(out), whole)
    assert np.array_equal(pattern(rows), np.concatenate([whole[:500_000], whole[600_000:1_100_000]]))
    assert (pattern(out) & 0x7FFFFFFF).max() > 0


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", RECIPES)
def test_memory_of_any_type_gets_them_rounded_once(name: str, dtype: torch.dtype, threads: int) -> None:
    """Straight into one run of memory, whole or by rows of a larger tensor; and by steps into another."""
    count, recipe = 3 * in_place.AT_ONCE + 5, RECIPES[name]
    expected = torch.from_numpy(drawn(recipe, KEY, 7, 2 * count)).to(dtype)
    whole, rows = torch.zeros(count, dtype=dtype), torch.zeros(2, count - 9, dtype=dtype)
    spread = torch.zeros(count, 2, dtype=dtype)
    torch.set_flush_denormal(True)
    try:
        fallback.fill(whole, recipe, KEY, 7, (Dim(count, 1, 1),), threads)
        fallback.fill(rows, recipe, KEY, 7, (Dim(2, count - 9, count), Dim(count - 9, 1, 1)), threads)
        fallback.fill(spread[:, 1], recipe, KEY, 7, (Dim(count, 2, 1),), threads)
    finally:
        torch.set_flush_denormal(False)
    assert torch.equal(whole.view(torch.uint8), expected[:count].view(torch.uint8))
    assert torch.equal(spread[:, 1].contiguous().view(torch.uint8), whole.view(torch.uint8))
    assert not spread[:, 0].any()
    # As FSDP does with the memory of its parameters.
    for each in (whole, rows, spread):
        assert each.untyped_storage().resizable()
    parts = torch.stack([expected[: count - 9], expected[count : 2 * count - 9]])
    assert torch.equal(rows.view(torch.uint8), parts.view(torch.uint8))


def test_the_rest_is_the_references() -> None:
    rare: list[Recipe] = [normal_recipe(0.0, 1.0, True), trunc_normal_recipe(0.0, 1.0, 6.0, 7.0, False)]
    assert not any(map(in_place.draws, rare))


def pattern(numbers: np.ndarray) -> np.ndarray:
    return numbers.view(np.uint32)
