"""The kinds of values, for initializers of your own and for reading plans.

Example:
    >>> from initcfg.values import Normal
    >>> Normal(0.0, 0.02).args
    {'mean': 0.0, 'std': 0.02}
"""

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
)
from initcfg.values.layout import Layout

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
]
