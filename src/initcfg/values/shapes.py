"""Which shapes a value has a meaning for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from initcfg.values.kinds import Dirac, Eye, Orthogonal, Sparse, Value


def shape_problem(value: Value, shape: Sequence[int]) -> str | None:
    """Why ``value`` has no meaning for a tensor of ``shape``; None if it has, as those of other kinds.

    Example:
        >>> from initcfg.values.shapes import shape_problem
        >>> from initcfg.values import Sparse
        >>> shape_problem(Sparse(0.9, 0.01), (8, 3, 3, 3))
        'it is for matrices, and this tensor has 4 dimensions'
    """
    rank = len(shape)
    if isinstance(value, Orthogonal):
        named = (*value.rows, *value.stack)
        if rank < 2:
            return f"rows and columns need two dimensions or more, and this tensor has {rank}"
        if any(not 0 <= axis < rank for axis in named) or len(set(named)) != len(named):
            return f"rows={value.rows} and stack={value.stack} are no axes of {rank} dimensions"
        return None if math.isfinite(value.gain) else f"its gain is {value.gain}"
    if isinstance(value, (Sparse, Eye)):
        if rank != 2:
            return f"it is for matrices, and this tensor has {rank} dimension{'' if rank == 1 else 's'}"
        if isinstance(value, Sparse) and not 0 <= value.sparsity <= 1:
            return "a sparsity lies between 0 and 1"
        return None
    if isinstance(value, Dirac):
        if rank not in (3, 4, 5):
            return f"it is for convolutions (3 to 5 dimensions), and this tensor has {rank}"
        if value.groups < 1 or shape[0] % value.groups:
            return f"{shape[0]} channels on axis 0 do not make {value.groups} equal groups"
    return None
