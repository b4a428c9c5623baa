"""The stream: a number is a function of seed, name and index, and of nothing else.

For checking the numbers of a model, or making them elsewhere; the specification is in the documentation.

Example:
    >>> from initcfg.stream import normal, stream_key
    >>> normal(stream_key(0, "fc.weight"), 0, 2, 0.0, 0.02).tolist()
    [-0.009465864859521389, 0.012017144821584225]
"""

from initcfg._stream.bits import (
    STREAM_VERSION,
    bits,
    normal,
    stream_key,
    trunc_normal,
    truncation_integers,
    uniform,
)
from initcfg._stream.writing import block, whole

__all__ = [
    "STREAM_VERSION",
    "bits",
    "block",
    "normal",
    "stream_key",
    "trunc_normal",
    "truncation_integers",
    "uniform",
    "whole",
]
