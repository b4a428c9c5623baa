"""The random stream: from seed, name and index to a number, the same on every machine.

In: a seed, the name of a tensor, and a distribution.
Out: the key, and the numbers of any elements; a recipe that every faster implementation draws by.

Read: `key.py` (a key from seed and name), then `philox.py` (words from a key), `recipe.py` (a distribution,
every number in it rounded), `gauss.py` (the normal distribution by exact operations), `reference.py` (numbers
from words), `in_place.py` (most of them again, without new memory), `kernel.py` (the compiled library, which
gives the same bits faster), `many_keys.py` (the keys of many names at once), `piece_digests.py` (SHA-256 of
what was written).
Plain NumPy, no torch; ``docs/stream.md`` is the specification.
"""

from initcfg._stream.bits import gauss, in_place, kernel, reference
from initcfg._stream.bits.kernel import BYTES, Dim, Job, check_indices
from initcfg._stream.bits.key import (
    FIRST,
    STREAM_VERSION,
    Keys,
    name_text,
    name_texts,
    seed_number,
    stream_key,
)
from initcfg._stream.bits.many_keys import many_keys
from initcfg._stream.bits.philox import bits
from initcfg._stream.bits.piece_digests import piece_digests
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
    "FIRST",
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
    "gauss",
    "in_place",
    "kernel",
    "many_keys",
    "name_text",
    "name_texts",
    "normal",
    "normal_recipe",
    "piece_digests",
    "reference",
    "seed_number",
    "stream_key",
    "trunc_normal",
    "trunc_normal_recipe",
    "truncation_integers",
    "uniform",
    "uniform_recipe",
]
