"""Values that are more than one number after another: matrices, permutations, identities.

:func:`whole` makes a whole tensor, :func:`block` a rectangular block of one; the numbers are those of the
random stream (``docs/initializers.md`` says which), or under :func:`whole_torch` those of torch's own
generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import init

from initcfg._stream import bits
from initcfg._stream.bits import Numbers
from initcfg._stream.writing.blocks import Block
from initcfg._stream.writing.matrices import make_matrices, shares_of
from initcfg._stream.writing.threads import thread_count
from initcfg.errors import ApplyError, TensorError
from initcfg.values import Dirac, Eye, Hadamard, Orthogonal, Sparse, Value, shape_problem

WHOLE = (Orthogonal, Sparse, Dirac, Eye, Hadamard)
"""The values that are made whole."""

Keys = Callable[[int], int]
"""From the number of a draw to its stream key."""

# Words that are sorted at once: bounds the extra memory.
_WORDS = 1 << 20


def whole(value: Value, shape: Sequence[int], key_of: Keys, dtype: npt.DTypeLike = np.float32) -> Numbers:
    """A whole tensor of ``value``; see :func:`block`.

    Example:
        >>> from initcfg._stream.bits import stream_key
        >>> from initcfg._stream.writing.whole_values import whole
        >>> from initcfg.values import Orthogonal
        >>> q = whole(Orthogonal(1.0), (2, 2), lambda draw: stream_key(0, "weight", 0, draw))
        >>> abs(q @ q.T).round(6).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return block(value, shape, (0,) * len(shape), shape, key_of, dtype)


