"""Filling tensors of a CUDA device where they are, by the kernel in Triton.

It is optional: what it does not take goes through memory here. A variant of it (kind, type, walk, rank) is
used on a device only after it drew a small block there with the bits of the reference.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from initcfg._stream.bits import Dim, Kind, Recipe, check_indices
from initcfg._stream.environment import turned_off
from initcfg._stream.writing import fallback
from initcfg._stream.writing.blocks import elements, strided_view
from initcfg.errors import log
from initcfg.values import dtype_name

MOST_DIMS = 6
"""Dimensions that the kernel counts through by itself."""

# Codes of the types and of the walks, as in triton_kernel.py.
_TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3, torch.int32: 4}
_PATTERNS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_WHOLE, _ROWS, _ANY = range(3)
_WARPS = 4
# Elements that one program makes: eight a thread, or two where each takes hundreds of operations in float64.
_ELEMENTS, _ELEMENTS_BY_DOUBLES = 1024, 256
_PROOF = 4096
_SMALLEST_NORMAL, _STEP = 2.0**-126, 2.0**-149


class Traversal(NamedTuple):
    """How the kernel goes over a block, the innermost dimension first.

    ``total`` counts blocks of words, of which a row takes ``across`` at most; or elements, one by one.
    """

    code: int
    total: int
    across: int
    dims: tuple[Dim, ...]


class _Variant(NamedTuple):
    """What is compiled by itself, and a device."""

    device: torch.device
    kind: Kind
    dtype: torch.dtype
    walk: int
    rank: int


_proofs: dict[_Variant, str | None] = {}


def why_not(device: torch.device) -> str | None:
    """Why tensors of a device are not filled there; None if they are."""
    for switch in ("INITCFG_KERNEL", "INITCFG_TRITON"):
        if turned_off(switch):
            return f"{switch}=0 turns it off"
    if device.type != "cuda":
        return f"there is no kernel for {device.type}"
    if torch.version.hip is not None:
        return "nothing is known of its exactness on ROCm"
    kernel, reason = _triton()
    if kernel is not None and type(kernel.draw).__name__ == "InterpretedFunction":
        return "TRITON_INTERPRET is set"
    return reason


def fill(tensor: torch.Tensor, recipe: Recipe, key: int, base: int, dims: tuple[Dim, ...]) -> bool:
    """Draw a block into a tensor of a CUDA device, on its current stream; False if nothing was written."""
    if why_not(tensor.device) is not None:
        return False
    check_indices(recipe, key, base, dims)
    if any(dim.size == 0 for dim in dims):
        return True
    dims = tuple(dim for dim in dims if dim.size != 1) or (Dim(1, 1, 1),)
    if not _is_proved(tensor, recipe, key, base, dims[-MOST_DIMS:]):
        return False
    for part, start, offset in _pieces(dims, base, 0):
        launch(tensor, recipe, key, start, part, offset=offset)
    return True


def problems() -> tuple[str, ...]:
    """What was found wrong with variants of the kernel so far."""
    return tuple(dict.fromkeys(problem for problem in _proofs.values() if problem is not None))


def launch(
    tensor: torch.Tensor,
    recipe: Recipe,
    key: int,
    base: int,
    dims: Sequence[Dim],
    *,
    offset: int = 0,
    elements: int | None = None,
) -> None:
    """Run the kernel on a tensor, at most :data:`MOST_DIMS` dimensions of it.

    Args:
        tensor: The tensor; int32 for words.
        recipe, key, base, dims: See :class:`Job`.
        offset: Elements in memory from the tensor's first to the block's.
        elements: How many elements a program makes, a power of two; the numbers do not depend on it.
    """
    triton_kernel = _triton()[0]
    doubles = recipe.double or recipe.kind >= Kind.FLAT
    per = 2 if recipe.double else 4
    walk = traversal_of(dims, base, per)
    block = (elements or (_ELEMENTS_BY_DOUBLES if doubles else _ELEMENTS)) // per
    memory = tensor.detach().view(_PATTERNS[tensor.element_size()])
    if offset:
        memory = torch.as_strided(memory, (), (), memory.storage_offset() + offset)
    sizes: list[int] = []
    for dim in (*walk.dims, *[Dim(1, 0, 0)] * MOST_DIMS)[:MOST_DIMS]:
        sizes += (dim.size, dim.stride, _signed(dim.index_stride))
    with torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext():
        triton_kernel.draw[(-(-walk.total // block),)](
            memory,
            _signed(key),
            _signed(base),
            walk.total,
            walk.across,
            *_numbers(recipe),
            recipe.first,
            recipe.width,
            *sizes,
            KIND=int(recipe.kind),
            TYPE=_TYPES[tensor.dtype],
            PER=per,
            RANK=len(walk.dims),
            WALK=walk.code,
            BLOCK=block,
            num_warps=_WARPS,
            enable_fp_fusion=False,
        )


def traversal_of(dims: Sequence[Dim], base: int, per: int) -> Traversal:
    """How to go over a block, where a block of words makes ``per`` elements."""
    inner, count = dims[-1], elements(dims)
    if inner.index_stride != 1 or inner.stride != min(dim.stride for dim in dims):
        # Neighbours in memory are made by neighbours; each makes a block of words and takes one of them.
        by_stride = tuple(sorted(reversed(dims), key=lambda dim: dim.stride))
        return Traversal(_ANY, count, 1, by_stride)
    innermost_first = tuple(reversed(dims))
    if len(dims) > 1:
        # Wherever in a block of words a row may begin.
        across = (inner.size + 2 * per - 2) // per
        return Traversal(_ROWS, across * (count // inner.size), across, innermost_first)
    if inner.stride == 1 and base % per == 0 and count % per == 0:
        return Traversal(_WHOLE, count // per, 1, innermost_first)
    return Traversal(_ROWS, -(-(base % per + count) // per), 1, innermost_first)


def _pieces(dims: tuple[Dim, ...], base: int, offset: int) -> Iterator[tuple[tuple[Dim, ...], int, int]]:
    """A block in pieces of at most ``MOST_DIMS`` dimensions: these, index and place of the first element."""
    if len(dims) <= MOST_DIMS:
        yield dims, base, offset
        return
    outer = dims[0]
    for row in range(outer.size):
        yield from _pieces(dims[1:], base + row * outer.index_stride, offset + row * outer.stride)


def _is_proved(tensor: torch.Tensor, recipe: Recipe, key: int, base: int, dims: tuple[Dim, ...]) -> bool:
    """Whether the variant that the block takes is right on its device; found out once."""
    walk = traversal_of(dims, base, 2 if recipe.double else 4)
    variant = _Variant(tensor.device, recipe.kind, tensor.dtype, walk.code, len(dims))
    if variant not in _proofs:
        problem = _proofs[variant] = _problem(tensor.device, tensor.dtype, recipe, key, base, dims)
        if problem is not None:
            log(
                "The stream's kernel for GPUs is not used for %s of %s on %s: %s. The numbers are made "
                "on the CPU and copied.",
                dtype_name(tensor.dtype),
                recipe.kind.name,
                tensor.device,
                problem,
            )
    return _proofs[variant] is None


def _problem(
    device: torch.device, dtype: torch.dtype, recipe: Recipe, key: int, base: int, dims: tuple[Dim, ...]
) -> str | None:
    """What is wrong with a small block of the same kind, beside the reference; None if nothing is."""
    small = _small(dims)
    count = elements(small)
    expected = torch.from_numpy(fallback.draw(recipe, key, base, small)).to(dtype)
    memory = torch.zeros(count, dtype=dtype, device=device)
    try:
        launch(memory, recipe, key, base, small)
        found = strided_view(memory, small).cpu()
    # Triton, its compilers and the driver each have their own errors; none must stop what can go another way.
    except Exception as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        return f"it fails with {type(error).__name__}: {first_line}"
    pattern = _PATTERNS[memory.element_size()]
    wrong = int((found.contiguous().view(-1).view(pattern) != expected.view(pattern)).sum())
    return f"{wrong} of {count} numbers differ from the reference" if wrong else None


def _small(dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The corner of a block, for which the kernel takes the same walk, packed in the same order of memory."""
    sizes, room = [dim.size for dim in dims], _PROOF
    for place in reversed(range(len(dims))):
        sizes[place] = min(sizes[place], max(2, room))
        room //= sizes[place]
    strides, stride = [0] * len(dims), 1
    for place in sorted(reversed(range(len(dims))), key=lambda each: dims[each].stride):
        strides[place] = stride
        stride *= sizes[place]
    return tuple(
        Dim(size, stride, dim.index_stride) for size, stride, dim in zip(sizes, strides, dims, strict=True)
    )


