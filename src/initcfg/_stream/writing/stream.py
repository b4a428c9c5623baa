"""Filling from the stream: Values into tensors, many at once.

Writes are queued and go to the kernel in batches; without it, the fallback makes the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch

from initcfg._stream.bits import (
    Dim,
    Job,
    Keys,
    Recipe,
    constant_recipe,
    normal_recipe,
    trunc_normal_recipe,
    uniform_recipe,
)
from initcfg._stream.writing import device, whole_values
from initcfg._stream.writing.blocks import Block, dims_of, narrowed
from initcfg._stream.writing.formula import Sources, evaluate
from initcfg._stream.writing.memory import PLAIN_TENSORS, check_memory
from initcfg._stream.writing.queue import Queue, elements
from initcfg._stream.writing.torch_generator import seeded
from initcfg.errors import ApplyError
from initcfg.values import (
    Constant,
    CopyOf,
    Dirac,
    Eye,
    Formula,
    Normal,
    Orthogonal,
    PaddingRow,
    Parts,
    Sparse,
    TruncNormal,
    Uniform,
    Value,
)

# Elements of a buffer, for what is not in this machine's memory.
_BUFFER = 1 << 20
_DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
# Values whose elements are independent.
_SIMPLE = (Constant, Uniform, Normal, TruncNormal)


class StreamWriter:
    """Writes Values into tensors, in batches.

    Args:
        seed: The seed.
        progress: Told how many elements were written, now and then.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing.stream import StreamWriter
        >>> from initcfg.values import Constant, Normal
        >>> weight, bias = torch.empty(2, 3), torch.empty(2)
        >>> writer = StreamWriter(seed=0)
        >>> writer.add(weight, Normal(0.0, 0.02), "weight")
        >>> writer.add(bias, Constant(1.0), "bias")
        >>> writer.flush()
        >>> bias.tolist()
        [1.0, 1.0]
    """

    def __init__(self, seed: int, *, progress: Callable[[int], None] | None = None) -> None:
        self._seed = seed
        self._key = Keys(seed)
        self._progress = progress
        self._queue = Queue(self._tell)
        # By identity, with the value kept: tensors that are alike share theirs.
        self._recipes: dict[tuple[int, bool], tuple[Value, Recipe]] = {}

    def add(
        self,
        tensor: torch.Tensor,
        value: Value,
        name: str,
        *,
        block: Block | None = None,
        part: int = 0,
    ) -> None:
        """Queue a write; it is done at the latest by :meth:`flush`.

        Args:
            tensor: The tensor, or the block of a larger one.
            value: What the whole tensor is filled with.
            name: Its canonical name.
            block: Where ``tensor`` lies in the whole; all of it if None.
            part: Number of the first independent part.

        Raises:
            TensorError: The tensor is of a kind that cannot be written.
            ApplyError: The value cannot be drawn, or the block lies outside.
        """
        self._queue.next_write()
        if block is None and type(value) in _SIMPLE and _is_plain(tensor):
            # Most tensors of most models.
            dtype = _DTYPES[tensor.dtype]
            key = 0 if type(value) is Constant else self._key(name, part)
            self._queue.add_run(tensor, dtype, self._recipe(value, dtype == "float64"), key)
            return
        whole = Block.whole(tensor.shape) if block is None else block
        whole.check(tensor.shape)
        check_memory(tensor)
        self._add(tensor, value, name, whole, part)

    def flush(self) -> None:
        """Do every write that was queued."""
        self._queue.flush()

    def _recipe(self, value: Value, double: bool) -> Recipe:
        found = self._recipes.get((id(value), double))
        if found is None:
            found = self._recipes[id(value), double] = (value, recipe_of(value, double))
        return found[1]

    # -- values to jobs --------------------------------------------------------------------------

    def _add(self, tensor: torch.Tensor, value: Value, name: str, block: Block, part: int) -> int:
        """Queue the write; the number of parts that it has."""
        if isinstance(value, CopyOf):
            return self._add(tensor, value.value, value.source, block, part)
        if isinstance(value, Parts):
            done, start = 0, 0
            for size, each in zip(value.sizes, value.values, strict=True):
                first, last = _overlap(block.offsets[value.dim], tensor.shape[value.dim], start, start + size)
                # Also where the block has nothing of a part, its number counts.
                piece = tensor.narrow(value.dim, first - block.offsets[value.dim], max(last - first, 0))
                done += self._add(piece, each, name, block.along(value.dim, start, start + size), part + done)
                start += size
            return done
        if isinstance(value, PaddingRow):
            row = value.index - block.offsets[0]
            done = self._add(tensor, value.value, name, block, part)
            if 0 <= row < tensor.shape[0]:
                # After what it lies upon.
                self._queue.next_write()
                self._queue_recipe(tensor[row : row + 1], constant_recipe(0.0, _double(tensor)), 0)
            return done
        if isinstance(value, Formula):
            self._add_formula(tensor, value, name, block, part)
            return 1
        if tensor.numel() == 0:
            return 1
        if isinstance(value, Constant) and (tensor.dtype not in _DTYPES or _elsewhere(tensor)):
            self.flush()
            with torch.no_grad():
                tensor.fill_(value.val)
        elif isinstance(value, (Orthogonal, Sparse, Dirac, Eye)):
            self._add_whole(tensor, value, name, block, part)
        else:
            recipe = recipe_of(value, _double(tensor))
            key = 0 if isinstance(value, Constant) else self._key(name, part)
            self._queue_recipe(tensor, recipe, key, block)
        return 1

    def _queue_recipe(
        self, tensor: torch.Tensor, recipe: Recipe, key: int, block: Block | None = None
    ) -> None:
        dims, base = dims_of(tensor, Block.whole(tensor.shape) if block is None else block)
        if tensor.dtype not in _DTYPES:
            raise ApplyError(f"{tensor.dtype} holds no random numbers.", shape=tuple(tensor.shape))
        if _elsewhere(tensor):
            if device.fill(tensor, recipe, key, base, dims):
                torch.autograd.graph.increment_version(tensor)
                self._tell(tensor.numel())
            else:
                self._through_buffer(tensor, recipe, key, dims, base)
            return
        self._queue.add(tensor, Job(tensor.data_ptr(), _DTYPES[tensor.dtype], recipe, key, base, dims))

    def _add_whole(self, tensor: torch.Tensor, value: Value, name: str, block: Block, part: int) -> None:
        self.flush()
        made = whole_values.block(
            value,
            block.shape,
            block.offsets,
            tensor.shape,
            lambda draw: self._key(name, part, draw),
            "float64" if _double(tensor) else "float32",
        )
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(made))
        self._tell(tensor.numel())

    def _add_formula(self, tensor: torch.Tensor, value: Formula, name: str, block: Block, part: int) -> None:
        self.flush()

        def fill(into: torch.Tensor, each: Value, source: str | None, first: int) -> None:
            self.add(into, each, source or name, part=first + (part if source is None else 0))
            self.flush()

        def seeded_part(source: str | None, first: int) -> AbstractContextManager[None]:
            return seeded(self._seed, f"{source or name}#{first}")

        made = evaluate(value, Sources(fill, seeded_part), tensor)
        if tuple(made.shape) != block.shape:
            raise ApplyError(f"{value} makes a tensor of shape {tuple(made.shape)}.", shape=block.shape)
        with torch.no_grad():
            tensor.copy_(narrowed(made, block.offsets, tensor.shape))
        self._tell(tensor.numel())

    def _through_buffer(
        self, tensor: torch.Tensor, recipe: Recipe, key: int, dims: tuple[Dim, ...], base: int
    ) -> None:
        """A tensor on another device, where no kernel is: piece by piece through memory here."""
        view = torch.as_strided(
            tensor.detach(), [dim.size for dim in dims], [dim.stride for dim in dims], tensor.storage_offset()
        )
        buffer = torch.empty(min(tensor.numel(), _BUFFER), dtype=tensor.dtype)
        for part, piece, start in _slices(view, dims, base):
            count = elements(part)
            here = buffer[:count]
            inner, packed = 1, []
            for dim in reversed(part):
                packed.insert(0, Dim(dim.size, inner, dim.index_stride))
                inner *= dim.size
            job = Job(here.data_ptr(), _DTYPES[tensor.dtype], recipe, key, start, tuple(packed))
            self._queue.now(here, job)
            with torch.no_grad():
                piece.copy_(here.view(piece.shape))
            self._tell(count)
        torch.autograd.graph.increment_version(tensor)

    def _tell(self, elements: int) -> None:
        if self._progress is not None:
            self._progress(elements)


def fill_stream(
    tensor: torch.Tensor, value: Value, *, seed: int, name: str, part: int = 0, block: Block | None = None
) -> None:
    """Fill one tensor with the values that (seed, name, index) determine; see :class:`StreamWriter`."""
    writer = StreamWriter(seed)
    writer.add(tensor, value, name, block=block, part=part)
    writer.flush()


def recipe_of(value: Value, double: bool) -> Recipe:
    """The recipe of a value whose elements are independent.

    Raises:
        ApplyError: Its elements are not.
    """
    if isinstance(value, Constant):
        return constant_recipe(float(value.val), double)
    if isinstance(value, Uniform):
        return uniform_recipe(float(value.a), float(value.b), double)
    if isinstance(value, Normal):
        return normal_recipe(float(value.mean), float(value.std), double)
    if isinstance(value, TruncNormal):
        return trunc_normal_recipe(
            float(value.mean), float(value.std), float(value.a), float(value.b), double
        )
    raise ApplyError(f"A value of kind {value.kind} cannot be drawn.")


def _double(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.float64


def _elsewhere(tensor: torch.Tensor) -> bool:
    return tensor.device.type != "cpu"


def _overlap(offset: int, size: int, start: int, stop: int) -> tuple[int, int]:
    """The part ``start:stop`` within ``offset:offset + size``; empty ranges lie within it too."""
    first = min(max(start, offset), offset + size)
    return first, max(min(stop, offset + size), first)


def _slices(
    view: torch.Tensor, dims: tuple[Dim, ...], base: int
) -> Iterator[tuple[tuple[Dim, ...], torch.Tensor, int]]:
    """A tensor in slices of at most ``_BUFFER`` elements: dimensions, view, index of the first element."""
    if elements(dims) <= _BUFFER:
        yield dims, view, base
        return
    outer = dims[0]
    step = _BUFFER // (elements(dims) // outer.size)
    if step == 0:
        for row in range(outer.size):
            yield from _slices(view[row], dims[1:], base + row * outer.index_stride)
        return
    for start in range(0, outer.size, step):
        length = min(step, outer.size - start)
        cut = (outer._replace(size=length), *dims[1:])
        yield cut, view[start : start + length], base + start * outer.index_stride


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is memory of this machine in one run, which everything may write."""
    return (
        type(tensor) in PLAIN_TENSORS
        and tensor.layout is torch.strided
        and tensor.is_cpu
        and tensor.dtype in _DTYPES
        and not (tensor.is_nested or tensor.is_inference() or tensor.is_neg())
        and tensor.is_contiguous()
        and tensor.numel() > 0
        # Storages can be resized below their tensors.
        and tensor.untyped_storage().nbytes()
        >= (tensor.storage_offset() + tensor.numel()) * tensor.element_size()
    )
