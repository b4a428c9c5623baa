"""Values: what a whole tensor is filled with, as pure data.

In: resolved numbers, or the JSON of a value.
Out: a :class:`Value`, which compares, hashes, prints and goes through JSON; the fans of a :class:`Layout`;
why a tensor of some shape and data type cannot hold a value.

Read: `misfits.py` (where a fault lies in JSON), then `value.py` (the base, and JSON by declared types),
`kinds.py` (the kinds), `formulas/` (what a formula may use), `adaptation_steps.py` (what may be done to a
tensor of a checkpoint), `layout.py` (what axes mean), `own_faults.py` (what is wrong with a value by
itself), `scaling.py` (a value times a factor), `centering.py` (a value without its mean), `requirements.py`
(what a value asks of its tensor),
`dtypes.py` (names of data types), `finite_numbers.py` (numbers from outside).

Which value a parameter gets is decided by the initializers and the planner; it is written in `_stream`.

Example:
    >>> from initcfg.values import Normal
    >>> Normal(0.0, 0.02).args
    {'mean': 0.0, 'std': 0.02}
"""

from initcfg.values.adaptation_steps import AdaptationStep, scales_text, steps_text
from initcfg.values.centering import centered
from initcfg.values.dtypes import dtype_name
from initcfg.values.finite_numbers import is_finite_number
from initcfg.values.kinds import (
    Adapted,
    Computed,
    Constant,
    CopyOf,
    Dirac,
    Eye,
    Formula,
    FromBatch,
    FromCheckpoint,
    Hadamard,
    Hooked,
    Keep,
    Normal,
    Numbers,
    Opaque,
    Originals,
    Orthogonal,
    PaddingRow,
    Parts,
    Repeat,
    Scaled,
    Seeded,
    Sparse,
    TruncNormal,
    Uniform,
    formulas_in,
)
from initcfg.values.layout import Layout
from initcfg.values.misfits import Misfit, short
from initcfg.values.own_faults import own_fault
from initcfg.values.requirements import dtype_problem, original_sampler_remark, shape_problem
from initcfg.values.scaling import scaled
from initcfg.values.value import (
    JsonText,
    Value,
    declared_types,
    from_json,
    number_to_json,
    record,
    to_json,
    typed,
)

__all__ = [
    "centered",
    "Adapted",
    "Computed",
    "Constant",
    "CopyOf",
    "Dirac",
    "Eye",
    "Formula",
    "FromBatch",
    "FromCheckpoint",
    "Hadamard",
    "Hooked",
    "Keep",
    "Layout",
    "Normal",
    "Numbers",
    "Opaque",
    "Originals",
    "Orthogonal",
    "PaddingRow",
    "Parts",
    "Repeat",
    "Scaled",
    "Seeded",
    "Sparse",
    "TruncNormal",
    "Uniform",
    "Value",
    "from_json",
    "to_json",
    # For the package itself.
    "AdaptationStep",
    "JsonText",
    "Misfit",
    "declared_types",
    "dtype_name",
    "is_finite_number",
    "dtype_problem",
    "formulas_in",
    "number_to_json",
    "original_sampler_remark",
    "own_fault",
    "record",
    "scaled",
    "scales_text",
    "shape_problem",
    "short",
    "steps_text",
    "typed",
]

for _name in __all__:
    if type(_exported := globals()[_name]) is type:
        # Where people import it from.
        _exported.__module__ = __name__
