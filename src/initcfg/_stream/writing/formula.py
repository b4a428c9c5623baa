"""Computing what a formula says."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from initcfg._stream.writing.foresight import formula_problem
from initcfg._stream.writing.formula_machine import Machine, RandomSource
from initcfg.errors import ApplyError, InitcfgError
from initcfg.values import Formula, dtype_name


def evaluate(
    formula: Formula, source: RandomSource, shape: Sequence[int], initial: torch.Tensor
) -> torch.Tensor:
    """The tensor that a formula describes, of this shape.

    ``initial`` is (a block of) the tensor itself: its type counts, and what it holds for formulas that begin
    with that.
    """
    problem = formula_problem(formula, shape, dtype_name(initial.dtype))
    if problem is not None:
        raise ApplyError(f"{formula} cannot be computed: {problem}.", shape=shape)
    with torch.no_grad():
        try:
            return Machine(source, initial).run(formula)
        except InitcfgError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            raise ApplyError(f"{formula} cannot be computed: {error}.") from error
