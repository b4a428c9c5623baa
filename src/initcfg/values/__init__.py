"""The kinds of values, for initializers of your own and for reading plans.

Example:
    >>> from initcfg.values import Normal
    >>> Normal(0.0, 0.02).args
    {'mean': 0.0, 'std': 0.02}
"""

from initcfg.values.adaptation import Step, steps_text
from initcfg.values.dtypes import dtype_name
from initcfg.values.kinds import (
    Adapted,
    Computed,
    Constant,
    CopyOf,
    Dirac,
    Eye,
    Formula,
    FromCheckpoint,
    Keep,
    Normal,
    Opaque,
    Orthogonal,
    PaddingRow,
    Parts,
    Sparse,
    TruncNormal,
    Uniform,
    Value,
    from_json,
    number_to_json,
    to_json,
)
from initcfg.values.layout import Layout, axes
from initcfg.values.limits import dtype_problem
from initcfg.values.shapes import shape_problem

__all__ = [
    "Adapted",
    "Computed",
    "Constant",
    "CopyOf",
    "Dirac",
    "Eye",
    "Formula",
    "FromCheckpoint",
    "Keep",
    "Layout",
    "Normal",
    "Opaque",
    "Orthogonal",
    "PaddingRow",
    "Parts",
    "Sparse",
    "TruncNormal",
    "Uniform",
    "Value",
    "from_json",
    "to_json",
    # For the package itself.
    "Step",
    "axes",
    "dtype_name",
    "dtype_problem",
    "number_to_json",
    "shape_problem",
    "steps_text",
]

for _name in __all__:
    if isinstance(_kind := globals()[_name], type):
        # Where people import it from.
        _kind.__module__ = __name__
