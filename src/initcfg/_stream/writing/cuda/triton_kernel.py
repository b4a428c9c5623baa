"""The kernel in Triton: fills a block of a tensor, however it lies in memory and in the tensor.

Imported by ``device.py``, where Triton is; ``triton_numbers.py`` says what both rely on.
"""

# What Triton takes for types are values to Python.
# pyright: reportInvalidTypeForm=false, reportGeneralTypeIssues=false

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from initcfg._stream.writing.cuda.triton_numbers import (
    CONSTANT,
    FLAT,
    FLOAT64,
    NORMAL,
    WORDS,
    as_double,
    as_single,
    clamped,
    double,
    philox,
    rounded,
    single,
)

# How the elements lie: whole blocks of words in one run of memory; rows of elements that follow each other in
# the tensor; anything.
WHOLE, ROWS, ANY = (tl.constexpr(code) for code in range(3))
TO_UNIT_32 = tl.constexpr(2.0**-32)
TO_UNIT_52 = tl.constexpr(2.0**-52)

# What a launch passes as a 64-bit number.
SCALARS = ["key", "base", "total", "across", "number0", "number1", "number2", "number3", "number4"]
SCALARS += ["low", "high", "first", "width"]
SCALARS += [f"{name}{dim}" for dim in range(6) for name in ("size", "stride", "step")]


@triton.jit
def stepped(rest, place, index, size, stride, step, OUTERMOST: tl.constexpr):
    """Along one dimension: what is left for those further out, and where that leads, in memory and tensor."""
    if OUTERMOST:
        here = rest
    else:
        quotient = rest // size
        here = rest - quotient * size
        rest = quotient
    return rest, place + here * stride, index + here * step


@triton.jit
def words_of(block, index, key, PER: tl.constexpr, WALK: tl.constexpr, BLOCK: tl.constexpr):
    """The words of the elements: of each its own, by ANY, and of all in a block of words otherwise.

    A float64 has two, the lower half first; for other types both are the same.
    """
    word0, word1, word2, word3 = philox(block, key)
    if WALK == ANY:
        lane = index & (PER - 1)
        if PER == 2:
            low_word = tl.where(lane == 0, word0, word2)
            high_word = tl.where(lane == 0, word1, word3)
        else:
            low_word = tl.where(
                lane < 2, tl.where(lane == 0, word0, word1), tl.where(lane == 2, word2, word3)
            )
            high_word = low_word
    elif PER == 2:
        low_word = tl.join(word0, word2)
        high_word = tl.join(word1, word3)
    else:
        low_word = tl.reshape(tl.join(tl.join(word0, word2), tl.join(word1, word3)), (BLOCK, 4))
        high_word = low_word
    return low_word, high_word


# Compiled once for each of the constants below, whatever the numbers are.
@triton.jit(do_not_specialize=SCALARS)
def draw(
    memory,
    key: tl.int64,
    base: tl.int64,
    total: tl.int64,
    across: tl.int64,
    number0: tl.int64,
    number1: tl.int64,
    number2: tl.int64,
    number3: tl.int64,
    number4: tl.int64,
    low: tl.int64,
    high: tl.int64,
    first: tl.int64,
    width: tl.int64,
    size0: tl.int64,
    stride0: tl.int64,
    step0: tl.int64,
    size1: tl.int64,
    stride1: tl.int64,
    step1: tl.int64,
    size2: tl.int64,
    stride2: tl.int64,
    step2: tl.int64,
    size3: tl.int64,
    stride3: tl.int64,
    step3: tl.int64,
    size4: tl.int64,
    stride4: tl.int64,
    step4: tl.int64,
    size5: tl.int64,
    stride5: tl.int64,
    step5: tl.int64,
    KIND: tl.constexpr,
    TYPE: tl.constexpr,
    PER: tl.constexpr,
    RANK: tl.constexpr,
    WALK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Fill a block of a tensor.

    Args:
        memory: Its first element, as an integer type of the same width.
        key, base: As in ``Job``; unsigned 64-bit numbers come as signed ones of the same bits.
        total, across: As in ``device.Traversal``.
        number0 to number4: The recipe's numbers, as bits of the type that its map computes in.
        low, high: The recipe's bounds, as bits of float64 for a float64 tensor, and of float32 otherwise.
        first, width: The recipe's words.
        size0 to step5: The dimensions as in ``Dim``, the innermost first.
        PER: How many elements a block of words makes.
        BLOCK: What one program makes of ``total``.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    wide_key = key.to(tl.int64).to(tl.uint64)
    index = base.to(tl.int64)
    place = at * 0
    within = at
    rest = at
    if WALK == ANY:
        rest, place, index = stepped(rest, place, index, size0, stride0, step0, RANK == 1)
    elif RANK > 1:
        rest = at // across
        within = at - rest * across
    if RANK > 1:
        rest, place, index = stepped(rest, place, index, size1, stride1, step1, RANK == 2)
    if RANK > 2:
        rest, place, index = stepped(rest, place, index, size2, stride2, step2, RANK == 3)
    if RANK > 3:
        rest, place, index = stepped(rest, place, index, size3, stride3, step3, RANK == 4)
    if RANK > 4:
        rest, place, index = stepped(rest, place, index, size4, stride4, step4, RANK == 5)
    if RANK > 5:
        rest, place, index = stepped(rest, place, index, size5, stride5, step5, RANK == 6)

    # PER is 2 or 4, and so a shift by 1 or 2.
    block = index.to(tl.uint64) >> (PER // 2)
    if WALK == ANY:
        mask = at < total
    else:
        # Where a row begins within a block of words, its first elements are not ours.
        begin = within * PER
        if WALK == ROWS:
            begin = begin - (index & (PER - 1))
        block = block + within.to(tl.uint64)
        column = begin[:, None] + tl.arange(0, PER)[None, :]
        if WALK == ROWS:
            mask = (at < total)[:, None] & (column >= 0) & (column < size0)
            place = place[:, None] + column * stride0
        else:
            # Nothing is cut, so that four numbers can be stored at once.
            mask = (at < total)[:, None]
            place = column

    if KIND == CONSTANT:
        if TYPE == FLOAT64:
            pattern = number0.to(tl.int64)
        else:
            pattern = rounded(as_single(number0), TYPE)
    else:
        low_word, high_word = words_of(block, index, wide_key, PER, WALK, BLOCK)
        if TYPE == WORDS:
            pattern = low_word.to(tl.int32, bitcast=True)
        elif TYPE == FLOAT64:
            pair = low_word.to(tl.uint64) | (high_word.to(tl.uint64) << 32)
            probability = ((pair >> 12).to(tl.int64).to(tl.float64) + 0.5) * TO_UNIT_52
            number = double(probability, number0, number1, number2, number3, number4, KIND)
            pattern = clamped(number, as_double(low), as_double(high)).to(tl.int64, bitcast=True)
        else:
            if KIND >= FLAT:
                probability = (low_word.to(tl.float64) + 0.5) * TO_UNIT_32
                number = double(probability, number0, number1, number2, number3, number4, KIND).to(tl.float32)
            else:
                number = single(low_word, number0, number1, first, width, KIND)
            if KIND != NORMAL:
                number = clamped(number, as_single(low), as_single(high))
            pattern = rounded(number, TYPE)
    tl.store(memory + place, pattern, mask=mask)
