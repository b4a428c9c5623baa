"""Memory that nobody has touched: the same bits as in other memory, and nothing beyond the block."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from initcfg._stream.bits import kernel, stream_key
from initcfg._stream.bits.kernel import Dim, Job
from initcfg._stream.bits.recipe import Recipe, constant_recipe, normal_recipe

pytestmark = pytest.mark.skipif(
    not kernel.available(), reason=f"the kernel cannot be used: {kernel.why_not()}"
)

# Several pieces for each thread, and more than is written by way of the cache.
COUNT = 5_000_003
KEY = stream_key(7, "weight")


def filled(memory: np.ndarray, recipe: Recipe, threads: int) -> np.ndarray:
    dims = (Dim(COUNT, 1, 1),)
    kernel.fill([Job(memory.ctypes.data, "float32", recipe, KEY, 0, dims)], threads)
    return memory


@pytest.mark.parametrize("recipe", [normal_recipe(0.0, 1.0, False), constant_recipe(0.5, False)])
@pytest.mark.parametrize("threads", [1, 2, 3, 64])
@pytest.mark.parametrize("skipped", [0, 1, 1023])
def test_new_pages_get_the_same_bits(recipe: Recipe, threads: int, skipped: int) -> None:
    """Wherever a block begins in its pages, and however many threads share it."""
    wanted = filled(np.ones(COUNT, dtype=np.float32), recipe, 1)
    new = np.frombuffer(mmap.mmap(-1, 4 * (COUNT + 4096), flags=mmap.MAP_PRIVATE), dtype=np.float32)
    filled(new[skipped : skipped + COUNT], recipe, threads)
    assert np.array_equal(new[skipped : skipped + COUNT], wanted)
    assert not new[:skipped].any() and not new[skipped + COUNT :].any()


def test_pages_that_were_written_in_part_stay() -> None:
    """The first page is there, and the rest is not, or the other way round."""
    wanted = filled(np.ones(COUNT, dtype=np.float32), normal_recipe(0.0, 1.0, False), 1)
    for touched in (0, 2_000_000, COUNT + 100):
        new = np.frombuffer(mmap.mmap(-1, 4 * (COUNT + 4096), flags=mmap.MAP_PRIVATE), dtype=np.float32)
        new[touched] = 3.0
        filled(new[16 : 16 + COUNT], normal_recipe(0.0, 1.0, False), 2)
        assert np.array_equal(new[16 : 16 + COUNT], wanted)
        beyond = touched < 16 or touched >= 16 + COUNT
        assert new[touched] == (3.0 if beyond else wanted[touched - 16])
