"""Centering: a value without its mean along some axes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from initcfg.values.kinds import Formula
from initcfg.values.value import Value, to_json


def centered(value: Value, shape: tuple[int, ...], axes: Sequence[int]) -> Formula:
    """What a tensor of this shape holds that is drawn as ``value``, less its mean along these axes.

    Example:
        >>> from initcfg.values import Normal, centered
        >>> print(centered(Normal(0.0, 0.02), (8, 4), (1,)))
        Formula(Normal(mean=0, std=0.02), mean, sub)
    """
    program: list[Any] = [
        ["value", list(shape), "float32", to_json(value), 0],
        ["mean.dim", "$0", list(axes), True],
        ["sub.Tensor", "$0", "$1"],
        ["result", "$2"],
    ]
    return Formula(json.dumps(program, separators=(",", ":")))
