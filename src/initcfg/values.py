"""The kinds of values, for initializers of your own and for reading plans.

Example:
    >>> from initcfg.values import Normal
    >>> Normal(0.0, 0.02).args
    {'mean': 0.0, 'std': 0.02}
"""

from initcfg._layout import Layout
from initcfg._values import (
    Constant,
    FromCheckpoint,
    Keep,
    Normal,
    Opaque,
    PaddingRow,
    Parts,
    TruncNormal,
    Uniform,
    Value,
)

__all__ = [
    "Constant",
    "FromCheckpoint",
    "Keep",
    "Layout",
    "Normal",
    "Opaque",
    "PaddingRow",
    "Parts",
    "TruncNormal",
    "Uniform",
    "Value",
]
