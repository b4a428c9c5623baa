"""Filling from the stream: Values into tensors, many at once.

Writes are queued and go to the kernel in batches; without it, the fallback makes the same numbers.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import fields
from typing import Any

import torch

from initcfg import values
from initcfg._stream.bits import (
    Dim,
    Job,
    Keys,
    Kind,
    Recipe,
    constant_recipe,
    name_text,
    normal_recipe,
    trunc_normal_recipe,
    uniform_recipe,
)
from initcfg._stream.writing import whole_values
from initcfg._stream.writing.blocks import Block, cut, dims_of, elements, narrowed, strided_view
from initcfg._stream.writing.cuda import device
from initcfg._stream.writing.formula import evaluate
from initcfg._stream.writing.formula_machine import RandomSource
from initcfg._stream.writing.matrices import Share, make_matrices, shares_of
from initcfg._stream.writing.memory import DRAWN, check_memory, is_plain
from initcfg._stream.writing.queue import Batch, Queue, draw_alone
from initcfg._stream.writing.recorded import recorded_value, who_records
from initcfg._stream.writing.threads import thread_count
from initcfg._stream.writing.torch_generator import fills_seeded, seeded
from initcfg._stream.writing.underflow import gradual_underflow, keeps_small_numbers
from initcfg.errors import ApplyError
from initcfg.values import Value, dtype_name

# Elements of a buffer, for what is not in this machine's memory.
_BUFFER = 1 << 20
# Values whose elements are independent, and their recipes.
_RECIPES: dict[type[Value], Callable[..., Recipe]] = {
    values.Constant: constant_recipe,
    values.Uniform: uniform_recipe,
    values.Normal: normal_recipe,
    values.TruncNormal: trunc_normal_recipe,
}
INDEPENDENT = frozenset(_RECIPES)
"""The classes of values whose elements are independent: those that tensors get together."""


class StreamWriter:
    """Writes Values into tensors, in batches; ``progress`` is told how many elements, now and then.

    Where code is recorded, the record is told of each write in place of it.

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
        self._tell = progress or (lambda elements: None)
        self._queue = Queue(self._key, self._tell)
        self.aside: Callable[[torch.Tensor, list[Share]], None] | None = None
        """Takes what tensors want of orthogonal matrices from here on, where somebody else makes them."""
        # By identity, with the value kept: tensors that are alike share theirs.
        self._recipes: dict[tuple[int, torch.dtype], tuple[Value, tuple[str, Recipe]]] = {}
        self._recording = who_records()
        # Those of other seeds, which code gave.
        self._others: dict[int, StreamWriter] = {}

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
            value, name: Of the whole tensor.
            block: Where ``tensor`` lies in the whole; all of it if None.
            part: Number of the first independent part.
        """
        if block is None and self.add_plain(tensor, value, name, part):
            return
        if self._recording is not None:
            # A value of its own: those of copies are the same object.
            known = copy(recorded_value(value, name, self._seed)) if block is None and not part else None
            seed = self._seed
            write = functools.partial(_write, value=value, seed=seed, name=name, part=part, block=block)
            self._recording.note_write(tensor, known, write)
            return
        self._queue.next_write()
        whole = Block.whole(tensor.shape) if block is None else block
        whole.check(tensor.shape)
        check_memory(tensor)
        self._add(tensor, value, name, whole, part)

    def add_plain(self, tensor: torch.Tensor, value: Value, name: str, part: int = 0) -> bool:
        """Queue a write such as most of most models are; whether it is one of these."""
        return is_plain(tensor) and self.add_memory(tensor, value, name, part)

    def add_memory(self, tensor: torch.Tensor, value: Value, name: str, part: int = 0) -> bool:
        """The same of a tensor that is known to be one run of this machine's memory."""
        kind = self.kind(value, tensor.dtype)
        if kind is None:
            return False
        key = 0 if kind[1].kind is Kind.CONSTANT else self._key(name, part) if part else name_text(name)
        self._queue.add_whole(tensor, kind, key)
        return True

    def kind(self, value: Value, dtype: torch.dtype) -> tuple[str, Recipe] | None:
        """What the kernel is told to make of a value whose elements are independent; of another, None."""
        if self._recording is not None:
            return None
        found = self._recipes.get((id(value), dtype))
        if found is None:
            if type(value) not in _RECIPES:
                return None
            found = value, (dtype_name(dtype), recipe_of(value, dtype is torch.float64))
            self._recipes[id(value), dtype] = found
        return found[1]

    def add_batch(self, batch: Batch, first: int) -> int:
        """Queue the tensors of a batch from ``first`` on that are done with others; where the rest begins.

        The next is to be added by itself, since it makes a batch of the kernel full.
        """
        return self._queue.add_many(batch, first)

    def flush(self) -> None:
        """Do every write that was queued."""
        self._queue.flush()

    def wrote(self, elements: int) -> None:
        """Somebody else wrote so many."""
        self._tell(elements)

    def _add(self, tensor: torch.Tensor, value: Value, name: str, block: Block, part: int) -> int:
        """Queue the write; the number of parts that it has."""
        if isinstance(value, values.Seeded):
            self._add_seeded(tensor, value, block, part)
            return 1
        if isinstance(value, values.CopyOf):
            return self._add(tensor, value.value, value.source, block, part)
        if isinstance(value, values.Parts):
            done, start = 0, 0
            for size, each in zip(value.sizes, value.values, strict=True):
                first, last = _overlap(block.offsets[value.dim], tensor.shape[value.dim], start, start + size)
                # Also where the block has nothing of a part, its number counts.
                piece = tensor.narrow(value.dim, first - block.offsets[value.dim], max(last - first, 0))
                done += self._add(piece, each, name, block.along(value.dim, start, start + size), part + done)
                start += size
            return done
        if isinstance(value, values.PaddingRow):
            row = value.index - block.offsets[0]
            done = self._add(tensor, value.value, name, block, part)
            if 0 <= row < tensor.shape[0]:
                # After what it lies upon.
                self._queue.next_write()
                self._queue_recipe(tensor[row : row + 1], constant_recipe(0.0, _double(tensor)), 0)
            return done
        if isinstance(value, values.Repeat):
            return self._add_repeated(tensor, value, name, block, part)
        if isinstance(value, values.Formula):
            self._add_formula(tensor, value, name, block, part)
            return 1
        if isinstance(value, values.Scaled):
            done = self._add(tensor, value.value, name, block, part)
            self.flush()
            scale_along(tensor, value, block.offsets[value.axis])
            return done
        if isinstance(value, values.Numbers):
            made = torch.tensor(value.numbers, dtype=torch.float64, device="cpu").view(block.shape)
            with torch.no_grad():
                tensor.copy_(narrowed(made, block.offsets, tensor.shape))
            return 1
        if tensor.numel() == 0:
            return 1
        is_constant = isinstance(value, values.Constant)
        if is_constant and (tensor.dtype not in DRAWN or _elsewhere(tensor)):
            self.flush()
            with torch.no_grad():
                tensor.fill_(math.nan if math.isnan(value.val) else value.val)
        elif isinstance(value, values.Orthogonal):
            self._add_matrices(tensor, shares_of(value, block, tensor, self._key(name, part)))
        elif isinstance(value, whole_values.WHOLE):
            self._add_whole(tensor, value, name, block, part)
        else:
            key = 0 if is_constant else self._key(name, part)
            self._queue_recipe(tensor, recipe_of(value, _double(tensor)), key, block)
        return 1

    def _add_seeded(self, tensor: torch.Tensor, value: values.Seeded, block: Block, part: int) -> None:
        """By a writer of that seed, after what was queued here."""
        if value.seed not in self._others:
            self._others[value.seed] = StreamWriter(value.seed, progress=self._tell)
        self.flush()
        other = self._others[value.seed]
        other._add(tensor, value.value, value.source, block, 0)
        other.flush()

    def _add_repeated(
        self, tensor: torch.Tensor, value: values.Repeat, name: str, block: Block, part: int
    ) -> int:
        """Only the slices that the block shows are made, each once."""
        dim, times = value.dim, value.times
        start, size = block.offsets[dim], tensor.shape[dim]
        first, last = start // times, -(-(start + size) // times)
        shape = (*block.shape[:dim], block.shape[dim] // times, *block.shape[dim + 1 :])
        inner = tensor.new_empty((*tensor.shape[:dim], last - first, *tensor.shape[dim + 1 :]))
        offsets = (*block.offsets[:dim], first, *block.offsets[dim + 1 :])
        done = self._add(inner, value.value, name, Block(shape, offsets), part)
        self.flush()
        with torch.no_grad():
            repeated = inner.repeat_interleave(times, dim)
            tensor.copy_(repeated.narrow(dim, start - first * times, size))
        self._tell(tensor.numel() - inner.numel())
        return done

    def _queue_recipe(
        self, tensor: torch.Tensor, recipe: Recipe, key: int, block: Block | None = None
    ) -> None:
        dims, base = dims_of(tensor, Block.whole(tensor.shape) if block is None else block)
        if tensor.dtype not in DRAWN:
            raise ApplyError(f"{tensor.dtype} holds no random numbers.", shape=tuple(tensor.shape))
        if not _elsewhere(tensor):
            self._queue.add(tensor, Job(tensor.data_ptr(), dtype_name(tensor.dtype), recipe, key, base, dims))
        elif device.fill(tensor, recipe, key, base, dims):
            torch.autograd.graph.increment_version(tensor)
            self._tell(tensor.numel())
        else:
            self._through_buffer(tensor, recipe, key, dims, base)

    def _add_matrices(self, tensor: torch.Tensor, shares: list[Share]) -> None:
        if self.aside is not None:
            self.aside(tensor, shares)
            return
        if not _elsewhere(tensor):
            self._queue.add_matrices(tensor, shares)
            return
        self.flush()
        make_matrices(shares, thread_count(), self._tell)
        torch.autograd.graph.increment_version(tensor)

    def _add_whole(self, tensor: torch.Tensor, value: Value, name: str, block: Block, part: int) -> None:
        self.flush()
        dtype = "float64" if _double(tensor) else "float32"
        key_of = functools.partial(self._key, name, part)
        made = whole_values.block(value, block.shape, block.offsets, tensor.shape, key_of, dtype)
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(made))
        self._tell(tensor.numel())

    def _add_formula(
        self, tensor: torch.Tensor, value: values.Formula, name: str, block: Block, part: int
    ) -> None:
        self.flush()

        def fill(into: torch.Tensor, each: Value, source: str | None, first: int) -> None:
            self.add(into, each, source or name, part=first + (part if source is None else 0))
            self.flush()

        def seeded_part(source: str | None, first: int) -> AbstractContextManager[None]:
            return seeded(self._seed, f"{source or name}#{first}")

        made = evaluate(value, RandomSource(fill, seeded_part), block.shape, tensor)
        with torch.no_grad():
            tensor.copy_(narrowed(made, block.offsets, tensor.shape))
        self._tell(tensor.numel())

    def _through_buffer(
        self, tensor: torch.Tensor, recipe: Recipe, key: int, dims: tuple[Dim, ...], base: int
    ) -> None:
        """A tensor on another device, where no kernel is: part by part through memory here."""
        buffer = torch.empty(min(tensor.numel(), _BUFFER), dtype=tensor.dtype, device="cpu")
        for part, start, offset in cut(dims, base, _BUFFER):
            count = elements(part)
            # The same elements, one after the other.
            packed = tuple(dim._replace(stride=elements(part[at + 1 :])) for at, dim in enumerate(part))
            here = buffer[:count]
            job = Job(here.data_ptr(), dtype_name(tensor.dtype), recipe, key, start, packed)
            self._queue.now(here, job)
            with torch.no_grad():
                there = strided_view(tensor, part, offset)
                there.copy_(here.view(there.shape))
            self._tell(count)
        torch.autograd.graph.increment_version(tensor)