def block(
    value: Value,
    shape: Sequence[int],
    offsets: Sequence[int],
    sizes: Sequence[int],
    key_of: Keys,
    dtype: npt.DTypeLike = np.float32,
) -> Numbers:
    """The block of ``whole(value, shape, ...)`` that begins at ``offsets`` and has ``sizes``.

    Of an Orthogonal, whole matrices are made, as far as the block reaches: large ones one at a time.

    Args:
        value: An Orthogonal, Sparse, Dirac, Eye or Hadamard.
        shape: The global shape.
        offsets: Where the block begins, axis by axis.
        sizes: How long it is, axis by axis.
        key_of: Gives the stream key of a draw; Dirac, Eye and Hadamard never ask.
        dtype: float32 or float64; smaller types are float32, rounded once.

    Example:
        >>> from initcfg._stream.writing.whole_values import block
        >>> from initcfg.values import Eye
        >>> block(Eye(2.0), (4, 4), (1, 0), (2, 3), lambda draw: 0).tolist()
        [[0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]
    """
    _check(value, shape)
    Block(tuple(shape), tuple(offsets)).check(sizes)
    out = np.zeros(tuple(sizes), dtype=dtype)
    if 0 in out.shape:
        return out
    if isinstance(value, Orthogonal):
        place = Block(tuple(shape), tuple(offsets))
        make_matrices(
            shares_of(value, place, torch.from_numpy(out), key_of(0)), thread_count(), lambda _: None
        )
    elif isinstance(value, Sparse):
        _fill_sparse(out, value, shape, offsets, key_of)
    elif isinstance(value, Dirac):
        per_group = shape[0] // value.groups
        rows = np.arange(offsets[0], offsets[0] + sizes[0])
        center = tuple(size // 2 - start for size, start in zip(shape[2:], offsets[2:], strict=True))
        if all(0 <= at < size for at, size in zip(center, sizes[2:], strict=True)):
            _set_ones(out[(slice(None), slice(None), *center)], rows % per_group - offsets[1], 1.0)
    elif isinstance(value, Eye):
        _set_ones(out, np.arange(offsets[0], offsets[0] + sizes[0]) - offsets[1], value.gain)
    elif isinstance(value, Hadamard):
        _fill_hadamard(out, value.gain, offsets)
    return out


def _check(value: Value, shape: Sequence[int]) -> None:
    if not isinstance(value, WHOLE):
        raise ApplyError(f"A value of kind {value.kind} is not made whole.")
    found = shape_problem(value, shape)
    if found is not None:
        raise TensorError(f"{value} cannot be made: {found}.", shape=shape)


def _fill_sparse(
    out: Numbers, value: Sparse, shape: Sequence[int], offsets: Sequence[int], key_of: Keys
) -> None:
    key, std, width = key_of(0), value.std, out.shape[1]
    # Rows that lie side by side in the tensor are drawn together.
    at_once = max(1, _WORDS // width) if width == shape[1] else 1
    for first in range(0, len(out), at_once):
        rows = out[first : first + at_once]
        start = (offsets[0] + first) * shape[1] + offsets[1]
        rows[:] = bits.normal(key, start, rows.size, 0.0, std, dtype=out.dtype).reshape(rows.shape)
    out[zeros_of(value, shape, offsets, out.shape, key_of(1))] = 0.0


def zeros_of(
    value: Sparse, shape: Sequence[int], offsets: Sequence[int], sizes: Sequence[int], key: int
) -> npt.NDArray[np.bool_]:
    """Where a block of a Sparse is zero, by the stream key of draw 1.

    Element (row, column) has the word ``column · rows + row`` of the key. In each column, the
    ``ceil(sparsity · rows)`` smallest of the pairs (word, row) are zero. So a block needs the words of
    its own columns, and no others.
    """
    rows = shape[0]
    count = math.ceil(value.sparsity * rows)
    found = np.zeros(tuple(sizes), dtype=np.bool_)
    if count == 0:
        return found
    at_once = max(1, _WORDS // rows)
    row_numbers = np.arange(rows, dtype=np.uint64)
    inside = slice(offsets[0], offsets[0] + sizes[0])
    for first in range(0, sizes[1], at_once):
        width = min(at_once, sizes[1] - first)
        start = (offsets[1] + first) * rows
        pairs = bits.bits(key, start, width * rows).astype(np.uint64).reshape(width, rows)
        pairs <<= np.uint64(32)
        pairs |= row_numbers
        last = np.partition(pairs, count - 1, axis=1)[:, count - 1 : count]
        found[:, first : first + width] = (pairs <= last)[:, inside].T
    return found


def _set_ones(out: Numbers, columns: npt.NDArray[np.int64], number: float) -> None:
    """``number`` at (i, columns[i]), where that column exists."""
    rows = np.flatnonzero((columns >= 0) & (columns < out.shape[1]))
    out[rows, columns[rows]] = number


def _fill_hadamard(out: Numbers, gain: float, offsets: Sequence[int]) -> None:
    columns = np.arange(offsets[1], offsets[1] + out.shape[1], dtype=np.uint64)
    for row, into in enumerate(out, offsets[0]):
        shared = columns & np.uint64(row)
        # Folded in halves, the lowest bit tells whether their number is odd.
        for half in (32, 16, 8, 4, 2, 1):
            shared ^= shared >> np.uint64(half)
        into[:] = np.where(shared & np.uint64(1), -gain, gain)


def whole_torch(tensor: torch.Tensor, value: Value) -> None:
    """Fill ``tensor`` by torch.nn.init's own functions, from torch's global generator."""
    _check(value, tensor.shape)
    if tensor.numel() == 0:
        return
    with torch.no_grad():
        if isinstance(value, Orthogonal):
            _orthogonal_torch(tensor, value)
        elif isinstance(value, Sparse):
            init.sparse_(tensor, value.sparsity, value.std)
        elif isinstance(value, Dirac):
            init.dirac_(tensor, value.groups)
        elif isinstance(value, Eye):
            init.eye_(tensor)
            if value.gain != 1:
                tensor.mul_(value.gain)
        elif isinstance(value, Hadamard):
            dtype = np.float64 if tensor.dtype == torch.float64 else np.float32
            tensor.copy_(torch.from_numpy(whole(value, tensor.shape, lambda draw: 0, dtype)))


def _orthogonal_torch(tensor: torch.Tensor, value: Orthogonal) -> None:
    columns = [axis for axis in range(tensor.dim()) if axis not in (*value.rows, *value.stack)]
    # A view with the stack first, then the rows, then the columns. torch has no QR for small types.
    view = tensor.permute(*value.stack, *value.rows, *columns)
    rows = math.prod(tensor.shape[axis] for axis in value.rows)
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    for index in np.ndindex(*view.shape[: len(value.stack)]):
        matrix = view[index]
        made = torch.empty(rows, matrix.numel() // rows, dtype=dtype, device=tensor.device)
        matrix.copy_(init.orthogonal_(made, value.gain).view(matrix.shape))
