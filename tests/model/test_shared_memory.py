"""Which tensors have memory in common, beside what NumPy says of the same arrays."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from initcfg._model import sharing_memory


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_numpy_says(seed):
    chance = random.Random(seed)
    arrays = []
    for _ in range(4):
        memory = np.zeros(100, dtype=np.float32)
        for _ in range(chance.randrange(4)):
            first = chance.randrange(90)
            arrays.append(memory[first : first + chance.randrange(1, 10)])
    tensors = [torch.from_numpy(each) for each in arrays]
    found = sharing_memory(tensors)
    for array, tensor in zip(arrays, tensors, strict=True):
        others = [each for each in arrays if each is not array]
        assert (id(tensor) in found) == any(np.may_share_memory(array, each) for each in others)


def test_one_storage_is_one_memory_and_none_is_none():
    whole = torch.zeros(8)
    first, second = whole[:4], whole[4:]
    on_meta = [torch.empty(3, device="meta") for _ in range(2)]
    sparse = [torch.zeros(3, 3).to_sparse() for _ in range(2)]
    tensors = [first, second, *on_meta, torch.empty(0), torch.zeros(3), *sparse]
    assert sharing_memory(tensors) == {id(first), id(second)}
