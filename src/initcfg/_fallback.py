"""The stream without the kernel: chunked integer operations of torch, the same bits.

Words are 64-bit integers below 2³², since torch has no unsigned arithmetic; the float32 maps take each
operation by itself, so that nothing is contracted. What needs float64 comes from the NumPy reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from initcfg._random.kernel import Dim
from initcfg._random.recipe import Kind, Recipe
from initcfg._random.reference import ABOVE, BELOW, LOG2, drawn

# Elements at once: the intermediate tensors stay in the cache.
CHUNK = 1 << 15

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_LOG2 = tuple(map(float, LOG2))
_ABOVE = tuple(map(float, ABOVE))
_BELOW = tuple(map(float, BELOW))


def draw(recipe: Recipe, key: int, base: int, dims: Sequence[Dim]) -> torch.Tensor:
    """The elements of a block, row by row, as float32 or float64.

    Args:
        recipe: What to draw.
        key: Key of the tensor.
        base: Global index of the first element.
        dims: The dimensions; only sizes and index strides count.
    """
    count = 1
    for dim in dims:
        count *= dim.size
    kind = torch.float64 if recipe.double else torch.float32
    if recipe.kind is Kind.CONSTANT:
        return torch.full((count,), recipe.numbers[0], dtype=kind)
    if len(dims) == 1 and dims[0].index_stride == 1:
        return _run(recipe, key, base, count)
    if recipe.kind in (Kind.UNIFORM, Kind.NORMAL, Kind.CUT) and not recipe.double:
        out = torch.empty(count, dtype=kind)
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            index = _indices(base, dims, start, stop)
            words = torch.stack(_philox(key, index >> 2))
            out[start:stop] = _single(recipe, words.gather(0, (index & 3).unsqueeze(0)).squeeze(0))
        return out
    inner = dims[-1]
    rows = _indices(base, dims[:-1], 0, count // inner.size).tolist()
    if inner.index_stride == 1:
        return torch.cat([_run(recipe, key, row, inner.size) for row in rows])
    each = [_run(recipe, key, row + i * inner.index_stride, 1) for row in rows for i in range(inner.size)]
    return torch.cat(each)


def _run(recipe: Recipe, key: int, start: int, count: int) -> torch.Tensor:
    """Elements [start, start + count)."""
    if recipe.double or recipe.kind not in (Kind.UNIFORM, Kind.NORMAL, Kind.CUT):
        return torch.from_numpy(drawn(recipe, key, start, count))
    out = torch.empty(count, dtype=torch.float32)
    for done in range(0, count, CHUNK):
        size = min(CHUNK, count - done)
        first, skipped = divmod(start + done, 4)
        blocks = torch.arange(first, first + -(-(skipped + size) // 4))
        words = torch.stack(_philox(key, blocks), dim=1).flatten()[skipped : skipped + size]
        out[done : done + size] = _single(recipe, words)
    return out


def _indices(base: int, dims: Sequence[Dim], start: int, stop: int) -> torch.Tensor:
    """Global indices of the elements [start, stop) of a block, counted row by row."""
    rest = torch.arange(start, stop)
    index = torch.full_like(rest, base)
    for dim in reversed(dims):
        index += (rest % dim.size) * dim.index_stride
        rest = rest // dim.size
    return index


def _philox(key: int, block: torch.Tensor) -> list[torch.Tensor]:
    """The four words of each block."""
    word0, word1 = block & _LOW, (block >> 32) & _LOW
    word2 = word3 = torch.zeros_like(word0)
    keys = [key & _LOW, key >> 32]
    for _ in range(10):
        # The product wraps around at 2⁶⁴; both halves are right all the same.
        product0, product1 = word0 * _MULTIPLIERS[0], word2 * _MULTIPLIERS[1]
        word0 = ((product1 >> 32) & _LOW).bitwise_xor_(word1).bitwise_xor_(keys[0])
        word2 = ((product0 >> 32) & _LOW).bitwise_xor_(word3).bitwise_xor_(keys[1])
        word1, word3 = product1.bitwise_and_(_LOW), product0.bitwise_and_(_LOW)
        keys = [(each + step) & _LOW for each, step in zip(keys, _KEY_STEPS, strict=True)]
    return [word0, word1, word2, word3]


def _single(recipe: Recipe, words: torch.Tensor) -> torch.Tensor:
    """Float32 numbers, each from one word."""
    middle, spread = recipe.numbers
    if recipe.kind is Kind.CUT:
        words = _scaled(words, recipe.width) + recipe.first
    # Words as signed 32-bit numbers.
    signed = (words ^ 0x80000000) - 0x80000000
    if recipe.kind is Kind.UNIFORM:
        numbers = ((signed >> 8).to(torch.float32) + 0.5) * 2.0**-23
    else:
        numbers = _standard_normal(signed)
    numbers = numbers * spread + middle
    if recipe.kind is not Kind.NORMAL:
        numbers.clamp_(recipe.low, recipe.high)
    return numbers


def _scaled(words: torch.Tensor, width: int) -> torch.Tensor:
    """``(word · width) >> 32`` for both below 2³²."""
    return ((words * width) >> 32) & _LOW


def _standard_normal(signed: torch.Tensor) -> torch.Tensor:
    """The inverse of the normal distribution function, as the reference states it."""
    folded = (signed ^ (signed >> 63)).to(torch.float32) + 0.5
    pattern = folded.view(torch.int32)
    exponent = 159.0 - (pattern >> 23).to(torch.float32)
    y = ((pattern & 0x007FFFFF) | 0x3F800000).view(torch.float32) - 1.5
    y2 = y * y
    mantissa = ((y * _LOG2[1] + _LOG2[0]) + y2 * (y * _LOG2[3] + _LOG2[2])) + (y2 * y2) * (
        (y * _LOG2[5] + _LOG2[4]) + y2 * (y * _LOG2[7] + _LOG2[6])
    )
    t = torch.sqrt(exponent - mantissa)
    t2 = t * t
    above = (t * _ABOVE[1] + _ABOVE[0]) + t2 * (t * (t * _ABOVE[4] + _ABOVE[3]) + _ABOVE[2])
    z = above / ((t * _BELOW[1] + _BELOW[0]) + t2 * (t + _BELOW[2]))
    return torch.where(signed < 0, z, -z)
