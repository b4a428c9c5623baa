"""Torch's own Philox, where this torch has it on the CPU (2.15 does): another implementation of the words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from initcfg._stream.bits import bits, stream_key


def uniforms_of_torch(key: int, count: int) -> Any:
    """A float32 uniform of torch.func._random is the low 24 bits of a word, of the key (key, offset 0)."""
    try:
        from torch.func import _random

        pair = torch.from_numpy(np.array([key, 0], dtype=np.uint64))
        return _random.uniform(pair, (count,))
    except (ImportError, AttributeError, NotImplementedError):
        return None


pytestmark = pytest.mark.skipif(
    uniforms_of_torch(0, 1) is None, reason="this torch has no torch.func._random on the CPU"
)


@pytest.mark.parametrize("key", [0, 1, stream_key(42, "weight"), 2**63 + 12345, 2**64 - 1])
@pytest.mark.parametrize("count", [1, 3, 4, 10_001])
def test_the_words_are_those_of_torch(key: int, count: int) -> None:
    theirs = uniforms_of_torch(key, count).double().numpy() * 2.0**24
    assert (theirs == (bits(key, 0, count) & np.uint32(0xFFFFFF))).all()