def fill_stream(
    tensor: torch.Tensor, value: Value, *, seed: int, name: str, part: int = 0, block: Block | None = None
) -> None:
    """Fill one tensor with the values that (seed, name, index) determine; see :class:`StreamWriter`."""
    if who_records() is None:
        _write(tensor, value, seed, name, part, block)
    else:
        StreamWriter(seed).add(tensor, value, name, block=block, part=part)


fills_seeded(lambda tensor, value: fill_stream(tensor, value, seed=value.seed, name=value.source))


def _write(
    tensor: torch.Tensor, value: Value, seed: int, name: str, part: int = 0, block: Block | None = None
) -> None:
    """Fill one tensor, here and now."""
    if block is None and type(value) in _RECIPES and is_plain(tensor):
        # Alone, it needs no queue.
        key = 0 if type(value) is values.Constant else Keys(seed)(name, part)
        if draw_alone(tensor, dtype_name(tensor.dtype), recipe_of(value, _double(tensor)), key):
            return
    writer = StreamWriter(seed)
    writer.add(tensor, value, name, block=block, part=part)
    writer.flush()


def recipe_of(value: Value, double: bool) -> Recipe:
    """The recipe of a value whose elements are independent."""
    kind = type(value)
    if kind not in _RECIPES:
        kind = next((each for each in kind.__mro__ if each in _RECIPES), None)
    if kind is None:
        raise ApplyError(f"A value of kind {value.kind} cannot be drawn.")
    numbers = map(float, _arguments_of(kind)(value))
    if keeps_small_numbers():
        return _RECIPES[kind](*numbers, double)
    with gradual_underflow():
        return _RECIPES[kind](*numbers, double)


