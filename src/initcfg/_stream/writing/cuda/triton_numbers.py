"""Numbers in Triton: the maps of ``bits/reference.py`` and ``bits/gauss.py``, with the same bits on a GPU.

``docs/stream.md`` fixes every operation, so each must be rounded by itself, to nearest even, with gradual
underflow. What this relies on, for NVIDIA, as read in Triton's sources (3.2 and 3.9) and seen in what it
compiles (``tests/peers/triton_compiled.py``); it was not run on a GPU yet:

- ``enable_fp_fusion=False`` at the launch: LLVM writes ``add.rn`` and ``mul.rn``, which ptxas may not
  contract, and ptxas gets ``--fmad=false``.
- ``/`` is exact for float64 (``div.rn.f64``) but not for float32 (``div.full.f32``), so that takes
  ``div_rn``; ``sqrt`` likewise (``sqrt.rn.f64``, but ``sqrt.approx``), so that takes ``sqrt_rn``.
- float32 sums and products carry no ``.ftz``. In 3.2, ``div_rn`` and ``sqrt_rn`` do, since they come from a
  library that is linked with flush-to-zero; here their operands and results are zero or far from subnormal,
  since each is a sum with a term near 1 or above, or made of two such sums.
- Conversions from integers and from float64 are ``cvt.rn``.
- A number beside a float64 tensor is taken as float64. Alone, or assigned to a name, it would be float32.

Nothing else is left to the compiler: numbers come in and go out as bits, so that 16-bit types and NaN are
integers here. Unary minus would be ``0 − x``, which loses the sign of zero, so it is a product with −1.

The code keeps to what Triton's interpreter runs too; in 3.2, annotations must not be strings for that.
"""

# What Triton takes for types are values to Python.
# pyright: reportInvalidTypeForm=false, reportGeneralTypeIssues=false

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from initcfg._stream.bits import Kind, gauss, reference

# What jitted code sees of its module must be constexpr, one by one.
CONSTANT, UNIFORM, NORMAL, CUT = (
    tl.constexpr(int(kind)) for kind in (Kind.CONSTANT, Kind.UNIFORM, Kind.NORMAL, Kind.CUT)
)
FLAT, UPPER, LOWER = (tl.constexpr(int(kind)) for kind in (Kind.FLAT, Kind.UPPER, Kind.LOWER))
# Codes of the types, as the kernel in Rust has them.
FLOAT32, FLOAT64, BFLOAT16, FLOAT16, WORDS = (tl.constexpr(code) for code in range(5))

L0, L1, L2, L3, L4, L5, L6, L7 = (tl.constexpr(float(term)) for term in reference.LOG2)
N0, N1, N2, N3, N4 = (tl.constexpr(float(term)) for term in reference.ABOVE)
D0, D1, D2 = (tl.constexpr(float(term)) for term in reference.BELOW)
TO_UNIT_23 = tl.constexpr(2.0**-23)

LN2_HIGH, LN2_LOW, SQRT_HALF = map(tl.constexpr, (gauss.LN2_HIGH, gauss.LN2_LOW, gauss.SQRT_HALF))
G0, G1, G2, G3, G4, G5, G6, G7, G8, G9, G10, G11 = map(tl.constexpr, gauss.LOG_TERMS)
M0, M1, M2, M3, M4, M5, M6, M7, M8, M9, M10, M11 = map(tl.constexpr, gauss.MILLS_TERMS[:12])
M12, M13, M14, M15, M16, M17, M18, M19, M20, M21, M22, M23 = map(tl.constexpr, gauss.MILLS_TERMS[12:])
SMALLEST_NORMAL = tl.constexpr(2.0**-1022)
TWO_TO_54 = tl.constexpr(2.0**54)


