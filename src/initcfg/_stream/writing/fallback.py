"""The stream without the kernel: by NumPy, over blocks.

The same bits. What is common is drawn in place, on several threads, which need the lock of the interpreter
only now and then; what is rare is drawn by the reference, on one: on its small arrays, two only wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from initcfg._stream.bits import Dim, Numbers, Recipe, check_indices, drawn, drawn_at, in_place
from initcfg._stream.writing.blocks import elements
from initcfg._stream.writing.underflow import gradual_underflow

# Elements at a time, and the length from which a row of them is drawn by itself.
_AT_ONCE, _LONG = 1 << 18, 1 << 12
# Elements that a thread takes at a time.
_PIECE = 4 * in_place.AT_ONCE


def draw(recipe: Recipe, key: int, base: int, dims: Sequence[Dim], threads: int = 1) -> Numbers:
    """The elements of a block, row by row, as float32 or float64; of ``dims`` the strides do not count."""
    check_indices(recipe, key, base, dims)
    with gradual_underflow():
        return _drawn(recipe, key, base, dims, threads)


def _drawn(recipe: Recipe, key: int, base: int, dims: Sequence[Dim], threads: int) -> Numbers:
    count = elements(dims)
    # Rows of elements that follow each other in the tensor are drawn as such, where they are long.
    row = dims[-1].size if dims and dims[-1].index_stride == 1 else 1
    out = np.empty(count, dtype=np.float64 if recipe.double else np.float32)
    if row == count:
        return _rows(recipe, key, [base], out, threads)
    if row >= _LONG:
        return _rows(recipe, key, _indices(base, dims[:-1], 0, count // row).tolist(), out, threads)
    for start in range(0, count, _AT_ONCE):
        index = _indices(base, dims, start, min(start + _AT_ONCE, count))
        out[start : start + len(index)] = drawn_at(recipe, key, index)
    return out


def _rows(recipe: Recipe, key: int, starts: list[int], out: Numbers, threads: int) -> Numbers:
    """Rows of elements that follow each other in the tensor, which begin at these indices."""
    row = len(out) // len(starts)
    rows = [(start, out[number * row : (number + 1) * row]) for number, start in enumerate(starts)]
    if not in_place.draws(recipe):
        for start, memory in rows:
            memory[:] = drawn(recipe, key, start, row)
        return out
    pieces = [
        (start + done, memory[done : done + _PIECE])
        for start, memory in rows
        for done in range(0, len(memory), _PIECE)
    ]

    def fill(piece: tuple[int, Numbers]) -> None:
        # Each thread of a processor has a mode of its own.
        with gradual_underflow():
            _scratch().draw(recipe, key, *piece)

    threads = min(threads, len(pieces))
    if threads == 1:
        for piece in pieces:
            fill(piece)
        return out
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, pieces):
            pass
    return out


_own = threading.local()


def _scratch() -> in_place.Scratch:
    """The arrays of this thread."""
    if not hasattr(_own, "scratch"):
        _own.scratch = in_place.Scratch()
    return _own.scratch


def _indices(base: int, dims: Sequence[Dim], start: int, stop: int) -> npt.NDArray[np.uint64]:
    """Global indices of the elements [start, stop) of a block, counted row by row."""
    rest = np.arange(start, stop, dtype=np.uint64)
    index = np.full(stop - start, base, dtype=np.uint64)
    for dim in reversed(dims):
        rest, here = np.divmod(rest, np.uint64(dim.size))
        index += here * np.uint64(dim.index_stride)
    return index
