"""The kernel: a compiled library that draws whole batches of blocks, bit for bit as the reference.

It is optional. It trusts its pointers and sizes, so everything that crosses into it is checked here.
"""

from __future__ import annotations

import ctypes
import math
import struct
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initcfg._stream.bits.recipe import Kind, Recipe
from initcfg._stream.environment import turned_off
from initcfg.errors import ApplyError

_ABI = 5
# Code of a type, and bytes of an element.
_TYPES = {"float32": (0, 4), "float64": (1, 8), "bfloat16": (2, 2), "float16": (3, 2), "uint32": (4, 4)}
BYTES = {name: size for name, (_, size) in _TYPES.items()}
"""Bytes of an element, by the name of its type."""
_PATHS = {"plain": 1, "AVX2": 2, "AVX-512": 3, "NEON": 4}
_SUFFIXES = (".so", ".dylib", ".pyd", ".dll")
_MOST_THREADS = 4096
_NO_MEMORY = 3
_SWITCH = "INITCFG_KERNEL"
# From so many whole tensors on, columns are packed in less time than rows.
_COLUMNS = 16
# No memory reaches there.
_NO_ADDRESS, _NO_COUNT = 1 << 62, 1 << 57

# As rust/src/job.rs has them: a dimension; a job, up to its recipe; a recipe.
_DIM = struct.Struct("<QqQ")
_JOB = struct.Struct("<QQQQII")
_RECIPE = struct.Struct("<4I7d")
# As rust/src/orthogonal/matrix.rs has it.
_MATRIX = struct.Struct("<QQQqqdQQ")
# As rust/src/orthogonal/process.rs has it: what sends numbers from one rank to all.
_EXCHANGE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)
_JOB_BYTES = _JOB.size + _RECIPE.size
_JOB_LAYOUT = np.dtype(
    [
        *((name, "<u8") for name in ("pointer", "dims", "key", "base")),
        *((name, "<u4") for name in ("rank", "dtype")),
        ("recipe", f"V{_RECIPE.size}"),
    ]
)


class Dim(NamedTuple):
    """One dimension of a block: how many elements, and how far apart in memory and in the tensor."""

    size: int
    stride: int
    index_stride: int


class Job(NamedTuple):
    """A block to draw, from the element at ``base`` of the global tensor on; no two may share memory."""

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
    if turned_off(_SWITCH):
        return "INITCFG_KERNEL=0 turns it off"
    return _load()[1]


def library() -> ctypes.CDLL | None:
    """The library, where it can be used."""
    return _load()[0] if available() else None


def features() -> str:
    """The instruction set that the kernel uses here unasked, or ``"none"``."""
    library = _load()[0]
    best = 0 if library is None else library.initcfg_features()
    return next((name for name, number in _PATHS.items() if number == best), "none")


def paths() -> tuple[str, ...]:
    """The instruction sets that the kernel can use here."""
    library = _load()[0]
    if library is None:
        return ()
    return tuple(name for name, number in _PATHS.items() if library.initcfg_has(number))


