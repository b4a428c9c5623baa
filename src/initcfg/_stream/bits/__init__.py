"""The random stream: from (seed, name, index) to a number, the same on every machine.

This is the reference, in plain NumPy; ``docs/stream.md`` is its specification. Nothing here imports
torch.
"""

from initcfg._stream.bits.key import STREAM_VERSION, stream_key
from initcfg._stream.bits.philox import bits
from initcfg._stream.bits.recipe import truncation_integers
from initcfg._stream.bits.reference import normal, trunc_normal, uniform

__all__ = [
    "STREAM_VERSION",
    "bits",
    "normal",
    "stream_key",
    "trunc_normal",
    "truncation_integers",
    "uniform",
]