@triton.jit
def philox(block, key):
    """The four words of the blocks with the given numbers; both uint64."""
    word0 = block.to(tl.uint32)
    word1 = (block >> 32).to(tl.uint32)
    word2 = word0 & 0
    word3 = word0 & 0
    # In 64 bits, where Triton's check for overflow (of debug mode) does not look.
    key0 = key & 0xFFFFFFFF
    key1 = key >> 32
    for _ in tl.static_range(10):
        product0 = word0.to(tl.uint64) * 0xD2511F53
        product1 = word2.to(tl.uint64) * 0xCD9E8D57
        word0 = (product1 >> 32).to(tl.uint32) ^ word1 ^ key0.to(tl.uint32)
        word2 = (product0 >> 32).to(tl.uint32) ^ word3 ^ key1.to(tl.uint32)
        word1 = product1.to(tl.uint32)
        word3 = product0.to(tl.uint32)
        key0 = (key0 + 0x9E3779B9) & 0xFFFFFFFF
        key1 = (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return word0, word1, word2, word3


# -- float32 ---------------------------------------------------------------------------------------


@triton.jit
def standard_normal(word):
    """The inverse of the normal distribution function at (word + ½)·2⁻³²."""
    signed = word.to(tl.int32, bitcast=True)
    folded = (signed ^ (signed >> 31)).to(tl.float32) + 0.5
    pattern = folded.to(tl.int32, bitcast=True)
    exponent = 159.0 - (pattern >> 23).to(tl.float32)
    y = ((pattern & 0x007FFFFF) | 0x3F800000).to(tl.float32, bitcast=True) - 1.5
    y2 = y * y
    mantissa = ((L0 + y * L1) + y2 * (L2 + y * L3)) + (y2 * y2) * ((L4 + y * L5) + y2 * (L6 + y * L7))
    t = tl.sqrt_rn(exponent - mantissa)
    t2 = t * t
    above = (N0 + t * N1) + t2 * (N2 + t * (N3 + t * N4))
    below = (D0 + t * D1) + t2 * (t + D2)
    z = tl.div_rn(above, below).to(tl.uint32, bitcast=True)
    # A word below 2³¹ is the lower half: its z changes sign.
    return (z ^ ((word ^ 0xFFFFFFFF) & 0x80000000)).to(tl.float32, bitcast=True)


@triton.jit
def as_single(pattern):
    """The float32 number with these bits."""
    return pattern.to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def as_double(pattern):
    """The float64 number with these bits."""
    return pattern.to(tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def single(word, number0, number1, first, width, KIND: tl.constexpr):
    """Float32 numbers, each from one word, by a map in float32."""
    middle, spread = as_single(number0), as_single(number1)
    if KIND == UNIFORM:
        unit = ((word.to(tl.int32, bitcast=True) >> 8).to(tl.float32) + 0.5) * TO_UNIT_23
        drawn = middle + spread * unit
    else:
        if KIND == CUT:
            scaled = (word.to(tl.uint64) * width.to(tl.uint64)) >> 32
            word = (scaled + first.to(tl.uint64)).to(tl.uint32)
        drawn = middle + spread * standard_normal(word)
    return drawn


@triton.jit
def clamped(number, low, high):
    """The number, held within bounds."""
    number = tl.where(number > low, number, low)
    return tl.where(number < high, number, high)


# -- float64, as gauss.py states it ------------------------------------------------------------------


@triton.jit
def log(x):
    """The natural logarithm."""
    tiny = x < SMALLEST_NORMAL
    pattern = tl.where(tiny, x * TWO_TO_54, x).to(tl.int64, bitcast=True)
    exponent = ((pattern >> 52) & 0x7FF) - 1022 - tiny.to(tl.int64) * 54
    mantissa = ((pattern & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000).to(tl.float64, bitcast=True)
    mantissa = tl.where(x == 0.0, x, mantissa)
    exponent = tl.where(x == 0.0, exponent & 0, exponent)
    small = mantissa < SQRT_HALF
    mantissa = tl.where(small, mantissa * 2.0, mantissa)
    power = (exponent - small.to(tl.int64)).to(tl.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    total = (square * G0 + G1) * square
    total = (total + G2) * square
    total = (total + G3) * square
    total = (total + G4) * square
    total = (total + G5) * square
    total = (total + G6) * square
    total = (total + G7) * square
    total = (total + G8) * square
    total = (total + G9) * square
    total = (total + G10) * square
    twice = ratio + ratio
    return power * LN2_HIGH + ((twice + twice * total) + power * LN2_LOW)


@triton.jit
def mills(x):
    """Mills' ratio, by Clenshaw's recurrence."""
    at = (x - 5.0) / (x + 5.0)
    twice = at + at
    b22 = twice * M23 + M22
    b21 = (twice * b22 - M23) + M21
    b20 = (twice * b21 - b22) + M20
    b19 = (twice * b20 - b21) + M19
    b18 = (twice * b19 - b20) + M18
    b17 = (twice * b18 - b19) + M17
    b16 = (twice * b17 - b18) + M16
    b15 = (twice * b16 - b17) + M15
    b14 = (twice * b15 - b16) + M14
    b13 = (twice * b14 - b15) + M13
    b12 = (twice * b13 - b14) + M12
    b11 = (twice * b12 - b13) + M11
    b10 = (twice * b11 - b12) + M10
    b9 = (twice * b10 - b11) + M9
    b8 = (twice * b9 - b10) + M8
    b7 = (twice * b8 - b9) + M7
    b6 = (twice * b7 - b8) + M6
    b5 = (twice * b6 - b7) + M5
    b4 = (twice * b5 - b6) + M4
    b3 = (twice * b4 - b5) + M3
    b2 = (twice * b3 - b4) + M2
    b1 = (twice * b2 - b3) + M1
    return ((at * b1 - b2) + M0) / (x + 1.0)


@triton.jit
def into_tail(start, share):
    """How far beyond ``start`` the point lies that leaves ``share`` of the tail above it."""
    target = log(share) * -1.0
    at_start = mills(start)
    slope = 1.0 / at_start
    bend = 1.0 - 0.36 / ((start + 1.0) * (start + 1.0))
    distance = (target + target) / (slope + tl.sqrt(slope * slope + (2.0 * bend) * target))
    for _ in range(3):
        point = start + distance
        ratio = mills(point)
        excess = (distance * (start + 0.5 * distance) - log(ratio / at_start)) - target
        step = excess * ratio
        distance = distance - step / (1.0 - (0.5 * step) * (1.0 / ratio - point))
        distance = tl.where(distance > 0.0, distance, 0.0)
    return distance


@triton.jit
def double(probability, number0, number1, number2, number3, number4, KIND: tl.constexpr):
    """Float64 numbers, each from a probability."""
    first, second, third = as_double(number0), as_double(number1), as_double(number2)
    fourth, fifth = as_double(number3), as_double(number4)
    if KIND == UNIFORM:
        drawn = first + second * (2.0 * probability - 1.0)
    elif KIND == FLAT:
        drawn = first + second * probability
    elif KIND == UPPER:
        drawn = first + second * into_tail(third, 1.0 - probability * fourth)
    elif KIND == LOWER:
        drawn = first - second * into_tail(third, 1.0 - (1.0 - probability) * fourth)
    else:
        below = third + fifth * probability
        above = fourth + fifth * (1.0 - probability)
        twice = 2.0 * tl.where(below < above, below, above)
        size = into_tail(tl.full((), 0.0, tl.float64), tl.where(twice < 1.0, twice, 1.0))
        drawn = first + second * tl.where(below < above, size * -1.0, size)
    return drawn


@triton.jit
def rounded(number, TYPE: tl.constexpr):
    """The bits of float32 numbers, rounded once to a type, to nearest, ties to even."""
    pattern = number.to(tl.int32, bitcast=True)
    if TYPE == BFLOAT16:
        pattern = pattern.to(tl.uint32, bitcast=True).to(tl.int64)
        pattern = ((pattern + (((pattern >> 16) & 1) + 0x7FFF)) >> 16).to(tl.int16)
    elif TYPE == FLOAT16:
        sign = (pattern >> 16) & 0x8000
        size = pattern & 0x7FFFFFFF
        # Below 2⁻¹⁴ the spacing is 2⁻²⁴: adding ½ moves the wanted bits to the end, rounded.
        small = (size.to(tl.float32, bitcast=True) + 0.5).to(tl.int32, bitcast=True) - 0x3F000000
        shifted = size.to(tl.int64) - 0x38000000
        normal = ((shifted + (((shifted >> 13) & 1) + 0x0FFF)) >> 13).to(tl.int32)
        pattern = tl.where(size < 0x38800000, small, normal)
        # From here on infinity, or not a number.
        pattern = tl.where(size >= 0x477FF000, 0x7C00, pattern)
        pattern = tl.where(size > 0x7F800000, 0x7E00, pattern)
        pattern = (pattern | sign).to(tl.int16)
    return pattern