@functools.cache
def _arguments_of(kind: type[Value]) -> Callable[[Value], tuple[Any, ...]]:
    """What reads the arguments of a value of this kind, in their order."""
    names = [each.name for each in fields(kind)]
    read = operator.attrgetter(*names)
    return read if len(names) > 1 else lambda value: (read(value),)


def scale_along(tensor: torch.Tensor, value: values.Scaled, first: int) -> None:
    """Multiply a block, which begins at the index ``first`` of the axis, by the factors of the value."""
    wide = torch.float64 if _double(tensor) else torch.float32
    size = tensor.shape[value.axis]
    factors = torch.tensor(value.factors[first : first + size], dtype=wide, device=tensor.device)
    with torch.no_grad():
        # Rounded to the type of the tensor once more.
        tensor.copy_(tensor.to(wide) * factors.view(-1, *[1] * (tensor.dim() - value.axis - 1)))


def _double(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.float64


def _elsewhere(tensor: torch.Tensor) -> bool:
    return tensor.device.type != "cpu"


def _overlap(offset: int, size: int, start: int, stop: int) -> tuple[int, int]:
    """The part ``start:stop`` within ``offset:offset + size``; empty ranges lie within it too."""
    first = min(max(start, offset), offset + size)
    return first, max(min(stop, offset + size), first)
