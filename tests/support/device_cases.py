"""What the tests of a GPU's kernel share: a recipe of every kind, and what the reference makes of it."""

from __future__ import annotations

import numpy as np
import torch

from initcfg._stream.bits import reference
from initcfg._stream.bits.recipe import (
    BITS,
    Recipe,
    constant_recipe,
    normal_recipe,
    trunc_normal_recipe,
    uniform_recipe,
)

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "uint32": torch.int32,
}
SENTINEL = 77


def recipes(double: bool) -> dict[str, Recipe]:
    """A recipe of every kind, by name."""
    return {
        "constant": constant_recipe(0.1, double),
        "minus zero": constant_recipe(-0.0, double),
        "subnormal": constant_recipe(-1e-40, double),
        "infinity": constant_recipe(float("-inf"), double),
        "uniform": uniform_recipe(-0.1, 0.7, double),
        "tiny uniform": uniform_recipe(-1e-7, 3e-8, double),
        "subnormal uniform": uniform_recipe(-1e-41, 1e-40, double),
        "normal": normal_recipe(0.1, 0.02, double),
        "wide normal": normal_recipe(-3.0, 2e4, double),
        "no spread": normal_recipe(-0.0, 0.0, double),
        "cut": trunc_normal_recipe(0.1, 0.02, 0.09, 0.15, double),
        "uncut": trunc_normal_recipe(0.0, 0.02, -2.0, 2.0, double),
        "flat": trunc_normal_recipe(0.0, 1.0, 1e-9, 2e-9, double),
        "upper": trunc_normal_recipe(0.0, 1.0, 6.0, 8.0, double),
        "far upper": trunc_normal_recipe(0.0, 1e-30, 1.0, 2.0, double),
        "lower": trunc_normal_recipe(0.0, 1.0, -40.0, -6.0, double),
        "narrow": trunc_normal_recipe(0.0, 1.0, -0.001, 0.002, double),
        "one-sided": trunc_normal_recipe(0.0, 1.0, -9.0, 0.001, double),
        "end": trunc_normal_recipe(0.0, 1e-200, 1.0, 2.0, double),
    }


SINGLE, DOUBLE = recipes(False), recipes(True)


def all_cases() -> list[tuple[str, str]]:
    """Type and name of every recipe."""
    cases = [(dtype, name) for dtype in DTYPES if dtype != "uint32" for name in SINGLE]
    return [*cases, ("uint32", "bits")]


def recipe_for(dtype: str, name: str) -> Recipe:
    """A recipe by its type and name."""
    return BITS if name == "bits" else (DOUBLE if dtype == "float64" else SINGLE)[name]


def expected(recipe: Recipe, dtype: str, base: int, count: int, key: int) -> torch.Tensor:
    """By the reference, and torch's own rounding to 16 bits."""
    numbers = reference.drawn(recipe, key, base, count)
    if dtype == "uint32":
        numbers = numbers.view(np.int32)
    return torch.from_numpy(numbers).to(DTYPES[dtype])


def pattern(tensor: torch.Tensor) -> torch.Tensor:
    """The bits, since −0.0 equals 0.0."""
    return tensor.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])
