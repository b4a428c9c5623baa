"""The matrices of Orthogonal values: which of them a block touches, and many of them made at once.

A matrix is made as a whole, or as far as the columns reach that anyone wants, since each column depends on
those before it. What wants parts of one matrix shares it, and small matrices are one call of the kernel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from initcfg._stream import bits
from initcfg._stream.writing import fallback
from initcfg._stream.writing.as_array import as_array
from initcfg._stream.writing.blocks import Block, merged
from initcfg._stream.writing.memory import PLAIN_TENSORS
from initcfg._stream.writing.orthogonal import orthogonalize_columns, tall
from initcfg.errors import TensorError
from initcfg.values import Orthogonal, shape_problem

Inside = tuple[tuple[int, int], ...]
"""A block of a matrix: along each axis where it begins, and where it ends."""

# Elements of small matrices that are made at once.
_ELEMENTS = 1 << 22
# Unit normals in float32, and in float64.
_RECIPES = (
    (bits.normal_recipe(0.0, 1.0, False), "float32"),
    (bits.normal_recipe(0.0, 1.0, True), "float64"),
)


class Form:
    """What the matrices of a value in a tensor of a shape have in common."""

    def __init__(self, value: Orthogonal, shape: tuple[int, ...]) -> None:
        found = shape_problem(value, shape)
        if found is not None:
            raise TensorError(f"{value} cannot be made: {found}.", shape=shape)
        self.gain = float(value.gain)
        self.stack = value.stack
        self.axes = tuple(axis for axis in range(len(shape)) if axis not in value.stack)
        """The axes of the tensor that are the matrix's own."""
        self.sizes = tuple(shape[axis] for axis in self.axes)
        """How long they are."""
        self.elements = math.prod(self.sizes)
        columns = (axis for axis in self.axes if axis not in value.rows)
        self.order = tuple(self.axes.index(axis) for axis in (*value.rows, *columns))
        """The own axes that count rows, then those that count columns."""
        self.ordered_sizes = tuple(self.sizes[axis] for axis in self.order)
        self.rows = math.prod(shape[axis] for axis in value.rows)
        by_columns = self.rows * self.rows >= self.elements
        count = len(value.rows)
        self.orthogonal_axes = self.order[count:] if by_columns else self.order[:count]
        """The own axes that count what becomes orthogonal: the columns, or the rows where they are fewer."""
        self.count = math.prod(self.sizes[axis] for axis in self.orthogonal_axes)
        """How many orthogonal vectors."""
        self.strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        self.is_flat = self.order == tuple(range(len(self.order))) and len(self.order) == 2

    def reach(self, blocks: Sequence[Inside]) -> tuple[int, int]:
        """The first of the orthogonal vectors that the blocks touch, and the one behind their last."""
        first, last = self.count, 0
        for block in blocks:
            start = stop = 0
            for axis in self.orthogonal_axes:
                low, high = block[axis]
                start, stop = start * self.sizes[axis] + low, stop * self.sizes[axis] + high - 1
            first, last = min(first, start), max(last, stop + 1)
        return first, last


form_of = functools.lru_cache(maxsize=1024)(Form)
"""The form of a value's matrices in a tensor of a shape."""


class Matrix(NamedTuple):
    """A matrix of an Orthogonal: its form, where it begins in its tensor, and the stream key of its draws."""

    form: Form
    base: int
    key: int
    double: bool


class Share(NamedTuple):
    """What a tensor wants of a matrix: the block ``inside`` of it, ``into`` memory of this shape."""

    matrix: Matrix
    into: torch.Tensor
    inside: Inside


def shares_of(value: Orthogonal, block: Block, tensor: torch.Tensor, key: int) -> list[Share]:
    """What the block of a tensor wants, matrix by matrix."""
    form, double = form_of(value, block.shape), tensor.dtype == torch.float64
    if tensor.numel() == 0:
        return []
    inside = tuple((block.offsets[axis], block.offsets[axis] + tensor.shape[axis]) for axis in form.axes)
    if not form.stack:
        return [Share(Matrix(form, 0, key, double), tensor, inside)]
    shares: list[Share] = []
    for at in np.ndindex(*(tensor.shape[axis] for axis in form.stack)):
        index: list[Any] = [slice(None)] * tensor.dim()
        base = 0
        for axis, step in zip(form.stack, at, strict=True):
            index[axis] = step
            base += form.strides[axis] * (block.offsets[axis] + step)
        shares.append(Share(Matrix(form, base, key, double), tensor[tuple(index)], inside))
    return shares


