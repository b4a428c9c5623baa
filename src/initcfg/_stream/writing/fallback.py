"""The stream without the kernel: the NumPy reference over blocks.

The same bits, since it is the specification itself. One thread: on arrays that fit the cache, two only
wait for the interpreter's lock (31 ns an element against 16).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from initcfg._stream.bits import Dim, Numbers, Recipe, check_indices, drawn, drawn_at
from initcfg._stream.writing.blocks import elements
from initcfg._stream.writing.underflow import gradual_underflow

# Elements at a time, and the length from which a row of them is drawn by itself.
_AT_ONCE, _LONG = 1 << 18, 1 << 12


def draw(recipe: Recipe, key: int, base: int, dims: Sequence[Dim]) -> Numbers:
    """The elements of a block, row by row, as float32 or float64; of ``dims`` the strides do not count."""
    check_indices(recipe, key, base, dims)
    with gradual_underflow():
        return _drawn(recipe, key, base, dims)


def _drawn(recipe: Recipe, key: int, base: int, dims: Sequence[Dim]) -> Numbers:
    count = elements(dims)
    # Rows of elements that follow each other in the tensor are drawn as such, where they are long.
    row = dims[-1].size if dims and dims[-1].index_stride == 1 else 1
    if row == count:
        return drawn(recipe, key, base, count)
    out = np.empty(count, dtype=np.float64 if recipe.double else np.float32)
    if row >= _LONG:
        for number, start in enumerate(_indices(base, dims[:-1], 0, count // row).tolist()):
            out[number * row : (number + 1) * row] = drawn(recipe, key, start, row)
        return out
    for start in range(0, count, _AT_ONCE):
        index = _indices(base, dims, start, min(start + _AT_ONCE, count))
        out[start : start + len(index)] = drawn_at(recipe, key, index)
    return out


def _indices(base: int, dims: Sequence[Dim], start: int, stop: int) -> npt.NDArray[np.uint64]:
    """Global indices of the elements [start, stop) of a block, counted row by row."""
    rest = np.arange(start, stop, dtype=np.uint64)
    index = np.full(stop - start, base, dtype=np.uint64)
    for dim in reversed(dims):
        rest, here = np.divmod(rest, np.uint64(dim.size))
        index += here * np.uint64(dim.index_stride)
    return index
