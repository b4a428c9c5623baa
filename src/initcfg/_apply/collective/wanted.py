"""Which orthogonal matrices a value has, and which blocks of each the ranks hold."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from initcfg._model import HeldBlock
from initcfg._stream.bits import Keys
from initcfg._stream.writing import Form, Inside, Matrix, form_of
from initcfg.values import CopyOf, Orthogonal, Parts, Seeded, Value


@dataclass
class Wanted:
    """A matrix, and the blocks of it that each rank holds; the same on all ranks."""

    matrix: Matrix
    blocks: dict[int, list[Inside]] = field(default_factory=dict)


def wanted_matrices(
    value: Value,
    shape: Sequence[int],
    name: str,
    double: bool,
    held: Mapping[int, Sequence[HeldBlock]],
    key: Keys,
) -> list[Wanted]:
    """The matrices of a tensor's value; none where they are not written as they are."""
    leaves: list[_Leaf] = []
    if _collect(value, tuple(shape), (0,) * len(shape), name, 0, leaves) is None:
        return []
    return [each for leaf in leaves for each in _matrices(leaf, double, held, key)]


@dataclass(frozen=True)
class _Leaf:
    value: Orthogonal
    shape: tuple[int, ...]
    # Where it begins in the tensor.
    start: tuple[int, ...]
    name: str
    part: int


def _collect(
    value: Value,
    shape: tuple[int, ...],
    start: tuple[int, ...],
    name: str,
    part: int,
    leaves: list[_Leaf],
) -> int | None:
    """Collect what is orthogonal, numbered as :class:`StreamWriter` does; the number of parts, or None."""
    if isinstance(value, Seeded):
        # Of another seed than these are: each rank makes its own.
        return None
    if isinstance(value, CopyOf):
        return _collect(value.value, shape, start, value.source, part, leaves)
    if isinstance(value, Orthogonal):
        leaves.append(_Leaf(value, shape, start, name, part))
        return 1
    if not isinstance(value, Parts):
        # Of a formula, or of what is written over a matrix, each rank makes its own.
        return 1 if value.blockwise and not hasattr(value, "value") else None
    done, dim, at = 0, value.dim, start[value.dim]
    for size, each in zip(value.sizes, value.values, strict=True):
        inner = (*shape[:dim], size, *shape[dim + 1 :])
        found = _collect(each, inner, (*start[:dim], at, *start[dim + 1 :]), name, part + done, leaves)
        if found is None:
            return None
        done, at = done + found, at + size
    return done


def _matrices(leaf: _Leaf, double: bool, held: Mapping[int, Sequence[HeldBlock]], key: Keys) -> list[Wanted]:
    form = form_of(leaf.value, leaf.shape)
    found: dict[int, Wanted] = {}
    for rank, blocks in held.items():
        for block in blocks:
            spans = [
                (max(offset - start, 0), min(offset + size - start, full))
                for offset, size, start, full in zip(
                    block.offsets, block.sizes, leaf.start, leaf.shape, strict=True
                )
            ]
            if any(first >= last for first, last in spans):
                continue
            inside = tuple(spans[axis] for axis in form.axes)
            for base in _bases(form, spans):
                if base not in found:
                    matrix = Matrix(form, base, key(leaf.name, leaf.part), double)
                    found[base] = Wanted(matrix)
                found[base].blocks.setdefault(rank, []).append(inside)
    return [found[base] for base in sorted(found)]


def _bases(form: Form, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Where the matrices begin whose place in the stack lies within the spans."""
    places = itertools.product(*(range(*spans[axis]) for axis in form.stack))
    return [
        sum(form.strides[axis] * at for axis, at in zip(form.stack, place, strict=True)) for place in places
    ]