class WholeTensors:
    """Whole tensors to draw, each one run of memory; packed by columns, since there may be thousands.

    Attributes:
        pointers: Their memory; see :class:`Job`.
        kinds: Their dtypes and recipes; of many tensors, few that are the same object.
        counts: Their numbers of elements.
        keys: Their keys.
    """

    def __init__(self) -> None:
        self.pointers = array("Q")
        self.kinds: list[tuple[str, Recipe]] = []
        self.counts = array("Q")
        self.keys: Sequence[int] = []

    def __len__(self) -> int:
        return len(self.pointers)

    def jobs(self) -> list[Job]:
        """The tensors as jobs."""
        columns = zip(self.pointers, self.kinds, self.counts, self.keys, strict=True)
        return [Job(start, *kind, key, 0, (Dim(count, 1, 1),)) for start, kind, count, key in columns]

    def overlap(self) -> bool:
        """Whether two of them share memory."""
        if len(self) < _COLUMNS:
            columns = zip(self.pointers, self.kinds, self.counts, strict=True)
            spans = sorted((start, start + count * BYTES[kind[0]]) for start, kind, count in columns)
            return any(first[1] > second[0] for first, second in pairwise(spans))
        kinds, which = self._distinct_kinds()
        sizes = np.array([BYTES[dtype] for dtype, _ in kinds], dtype=np.uint64)
        pointers = _column(self.pointers)
        stops = pointers + _column(self.counts) * sizes[which]
        order = np.argsort(pointers)
        return bool((stops[order][:-1] > pointers[order][1:]).any())

    def packed_dims(self) -> bytes:
        """Their dimensions, one each, as the kernel reads them."""
        if len(self) < _COLUMNS:
            return b"".join([_DIM.pack(count, 1, 1) for count in self.counts])
        dims = np.ones((len(self), 3), dtype="<u8")
        dims[:, 0] = _column(self.counts)
        return dims.tobytes()

    def packed(self, dims: int) -> bytes:
        """The jobs as the kernel reads them, their dimensions at the address ``dims``."""
        return self._packed_rows(dims) if len(self) < _COLUMNS else self._packed_columns(dims)

    def _packed_rows(self, dims: int) -> bytes:
        places = range(dims, dims + _DIM.size * len(self), _DIM.size)
        columns = zip(self.pointers, self.kinds, self.keys, self.counts, places, strict=True)
        packed = [_packed_whole(start, *kind, *others) for start, kind, *others in columns]
        return b"".join(packed)

    def _packed_columns(self, dims: int) -> bytes:
        pointers, counts = _column(self.pointers), _column(self.counts)
        kinds, which = self._distinct_kinds()
        if (pointers == 0).any() or (pointers >= _NO_ADDRESS).any() or (counts >= _NO_COUNT).any():
            raise ApplyError("A block lies outside of the memory.")
        packed_recipes = b"".join([_packed_recipe(recipe, dtype) for dtype, recipe in kinds])
        types = np.array([_TYPES[dtype] for dtype, _ in kinds], dtype=np.uint64)[which]
        if (pointers % types[:, 1]).any():
            raise ApplyError("The memory of a block is not aligned to its elements.")
        jobs = np.zeros(len(self), dtype=_JOB_LAYOUT)
        jobs["pointer"] = pointers
        jobs["dims"] = dims + _DIM.size * np.arange(len(self), dtype=np.uint64)
        jobs["key"] = _column(self.keys)
        jobs["rank"] = 1
        jobs["dtype"] = types[:, 0]
        jobs["recipe"] = np.frombuffer(packed_recipes, dtype=_JOB_LAYOUT["recipe"])[which]
        return jobs.tobytes()

    def _distinct_kinds(self) -> tuple[list[tuple[str, Recipe]], np.ndarray]:
        """The kinds once each, and which of them each tensor has."""
        identities = list(map(id, self.kinds))
        kinds = dict(zip(identities, self.kinds, strict=True))
        if len(kinds) == 1:
            return list(kinds.values()), np.zeros(len(self), dtype=np.intp)
        places = {identity: place for place, identity in enumerate(kinds)}
        return list(kinds.values()), np.array([places[each] for each in identities])


def _column(numbers: Sequence[int]) -> np.ndarray:
    """Numbers that take no sign and 64 bits."""
    return np.frombuffer(numbers if isinstance(numbers, array) else array("Q", numbers), np.uint64)


def _packed_whole(pointer: int, dtype: str, recipe: Recipe, key: int, count: int, dims: int) -> bytes:
    """The job of a whole tensor as the kernel reads it, its dimension at the address ``dims``."""
    packed_recipe, (code, size) = _packed_recipe(recipe, dtype), _TYPES[dtype]
    if not 0 < pointer < _NO_ADDRESS or not 0 <= count < _NO_COUNT:
        raise ApplyError("A block lies outside of the memory.")
    if pointer % size:
        raise ApplyError("The memory of a block is not aligned to its elements.")
    return _JOB.pack(pointer, dims, key, 0, 1, code) + packed_recipe


def fill_one(pointer: int, dtype: str, recipe: Recipe, key: int, count: int, threads: int) -> None:
    """Draw one whole tensor, for which the kernel is :func:`available`; see :meth:`WholeTensors.add`."""
    dims = array("Q", (count, 1, 1))
    _run(_packed_whole(pointer, dtype, recipe, key, count, dims.buffer_info()[0]), threads, 0)


