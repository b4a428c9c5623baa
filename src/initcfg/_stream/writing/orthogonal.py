"""Orthogonal matrices with the same bits everywhere: the Q of a QR decomposition.

A library's QR adds in an order of its own, so its last bits change with the machine, the build and the
number of threads. Here the order is stated (``docs/initializers.md``): Householder's reflections in float64,
48 columns at a time, each sum term by term, each operation rounded by itself. The kernel does them; without
it, NumPy does, a column or a row of terms at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from initcfg._stream.bits import kernel
from initcfg._stream.writing.underflow import gradual_underflow

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[Any]

# Columns whose reflections are applied together, and columns that the kernel computes abreast.
_PANEL, _ABREAST = 48, 8
# Rows and columns at a time: what NumPy writes in between stays in the cache.
_ROWS, _COLUMNS = 128, 256


def orthogonal(matrix: Matrix, gain: float) -> Matrix:
    """The orthogonal factor of ``matrix``, times ``gain``: the Q of QR, where R has a positive diagonal.

    If there are fewer rows than columns, the rows are orthogonal instead.

    Args:
        matrix: Of full rank, float32 or float64; the result has the same type.
        gain: Length of the orthogonal rows or columns.

    Example:
        >>> import numpy as np
        >>> from initcfg._stream.writing.orthogonal import orthogonal
        >>> orthogonal(np.array([[3.0, 1.0], [4.0, 7.0]]), 5.0).round(9).tolist()
        [[3.0, -4.0], [4.0, 3.0]]
    """
    made = np.array(matrix, order="C")
    orthogonalize([made], gain)
    return made


def orthogonalize(matrices: Sequence[Matrix], gain: float | Sequence[float], threads: int = 1) -> None:
    """:func:`orthogonal` of each matrix, in place; ``threads`` may work on them."""
    gains = gain if isinstance(gain, Sequence) else [gain] * len(matrices)
    orthogonalize_columns(list(map(tall, matrices)), gains, [0] * len(matrices), threads)


def orthogonalize_columns(
    matrices: Sequence[Matrix], gains: Sequence[float], first: Sequence[int], threads: int
) -> None:
    """Orthogonal columns, from the ``first`` of each matrix on; those before it hold anything then.

    A column depends on those before it alone: who needs no later ones leaves them out of the matrix.
    """
    if kernel.available():
        kernel.orthogonalize(matrices, gains, threads, first=first)
        return
    with gradual_underflow():
        for matrix, gain, column in zip(matrices, gains, first, strict=True):
            by_numpy(matrix, gain, column)


def tall(matrix: Matrix) -> Matrix:
    """The matrix with those as columns that become orthogonal."""
    return matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T


def by_numpy(matrix: Matrix, gain: float, first: int = 0) -> None:
    """What the kernel does, by NumPy, with the same bits: the reference. ``matrix`` has no fewer rows."""
    count = matrix.shape[1]
    work = matrix.astype(np.float64, order="C")
    products = np.zeros((count, _PANEL))
    taus, signs = np.empty(count), np.empty(count)
    panels = [slice(start, min(start + _PANEL, count)) for start in range(0, count, _PANEL)]
    for panel in panels:
        vectors = work[panel.start :, panel].copy()
        _factor(vectors, products[panel], taus[panel], signs[panel])
        _apply(vectors, products[panel], taus[panel], work[panel.start :, panel.stop :], backward=False)
        work[panel.start :, panel] = vectors
    for panel in reversed(panels):
        vectors = work[panel.start :, panel].copy()
        # Columns of the identity, reflected from the last reflection to the first.
        work[panel.start :, panel] = 0.0
        work[panel, panel.start :] = 0.0
        np.fill_diagonal(work[panel, panel], 1.0)
        made = work[panel.start :, max(panel.start, first) :]
        _apply(vectors, products[panel], taus[panel], made, backward=True)
    work *= signs * gain
    matrix[...] = work


def _factor(panel: Floats, products: Floats, taus: Floats, signs: Floats) -> None:
    """The panel's columns become the vectors v of its reflections I - tau v vᵀ, whose products are kept."""
    width = panel.shape[1]
    factors = np.zeros(width)
    for column in range(width):
        if column:
            first = column // _ABREAST * _ABREAST
            panel[column:, first:] -= panel[column:, column - 1 : column] * factors[first:]
        row, below = panel[column], panel[column + 1 :]
        terms = below[:, column : column + 1] * below
        # Sums from the first term to the last; a sum begins with zero, whose sign is plus.
        sums = np.add.accumulate(terms, axis=0)[-1] + 0.0 if len(terms) else np.zeros(width)
        head = row[column]
        norm = np.sqrt(sums[column] + head * head)
        toward = -norm if head < 0.0 else norm
        taus[column] = 0.0 if norm == 0.0 else 1.0 / (toward * (head + toward))
        # Where nothing is left of a column, nothing is reflected.
        signs[column] = 1.0 if norm == 0.0 or head < 0.0 else -1.0
        row[column] = head + toward
        sums += row[column] * row
        products[:column, column] = sums[:column]
        factors = np.where(np.arange(width) > column, taus[column] * sums, 0.0)
    panel[:width] = np.tril(panel[:width])


def _apply(panel: Floats, products: Floats, taus: Floats, to: Floats, *, backward: bool) -> None:
    """Apply a panel's reflections to the columns of ``to``, from the first to the last, or backward."""
    for start in range(0, to.shape[1], _COLUMNS):
        columns = to[:, start : start + _COLUMNS]
        sums = np.zeros((panel.shape[1], columns.shape[1]))
        terms = np.empty_like(sums)
        for vector, row in zip(panel, columns, strict=True):
            np.multiply(vector[:, None], row, out=terms)
            sums += terms
        _solve(products, taus, sums, backward=backward)
        for first in range(0, len(columns), _ROWS):
            rows, vectors = columns[first : first + _ROWS], panel[first : first + _ROWS]
            terms = np.empty_like(rows)
            for column, row in enumerate(sums):
                np.multiply(vectors[:, column : column + 1], row, out=terms)
                rows -= terms


def _solve(products: Floats, taus: Floats, sums: Floats, *, backward: bool) -> None:
    """The sums become T sums, or Tᵀ sums: the inverse of T has the products above 1 / tau."""
    width = len(sums)
    for column in reversed(range(width)) if backward else range(width):
        sums[column] *= taus[column]
        later = slice(0, column) if backward else slice(column + 1, width)
        by = products[later, column] if backward else products[column, later]
        sums[later] -= by[:, None] * sums[column]
