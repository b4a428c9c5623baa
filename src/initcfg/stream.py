"""The stream: a number is a function of seed, name and index, and of nothing else.

For checking the numbers of a model, or making them elsewhere; the specification is in the documentation.

Example:
    >>> from initcfg.stream import normal, stream_key
    >>> normal(stream_key(0, "fc.weight"), 0, 2, 0.0, 0.02).tolist()
    [-0.009465864859521389, 0.012017144821584225]
"""

from initcfg._stream.bits import STREAM_VERSION
from initcfg._stream.bits import bits as _bits
from initcfg._stream.bits import normal as _normal
from initcfg._stream.bits import stream_key as _stream_key
from initcfg._stream.bits import trunc_normal as _trunc_normal
from initcfg._stream.bits import truncation_integers as _truncation_integers
from initcfg._stream.bits import uniform as _uniform
from initcfg._stream.writing import block as _block
from initcfg._stream.writing import whole as _whole
from initcfg.errors import PlanError, as_annotated

bits = as_annotated(PlanError)(_bits)
block = as_annotated(PlanError)(_block)
normal = as_annotated(PlanError)(_normal)
stream_key = as_annotated(PlanError)(_stream_key)
trunc_normal = as_annotated(PlanError)(_trunc_normal)
truncation_integers = as_annotated(PlanError)(_truncation_integers)
uniform = as_annotated(PlanError)(_uniform)
whole = as_annotated(PlanError)(_whole)

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