def _signed(number: int) -> int:
    """The signed 64-bit number with the bits of an unsigned one."""
    return number - (1 << 64) if number >= 1 << 63 else number


@lru_cache(maxsize=4096)
def _numbers(recipe: Recipe) -> tuple[int, ...]:
    """A recipe's five numbers and two bounds, as bits of the type that its map computes in."""
    single = not recipe.double
    numbers = (*recipe.numbers, *[0.0] * (5 - len(recipe.numbers)))
    pattern = _single_pattern if single and recipe.kind < Kind.FLAT else _double_pattern
    bound = _single_pattern if single else _double_pattern
    return (*map(pattern, numbers), bound(recipe.low), bound(recipe.high))


def _double_pattern(number: float) -> int:
    return struct.unpack("<q", struct.pack("<d", number))[0]


def _single_pattern(number: float) -> int:
    """Of a number that float32 holds; small ones without float32, which the processor may flush to zero."""
    if 0.0 < abs(number) < _SMALLEST_NORMAL:
        size = round(abs(number) / _STEP)
        return size - (1 << 31) if number < 0.0 else size
    return struct.unpack("<i", struct.pack("<f", number))[0]


@lru_cache(maxsize=1)
def _triton() -> tuple[Any, str | None]:
    """The module of the kernel, or why there is none."""
    try:
        # Not from its folder, which would give a module that was forgotten since.
        import initcfg._stream.writing.cuda.triton_kernel as triton_kernel  # noqa: PLR0402
    # A half-installed Triton fails in its own ways.
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "triton":
            return None, "triton is not installed"
        return None, f"triton cannot be imported ({type(error).__name__}: {error})"
    return triton_kernel, None


def triton_version() -> str | None:
    """The version of Triton, if it can be used."""
    if _triton()[0] is None:
        return None
    import triton  # pyright: ignore[reportMissingImports]

    return str(triton.__version__)
