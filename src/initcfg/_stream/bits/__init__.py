"""The random stream: from (seed, name, index) to a number, the same on every machine.

This is the reference, in plain NumPy; ``docs/stream.md`` is its specification. Nothing here imports
torch.
"""

from initcfg._stream.bits.kernel import BYTES, Dim, Job, check_indices
from initcfg._stream.bits.key import STREAM_VERSION, Keys, stream_key
from initcfg._stream.bits.philox import bits
from initcfg._stream.bits.recipe import (
    Kind,
    Recipe,
    constant_recipe,
    normal_recipe,
    trunc_normal_recipe,
    truncation_integers,
    uniform_recipe,
)
from initcfg._stream.bits.reference import Numbers, drawn, drawn_at, normal, trunc_normal, uniform

__all__ = [
    "BYTES",
    "Dim",
    "Job",
    "Keys",
    "Kind",
    "Numbers",
    "Recipe",
    "STREAM_VERSION",
    "bits",
    "check_indices",
    "constant_recipe",
    "drawn",
    "drawn_at",
    "normal",
    "normal_recipe",
    "stream_key",
    "trunc_normal",
    "trunc_normal_recipe",
    "truncation_integers",
    "uniform",
    "uniform_recipe",
]