def fill(
    jobs: Sequence[Job], threads: int, *, path: str | None = None, whole: WholeTensors | None = None
) -> None:
    """Draw a batch of blocks into memory.

    Args:
        jobs: The blocks. No two may share an element, nor any of ``whole``.
        threads: How many threads may work at most; the numbers do not depend on it.
        path: Instruction set, one of :func:`paths`, for tests; None takes the fastest.
        whole: Further tensors.
    """
    try:
        _usable(path, threads)
        packed, dims = _packed(jobs, whole)
    except (TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
        raise ApplyError(f"A job for the kernel holds something of the wrong type: {error}.") from error
    if not packed:
        return
    wanted = 0 if path is None else _PATHS[path]
    _run(packed, threads, wanted)
    # The jobs point into them.
    del dims


def _run(packed: bytes, threads: int, path: int) -> None:
    library = _load()[0]
    assert library is not None
    _check(library.initcfg_fill(packed, len(packed) // _JOB_BYTES, index(threads), path))


def orthogonalize(
    matrices: Sequence[npt.NDArray[Any]],
    gain: float | Sequence[float],
    threads: int,
    *,
    first: Sequence[int] = (),
    path: str | None = None,
) -> None:
    """Make the columns of matrices orthogonal and of length ``gain``, in place.

    Args:
        matrices: float32 or float64, with any strides, and none with fewer rows than columns. No two may
            share an element.
        gain: The length; or one for each matrix.
        threads: How many threads may work at most; the numbers do not depend on it.
        first: For each matrix the first column that is made; those before it hold anything then.
        path: Instruction set, one of :func:`paths`, for tests; None takes the fastest.
    """
    library = _usable(path, threads)
    gains = gain if isinstance(gain, Sequence) else [gain] * len(matrices)
    packed = bytearray(b"".join(map(_packed_matrix, matrices, gains, first or [0] * len(matrices))))
    if not packed:
        return
    memory = (ctypes.c_char * len(packed)).from_buffer(packed)
    wanted = 0 if path is None else _PATHS[path]
    _check(library.initcfg_orthogonal(ctypes.addressof(memory), len(matrices), threads, wanted))


def orthogonalize_among(
    matrix: npt.NDArray[Any],
    gain: float,
    threads: int,
    rank: int,
    ranks: int,
    exchange: Callable[[npt.NDArray[np.float64], int], None],
) -> None:
    """Make those columns of a matrix orthogonal that are one rank's of several, all at work on it.

    The columns are dealt out 48 at a time, from rank 0 on, again and again; the others' hold anything then.

    Args:
        matrix: See :func:`orthogonalize`; the same on all ranks.
        gain: The length.
        threads: How many threads may work at most.
        rank: Which of the ranks this one is.
        ranks: How many there are.
        exchange: Given an array and the number of a rank, fills it with what that rank has there. First of
            all it is given an empty one: then it returns when all ranks have come so far.
    """
    library = _usable(None, threads)
    packed = _packed_matrix(matrix, gain, 0)
    raised: list[BaseException] = []

    def called(pointer: int | None, count: int, root: int) -> int:
        try:
            numbers = np.empty(0)
            if pointer and count:
                numbers = np.ctypeslib.as_array((ctypes.c_double * count).from_address(pointer))
            exchange(numbers, root)
        except BaseException as error:
            # It cannot pass through the kernel.
            raised.append(error)
            return 1
        return 0

    code = library.initcfg_orthogonal_among(packed, threads, 0, rank, ranks, _EXCHANGE(called))
    if raised:
        raise raised[0]
    _check(code)


def _packed_matrix(matrix: npt.NDArray[Any], gain: float, first: int) -> bytes:
    rows, columns = matrix.shape
    pointer, size = matrix.ctypes.data, matrix.itemsize
    down, across = matrix.strides
    if rows < columns or not matrix.flags.writeable or matrix.dtype.char not in "fd":
        raise ApplyError(f"The kernel makes no columns of {matrix.dtype} orthogonal, {rows} × {columns}.")
    if pointer % size or down % size or across % size:
        raise ApplyError("The memory of a matrix is not aligned to its elements.")
    if not 0 <= first <= columns:
        raise ApplyError(f"A matrix of {columns} columns has no column {first}.")
    return _MATRIX.pack(pointer, rows, columns, down // size, across // size, gain, size == 8, first)


def _check(code: int) -> None:
    if code == _NO_MEMORY:
        raise MemoryError("There is no memory for the columns of an orthogonal matrix in float64.")
    if code != 0:
        raise ApplyError(f"The kernel failed, with code {code}.", fix="INITCFG_KERNEL=0 turns it off.")


def _usable(path: str | None, threads: int) -> ctypes.CDLL:
    """The library; an error where it cannot be used so."""
    reason, library = why_not(), _load()[0]
    if reason is not None or library is None:
        raise ApplyError(f"The kernel cannot be used: {reason}.")
    if path is not None and path not in paths():
        raise ApplyError(f"The kernel has no path {path!r} here.", meant=paths())
    if not 1 <= index(threads) <= _MOST_THREADS:
        raise ApplyError(f"The number of threads must be from 1 to {_MOST_THREADS}, not {threads!r}.")
    return library


def _packed(jobs: Sequence[Job], whole: WholeTensors | None) -> tuple[bytes, Any]:
    """All jobs as the kernel reads them, and the memory of their dimensions."""
    checked: list[tuple[Job, bytes, int]] = []
    sizes: list[bytes] = []
    of_whole = 0
    for job in jobs:
        packed_recipe, (_, size) = _packed_recipe(job.recipe, job.dtype), _TYPES[job.dtype]
        dims = job.dims or (Dim(1, 1, 1),)
        if _check_block(job, dims, size) == 0:
            continue
        place = _DIM.size * of_whole
        checked.append((job._replace(dims=dims), packed_recipe, place))
        sizes += [_DIM.pack(*dim) for dim in dims]
        of_whole += len(dims)
    if whole:
        sizes.append(whole.packed_dims())
    memory = array("B", b"".join(sizes))
    address = memory.buffer_info()[0]
    packed = [
        _JOB.pack(job.pointer, address + place, job.key, job.base, len(job.dims), _TYPES[job.dtype][0])
        + packed_recipe
        for job, packed_recipe, place in checked
    ]
    if whole:
        packed.append(whole.packed(address + _DIM.size * of_whole))
    return b"".join(packed), memory


def _check_block(job: Job, dims: Sequence[Dim], size: int) -> int:
    """How many elements a block has; an error where it cannot lie in memory, or in the stream."""
    elements, low, high = 1, 0, 0
    for count, stride, index_stride in dims:
        if count < 0 or index_stride < 0:
            raise ApplyError(f"A block has no dimension of {count} elements, {index_stride} apart.")
        elements *= index(count)
        reach = (count - 1) * index(stride)
        low, high = low + min(reach, 0), high + max(reach, 0)
    if elements == 0:
        return 0
    check_indices(job.recipe, job.key, job.base, dims)
    pointer = index(job.pointer)
    if pointer <= 0 or pointer + low * size <= 0 or pointer + (high + 1) * size > 1 << 63:
        raise ApplyError("A block lies outside of the memory.")
    if elements > 1 << 60:
        raise ApplyError(f"A block of {elements} elements fits no memory.")
    if pointer % size:
        raise ApplyError(f"The memory of a block of {job.dtype} is not aligned to its elements.")
    return elements


def check_indices(recipe: Recipe, key: int, base: int, dims: Sequence[Dim]) -> None:
    """Raise ApplyError unless the stream has every element of a block."""
    if not 0 <= index(key) < 1 << 64:
        raise ApplyError(f"A key must be an integer from 0 to 2**64 - 1, not {key!r}.")
    last = index(base)
    for count, _, index_stride in dims:
        last += (count - 1) * index(index_stride)
    if base < 0 or (last + 1) * (2 if recipe.double else 1) > 1 << 64:
        raise ApplyError(f"A key has the words 0 to 2**64 - 1; elements {base} to {last} lie beyond.")


@lru_cache(maxsize=4096)
def _packed_recipe(recipe: Recipe, dtype: str) -> bytes:
    """The recipe's part of a job; an error where it does not make that type, or holds no numbers."""
    if dtype not in _TYPES:
        raise ApplyError(f"The kernel does not make {dtype!r}.", meant=tuple(_TYPES))
    if recipe.double != (dtype == "float64") or (recipe.kind is Kind.BITS) != (dtype == "uint32"):
        raise ApplyError(f"A recipe for another type cannot make {dtype}.")
    if recipe.kind is not Kind.CONSTANT and not all(map(math.isfinite, recipe.numbers)):
        raise ApplyError("A recipe holds a number that is not finite.")
    numbers = (*recipe.numbers, *[0.0] * (5 - len(recipe.numbers)))
    return _RECIPE.pack(recipe.kind, recipe.first, recipe.width, 0, *numbers, recipe.low, recipe.high)


@lru_cache(maxsize=1)
def _load() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or why there is none."""
    folder = Path(str(resources.files("initcfg")))
    found = [each for each in folder.glob("_kernel*") if each.suffix in _SUFFIXES]
    reason = "it was not built, since a Rust toolchain was missing when initcfg was installed"
    # The one that was built last, where an editable install has left several.
    for each in sorted(found, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            library = ctypes.CDLL(str(each))
            abi = library.initcfg_abi()
            address, unsigned = ctypes.c_void_p, ctypes.c_uint32
            library.initcfg_features.restype = unsigned
            library.initcfg_has.argtypes = (unsigned,)
            library.initcfg_has.restype = unsigned
            library.initcfg_fill.argtypes = (address, ctypes.c_uint64, unsigned, unsigned)
            library.initcfg_fill.restype = ctypes.c_int32
            library.initcfg_orthogonal.argtypes = (address, ctypes.c_uint64, unsigned, unsigned)
            library.initcfg_orthogonal.restype = ctypes.c_int32
            numbers = (ctypes.c_uint64, ctypes.c_uint64)
            library.initcfg_orthogonal_among.argtypes = (address, unsigned, unsigned, *numbers, _EXCHANGE)
            library.initcfg_orthogonal_among.restype = ctypes.c_int32
        except (OSError, AttributeError) as error:
            reason = f"{each.name} cannot be loaded: {error}"
            continue
        if abi == _ABI:
            return library, None
        reason = f"{each.name} is of another version of initcfg"
    return None, reason
