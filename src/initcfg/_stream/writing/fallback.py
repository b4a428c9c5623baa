"""The stream without the kernel: the NumPy reference over blocks.

The same bits, since it is the specification itself. One thread: on arrays that fit the cache, two only
wait for the interpreter's lock (31 ns an element against 16).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from initcfg._stream.bits import Dim, Kind, Numbers, Recipe, check_indices, drawn, drawn_at

# Elements at a time.
_PIECE = 1 << 18
# Runs from this length on are drawn by themselves; shorter ones index by index.
_LONG = 1 << 12


def draw(recipe: Recipe, key: int, base: int, dims: Sequence[Dim]) -> Numbers:
    """The elements of a block, row by row, as float32 or float64.

    Args:
        recipe: What to draw.
        key: Key of the tensor.
        base: Global index of the first element.
        dims: The dimensions; only sizes and index strides count.

    Raises:
        ApplyError: The stream has no such elements.
    """
    check_indices(recipe, key, base, dims)
    count = 1
    for dim in dims:
        count *= dim.size
    out = np.empty(count, dtype=np.float64 if recipe.double else np.float32)
    if recipe.kind is Kind.CONSTANT:
        out.fill(recipe.numbers[0])
        return out
    if len(dims) == 1 and dims[0].index_stride == 1:
        pieces = [(start, start + base, min(_PIECE, count - start)) for start in range(0, count, _PIECE)]
    elif dims and dims[-1].index_stride == 1 and dims[-1].size >= _LONG:
        length = dims[-1].size
        rows = _indices(base, dims[:-1], 0, count // length).tolist()
        pieces = [(number * length, index, length) for number, index in enumerate(rows)]
    else:
        pieces = [(start, -1, min(_PIECE, count - start)) for start in range(0, count, _PIECE)]

    for start, index, size in pieces:
        if index >= 0:
            out[start : start + size] = drawn(recipe, key, index, size)
        else:
            out[start : start + size] = drawn_at(recipe, key, _indices(base, dims, start, start + size))
    return out


def _indices(base: int, dims: Sequence[Dim], start: int, stop: int) -> npt.NDArray[np.uint64]:
    """Global indices of the elements [start, stop) of a block, counted row by row."""
    rest = np.arange(start, stop, dtype=np.uint64)
    index = np.full(stop - start, base, dtype=np.uint64)
    for dim in reversed(dims):
        rest, here = np.divmod(rest, np.uint64(dim.size))
        index += here * np.uint64(dim.index_stride)
    return index
