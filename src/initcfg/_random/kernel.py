"""The kernel: a compiled library that draws whole batches of blocks, bit for bit as the reference.

It is optional. Everything that crosses into it is checked here: it trusts its pointers and sizes.
"""

from __future__ import annotations

import ctypes
import math
import os
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from initcfg._random.recipe import Kind, Recipe
from initcfg.errors import ApplyError

_ABI = 1
_TYPES = {"float32": (0, 4), "float64": (1, 8), "bfloat16": (2, 2), "float16": (3, 2), "uint32": (4, 4)}
_PATHS = {1: "plain", 2: "AVX2", 3: "AVX-512"}
_JOB = struct.Struct("<QQQQ6I7d")
_DIM = struct.Struct("<QqQ")
_SUFFIXES = (".so", ".dylib", ".pyd", ".dll")


class Dim(NamedTuple):
    """One dimension of a block: how many elements, and how far apart in memory and in the tensor."""

    size: int
    stride: int
    index_stride: int


class Job(NamedTuple):
    """A block to draw.

    Attributes:
        pointer: Address of its first element.
        dtype: Its type: ``"float32"``, ``"float64"``, ``"bfloat16"``, ``"float16"``; ``"uint32"`` for bits.
        recipe: What to draw.
        key: Key of the tensor.
        base: Row-major index of the first element in the global tensor.
        dims: Its dimensions; no two elements may share memory.
    """

    pointer: int
    dtype: str
    recipe: Recipe
    key: int
    base: int
    dims: tuple[Dim, ...]


def available() -> bool:
    """Whether the kernel can be used."""
    return why_not() is None


def why_not() -> str | None:
    """Why the kernel cannot be used; None if it can."""
    if os.environ.get("INITCFG_KERNEL") == "0":
        return "INITCFG_KERNEL=0 turns it off"
    return _load()[1]


def features() -> str:
    """The instruction set that it uses here."""
    library = _load()[0]
    return "none" if library is None else _PATHS.get(library.initcfg_path(), "unknown")


def fill(jobs: Sequence[Job], threads: int, *, path: str | None = None) -> None:
    """Draw a batch of blocks into memory.

    Args:
        jobs: The blocks. No two may share an element.
        threads: How many threads may work at most; the numbers do not depend on it.
        path: Instruction set, for tests: ``"plain"``, ``"AVX2"`` or ``"AVX-512"``.

    Raises:
        ApplyError: The kernel is not there, or a job makes no sense.
    """
    library = _load()[0]
    if library is None:
        raise ApplyError(f"The kernel cannot be used: {why_not()}.")
    if not 1 <= threads <= 4096:
        raise ApplyError(f"The number of threads must be from 1 to 4096, not {threads!r}.")
    jobs = [job for job in jobs if not any(dim.size == 0 for dim in job.dims)]
    if not jobs:
        return
    dims = bytearray()
    offsets = []
    for job in jobs:
        offsets.append(len(dims))
        for dim in _checked_dims(job):
            dims += _DIM.pack(*dim)
    dims_memory = (ctypes.c_char * len(dims)).from_buffer(dims)
    address = ctypes.addressof(dims_memory)
    packed = bytearray(_JOB.size * len(jobs))
    for number, (job, offset) in enumerate(zip(jobs, offsets, strict=True)):
        _JOB.pack_into(packed, number * _JOB.size, *_fields(job, address + offset))
    jobs_memory = (ctypes.c_char * len(packed)).from_buffer(packed)
    wanted = 0 if path is None else {name: number for number, name in _PATHS.items()}[path]
    code = library.initcfg_fill(ctypes.addressof(jobs_memory), len(jobs), threads, wanted)
    if code != 0:
        raise ApplyError(
            "The kernel failed." if code == 1 else f"The kernel does not know one of {len(jobs)} jobs.",
            mend="INITCFG_KERNEL=0 turns it off; please report this.",
        )


def _fields(job: Job, dims: int) -> tuple[int | float, ...]:
    recipe = job.recipe
    numbers = list(recipe.numbers)
    if len(numbers) == 2:
        numbers += [recipe.low, recipe.high]
    numbers += [0.0] * (5 - len(numbers))
    rank = max(len(job.dims), 1)
    code = _TYPES[job.dtype][0]
    numbers += [recipe.low, recipe.high]
    return (
        job.pointer,
        dims,
        job.key,
        job.base,
        rank,
        code,
        recipe.kind,
        recipe.first,
        recipe.width,
        0,
        *numbers,
    )


def _checked_dims(job: Job) -> Sequence[Dim]:
    """The dimensions, at least one.

    Raises:
        ApplyError: The job makes no sense.
    """
    if job.dtype not in _TYPES:
        raise ApplyError(f"The kernel does not make {job.dtype}.")
    if job.recipe.double != (job.dtype == "float64") or (job.recipe.kind is Kind.BITS) != (
        job.dtype == "uint32"
    ):
        raise ApplyError(f"A recipe for another type cannot make {job.dtype}.")
    size = _TYPES[job.dtype][1]
    elements, last_index, low, high = 1, job.base, 0, 0
    for dim in job.dims:
        if dim.size < 0 or dim.index_stride < 0:
            raise ApplyError(f"A block has no dimension of {dim.size} elements.")
        elements *= dim.size
        last_index += (dim.size - 1) * dim.index_stride
        reach = (dim.size - 1) * dim.stride
        low, high = min(low, low + reach), max(high, high + reach)
    words = 2 if job.recipe.double else 1
    if not 0 <= job.key < 1 << 64 or job.base < 0 or (last_index + 1) * words > 1 << 64:
        raise ApplyError("A key has 64 bits, and words from 0 to 2**64 - 1.")
    start, stop = job.pointer + low * size, job.pointer + (high + 1) * size
    if job.pointer <= 0 or start <= 0 or stop > 1 << 63 or elements > 1 << 60:
        raise ApplyError("A block lies outside of the memory.")
    if job.pointer % size:
        raise ApplyError("The memory of a block is not aligned to its elements.")
    if (
        not all(math.isfinite(number) for number in job.recipe.numbers)
        and job.recipe.kind is not Kind.CONSTANT
    ):
        raise ApplyError("A recipe holds a number that is not finite.")
    return job.dims or (Dim(1, 1, 1),)


@lru_cache(maxsize=1)
def _load() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or why there is none."""
    folder = Path(__file__).parents[1]
    found = sorted(each for each in folder.glob("_kernel*") if each.suffix in _SUFFIXES)
    if not found:
        return None, "it was not built (a Rust toolchain was missing when initcfg was installed)"
    try:
        library = ctypes.CDLL(str(found[0]))
        if library.initcfg_abi() != _ABI:
            return None, f"{found[0].name} is of another version of initcfg"
    except (OSError, AttributeError) as error:
        return None, f"{found[0].name} cannot be loaded: {error}"
    library.initcfg_fill.argtypes = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32)
    library.initcfg_fill.restype = ctypes.c_int32
    library.initcfg_path.restype = ctypes.c_uint32
    return library, None
