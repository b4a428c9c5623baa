"""Orthogonal matrices with the same bits everywhere.

A library's QR adds in an order of its own, so its last bits change with the machine, the build and the
number of threads. Here the columns are orthogonalized by Gram and Schmidt's process, in panels. What
is left to the library's matrix product is whole numbers so small that every partial sum is exact, in
whichever order; all else is done element by element, in a stated order. ``docs/initializers.md`` has
the steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_PANEL = 32
_BITS = 20
# Products of two 20-bit numbers, 2¹² of them added, stay below 2⁵³.
_INNER = 1 << 12
_STEP = 2.0**-_BITS


def orthogonal(matrix: npt.NDArray[Any], gain: float) -> npt.NDArray[Any]:
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
    if matrix.shape[0] < matrix.shape[1]:
        return orthogonal(matrix.T, gain).T
    length, count = matrix.shape
    double = matrix.dtype == np.float64
    out = np.empty_like(matrix, order="C")
    # The finished columns as whole numbers: 40 bits behind the point, 60 for float64.
    done = [np.empty((length, count)) for _ in range(3 if double else 2)]
    for start in range(0, count, _PANEL):
        panel = matrix[:, start : start + _PANEL].astype(np.float64)
        end = start + panel.shape[1]
        # Where little of a column is left, what was not taken off the first time weighs more.
        for _ in range(2 if double or 16 * (length - end) < length else 1):
            if start:
                _subtract_projection(panel, [part[:, :start] for part in done])
            panel = _orthonormal(np.ascontiguousarray(panel.T)).T
        out[:, start:end] = panel * gain
        for part, whole in zip(done, _split(panel, -_BITS, len(done)), strict=True):
            part[:, start:end] = whole
    return out


def _subtract_projection(panel: Floats, done: list[Floats]) -> None:
    """Take off ``panel`` its projection on the finished columns."""
    scale = _scale(panel)
    inner, power = _product([part.T for part in done], _split(panel, scale, len(done))), scale - _BITS
    scale = _scale(inner)
    outer = _product(done, _split(inner, scale, len(done)))
    panel -= np.ldexp(outer, power + scale - _BITS)


def _scale(numbers: Floats) -> int:
    """The power of two that makes ``numbers`` whole when they are cut after 20 bits."""
    return int(np.frexp(np.abs(numbers).max())[1]) - _BITS


def _split(numbers: Floats, scale: int, parts: int) -> list[Floats]:
    """``numbers / 2**scale`` as whole numbers of 20 bits: ``p₀ + p₁·2⁻²⁰ + p₂·2⁻⁴⁰``."""
    rest = np.ldexp(numbers, -scale)
    found = []
    for _ in range(parts):
        whole = np.rint(rest)
        found.append(whole)
        rest = (rest - whole) / _STEP
    return found


def _product(left: list[Floats], right: list[Floats]) -> Floats:
    """The matrix product of two split matrices, the smallest terms first; those beyond the parts left out."""
    total = np.zeros((left[0].shape[0], right[0].shape[1]))
    for order in reversed(range(len(left))):
        total *= _STEP
        for index in range(order + 1):
            first, second = left[index], right[order - index]
            for start in range(0, first.shape[1], _INNER):
                total += first[:, start : start + _INNER] @ second[start : start + _INNER]
    return total


def _orthonormal(rows: Floats) -> Floats:
    """The rows made orthonormal, first to last, twice over; in place."""
    for _ in range(2):
        for index, row in enumerate(rows):
            norm = np.sqrt(_sum(row * row))
            if norm == 0.0:
                # A single zero, of which no sign can be told.
                row[0] = norm = 1.0
            row /= norm
            later = rows[index + 1 :]
            if len(later):
                later -= _sum(later * row)[:, None] * row
    return rows


def _sum(terms: Floats) -> Any:
    """The sum along the last axis: the second half onto the first, until one is left; changes ``terms``."""
    length = terms.shape[-1]
    while length > 1:
        half = (length + 1) // 2
        terms[..., : length - half] += terms[..., half:length]
        length = half
    return terms[..., 0]
