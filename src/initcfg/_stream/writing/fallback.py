"""The stream without the kernel: by NumPy, over blocks.

The same bits. What is common is drawn in place, on several threads, which need the lock of the interpreter
only now and then; what is rare is drawn by the reference, on one: on its small arrays, two only wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from initcfg._stream.bits import Dim, Numbers, Recipe, check_indices, drawn, drawn_at, in_place
from initcfg._stream.writing.as_array import as_array
from initcfg._stream.writing.blocks import elements
from initcfg._stream.writing.pool import for_each
from initcfg._stream.writing.underflow import gradual_underflow

# Elements at a time, and the length from which a row of them is drawn by itself.
_AT_ONCE, _LONG = 1 << 18, 1 << 12
# Elements that a thread takes at a time.
_PIECE = 4 * in_place.AT_ONCE
# Of them, those that are rounded to another type at a time.
_ROUNDED = 1 << 15


def fill(
    memory: torch.Tensor, recipe: Recipe, key: int, base: int, dims: Sequence[Dim], threads: int = 1
) -> None:
    """Draw a block into memory of the shape of ``dims``, rounded once where its type is another."""
    row = _row_of(dims)
    alone = memory.is_cpu and memory.is_contiguous() and in_place.draws(recipe)
    if not alone or (row < _LONG and row != memory.numel()):
        numbers = torch.from_numpy(draw(recipe, key, base, dims, threads))
        with torch.no_grad(), gradual_underflow():
            memory.copy_(numbers.view(memory.shape))
        return
    check_indices(recipe, key, base, dims)
    # Not by way of memory for all of it: to touch that would take as long as to fill it.
    _share_out(recipe, key, _starts(base, dims, row), memory.view(-1), threads)


def draw(recipe: Recipe, key: int, base: int, dims: Sequence[Dim], threads: int = 1) -> Numbers:
    """The elements of a block, row by row, as float32 or float64; of ``dims`` the strides do not count."""
    check_indices(recipe, key, base, dims)
    with gradual_underflow():
        return _drawn(recipe, key, base, dims, threads)


def _drawn(recipe: Recipe, key: int, base: int, dims: Sequence[Dim], threads: int) -> Numbers:
    count, row = elements(dims), _row_of(dims)
    out = np.empty(count, dtype=np.float64 if recipe.double else np.float32)
    if row == count or row >= _LONG:
        starts = _starts(base, dims, row)
        if in_place.draws(recipe):
            _share_out(recipe, key, starts, torch.from_numpy(out), threads)
        else:
            for number, start in enumerate(starts):
                out[number * row : (number + 1) * row] = drawn(recipe, key, start, row)
        return out
    for start in range(0, count, _AT_ONCE):
        index = _indices(base, dims, start, min(start + _AT_ONCE, count))
        out[start : start + len(index)] = drawn_at(recipe, key, index)
    return out


def _row_of(dims: Sequence[Dim]) -> int:
    """How many elements follow each other in the tensor."""
    return dims[-1].size if dims and dims[-1].index_stride == 1 else 1


def _starts(base: int, dims: Sequence[Dim], row: int) -> list[int]:
    """The indices that the rows begin with; where they are long, they are drawn as such."""
    count = elements(dims)
    return [base] if row == count else _indices(base, dims[:-1], 0, count // row).tolist()


def _share_out(recipe: Recipe, key: int, starts: list[int], memory: torch.Tensor, threads: int) -> None:
    """Rows of elements that follow each other in the tensor, which begin at these indices."""
    row = len(memory) // len(starts)
    pieces = [
        (start + done, memory[number * row + done : number * row + min(done + _PIECE, row)])
        for number, start in enumerate(starts)
        for done in range(0, row, _PIECE)
    ]

    def work(piece: tuple[int, torch.Tensor]) -> None:
        # Each thread of a processor has a mode of its own, and of torch's too.
        with torch.no_grad(), gradual_underflow():
            _draw_piece(recipe, key, *piece)

    for_each(work, pieces, min(threads, len(pieces)), "initcfg-numbers")


def _draw_piece(recipe: Recipe, key: int, start: int, memory: torch.Tensor) -> None:
    if memory.dtype == torch.float32:
        _scratch().draw(recipe, key, start, as_array(memory))
        return
    numbers = np.empty(min(len(memory), in_place.AT_ONCE), dtype=np.float32)
    for done in range(0, len(memory), len(numbers)):
        part = memory[done : done + len(numbers)]
        _scratch().draw(recipe, key, start + done, numbers[: len(part)])
        # What is longer, torch would share among threads of its own.
        for each, mine in zip(part.split(_ROUNDED), torch.from_numpy(numbers).split(_ROUNDED), strict=False):
            each.copy_(mine[: len(each)])


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