def make_matrices(shares: Sequence[Share], threads: int, tell: Callable[[int], None]) -> None:
    """Make what is wanted; ``tell`` is told how many elements were written, now and then."""
    wanted: dict[Matrix, list[Share]] = {}
    for share in shares:
        wanted.setdefault(share.matrix, []).append(share)
    for batch in batches(list(wanted)):
        places = [_memory(matrix, wanted[matrix]) for matrix in batch]
        reaches = [matrix.form.reach([share.inside for share in wanted[matrix]]) for matrix in batch]
        fill_matrices(batch, places, reaches, threads)
        written = 0
        for matrix, made in zip(batch, places, strict=True):
            for share in wanted[matrix]:
                give(share, made[tuple(slice(*each) for each in share.inside)])
                written += share.into.numel()
        tell(written)


def batches(matrices: Sequence[Matrix]) -> Iterator[list[Matrix]]:
    """The matrices, small ones many at a time."""
    batch: list[Matrix] = []
    count = 0
    for matrix in matrices:
        size = matrix.form.elements
        if batch and count + size > _ELEMENTS:
            yield batch
            batch, count = [], 0
        batch.append(matrix)
        count += size
    if batch:
        yield batch


def fill_matrices(
    matrices: Sequence[Matrix],
    places: Sequence[npt.NDArray[Any]],
    reaches: Sequence[tuple[int, int]],
    threads: int,
) -> None:
    """Make matrices in memory of their own, each as far as it is wanted; the rest holds anything."""
    draw(matrices, places, threads)
    flat = [flattened(matrix.form, made) for matrix, made in zip(matrices, places, strict=True)]
    columns = [tall(each)[:, :last] for each, (_, last) in zip(flat, reaches, strict=True)]
    gains = [matrix.form.gain for matrix in matrices]
    orthogonalize_columns(columns, gains, [first for first, _ in reaches], threads)
    for matrix, made, each in zip(matrices, places, flat, strict=True):
        unflatten(matrix.form, made, each)


def make_columns_among(
    matrix: Matrix,
    made: npt.NDArray[Any],
    threads: int,
    rank: int,
    ranks: int,
    exchange: Callable[[npt.NDArray[np.float64], int], None],
) -> None:
    """Make one rank's panels of a matrix on which all work; see :func:`kernel.orthogonalize_among`."""
    draw([matrix], [made], threads)
    flat = flattened(matrix.form, made)
    bits.kernel.orthogonalize_among(tall(flat), matrix.form.gain, threads, rank, ranks, exchange)
    unflatten(matrix.form, made, flat)


def flattened(form: Form, made: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows by columns; in the same memory where that can be."""
    return made if form.is_flat else made.transpose(form.order).reshape(form.rows, -1)


def unflatten(form: Form, made: npt.NDArray[Any], flat: npt.NDArray[Any]) -> None:
    """Put what :func:`flattened` gave back where it came from, if that is another memory."""
    if made is not flat and not np.may_share_memory(made, flat):
        made.transpose(form.order)[...] = flat.reshape(form.ordered_sizes)


def draw(matrices: Sequence[Matrix], places: Sequence[npt.NDArray[Any]], threads: int) -> None:
    """The unit normals of matrices: draw 0, each number at its own row-major index in the tensor."""
    jobs: list[bits.Job] = []
    for matrix, made in zip(matrices, places, strict=True):
        form, size = matrix.form, made.itemsize
        own = zip(form.axes, made.shape, made.strides, strict=True)
        dims = merged([bits.Dim(count, stride // size, form.strides[axis]) for axis, count, stride in own])
        recipe, dtype = _RECIPES[matrix.double]
        jobs.append(bits.Job(made.ctypes.data, dtype, recipe, matrix.key, matrix.base, dims))
    if bits.kernel.available():
        bits.kernel.fill(jobs, threads)
        return
    for made, job in zip(places, jobs, strict=True):
        made[...] = fallback.draw(job.recipe, job.key, job.base, job.dims, threads).reshape(made.shape)


def give(share: Share, made: npt.NDArray[Any]) -> None:
    """Write to a share what was made for it, where that is not its own memory."""
    here = share.into.is_cpu and share.into.data_ptr() == made.ctypes.data
    if not here:
        with torch.no_grad():
            share.into.copy_(torch.from_numpy(made))


def _memory(matrix: Matrix, shares: Sequence[Share]) -> npt.NDArray[Any]:
    """Memory for a matrix: that of the tensor which wants all of it, or of its own."""
    into = shares[0].into
    kind, dtype = (np.float64, torch.float64) if matrix.double else (np.float32, torch.float32)
    plain = type(into) in PLAIN_TENSORS and into.is_cpu and into.dtype is dtype
    if len(shares) == 1 and into.shape == matrix.form.sizes and plain and not into.is_neg():
        return as_array(into)
    return np.empty(matrix.form.sizes, kind)
