"""Layers: the writes on one storage, first to last, and what operations make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from initcfg._record.recording.content import Erfinv, Known, after, is_coarse, rounded
from initcfg._record.recording.origin import code_that_writes
from initcfg._record.recording.regions import Region, rows, slab
from initcfg.values import Constant, Normal, PaddingRow, Parts, TruncNormal, Uniform, Value

# Elements that are alike, or independent, may be counted in any order.
_ANY_ORDER = (Constant, Uniform, Normal, TruncNormal, Erfinv)


class Layer(NamedTuple):
    """A write: what a region holds since, and which code wrote it.

    Attributes:
        region: Where.
        known: What; None if it is only known that something was written.
        code: The constructor: ``"Conv2d.reset_parameters"``.
        call: Function and arguments: ``{"type": "kaiming_uniform_", "a": 2.236}``.
        place: File and line of that code: ``"torch/nn/modules/conv.py:186"``.
        drawn: For what was computed from a random tensor of a name: that one, whose numbers it shares.
        change: What computed it last, where that stands elsewhere: ``"mul_ at model.py:8"``.
    """

    region: Region
    known: Known | None
    code: str
    call: dict[str, object]
    place: str = ""
    drawn: Known | None = None
    change: str = ""

    @property
    def root(self) -> Known | None:
        """What was drawn for it."""
        return self.drawn or self.known

    def becomes(self, known: Known, change: str = "") -> Layer:
        """The same write, after something was computed from it."""
        same = known is self.known or not known.random
        # An initialization function computes, too: that stands where the write does.
        elsewhere = change and not change.endswith(f" at {self.place}")
        return self._replace(
            known=known,
            drawn=self.drawn if same else self.root,
            change=change if elsewhere else self.change,
        )


def covered(layers: Sequence[Layer], region: Region) -> int | None:
    """Index of the last layer that covers the region."""
    found = (index for index in reversed(range(len(layers))) if layers[index].region.covers(region))
    return next(found, None)


def transformed(
    layers: Sequence[Layer],
    region: Region,
    operation: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    written_as: str,
) -> list[Layer] | None:
    """The layers after an elementwise operation on ``region``; None where the result has no name.

    ``written_as`` is what the operation is called in code.
    """
    base = covered(layers, region)
    if base is None:
        return None
    out = list(layers)
    change = f"{written_as} at {code_that_writes().place}"
    for index in range(base, len(layers)):
        layer = layers[index]
        if layer.region.apart(region):
            continue
        known = None if layer.known is None else after(operation, layer.known, region.dtype, args, kwargs)
        if known is None:
            return None
        if region.covers(layer.region):
            out[index] = layer.becomes(known, change)
        elif index == base and isinstance(known, _ANY_ORDER) and len(shown_in(layers, region)[0]) == 1:
            # A part of a wider layer changes: it becomes a layer of its own.
            return [*layers, layer.becomes(known, change)._replace(region=region)]
        else:
            return None
    return out


def copied(layers: Sequence[Layer], region: Region, target: Region) -> list[Layer] | None:
    """The layers of a copy of ``region`` that lies at ``target``; None where they cannot be said."""
    base = covered(layers, region)
    known = None if base is None else layers[base].known
    if base is None or known is None:
        return None
    if layers[base].region != region and (not isinstance(known, _ANY_ORDER) or known.random):
        # Some of its numbers, or all in another order, are not those of a tensor of its own.
        return None
    out = [_converted(layers[base], target.dtype)._replace(region=target)]
    for layer in layers[base + 1 :]:
        if layer.region.apart(region):
            continue
        if region.strides != target.strides or not region.covers(layer.region) or layer.known is None:
            return None
        offset = layer.region.offset - region.offset + target.offset
        place = layer.region._replace(offset=offset, dtype=target.dtype)
        out.append(_converted(layer, target.dtype)._replace(region=place))
    return None if any(layer.known is None for layer in out) else out


def _converted(layer: Layer, dtype: torch.dtype) -> Layer:
    """A layer whose numbers are taken over into another type; nothing is known of it if that shows."""
    before = layer.region.dtype
    known = layer.known
    if known is None or before == dtype:
        return layer
    if isinstance(known, Constant):
        return layer._replace(known=rounded(known, before, dtype))
    if before == torch.float32 and dtype in (torch.float16, torch.bfloat16):
        # The stream draws so, too.
        return layer
    if before in (torch.float16, torch.bfloat16) or is_coarse(known, before):
        return layer._replace(known=None)
    return layer.becomes(replace(known))


def shown_in(layers: Sequence[Layer], region: Region) -> tuple[list[Layer], bool]:
    """The layers that show in a region, first to last, and whether the first covers it."""
    if len(layers) == 1 and layers[0].region == region:
        # So it is nearly always.
        return [layers[0]], True
    base = covered(layers, region)
    if base is None:
        return [layer for layer in layers if not layer.region.apart(region)], False
    return [layers[base], *(layer for layer in layers[base + 1 :] if not layer.region.apart(region))], True


def value_of(layers: Sequence[Layer], region: Region) -> Value | None:
    """What layers make of one tensor; None where it cannot be said as a Value.

    A base that covers the tensor, and slabs over it, whole in every dimension but one; or slabs alone.
    """
    shown, based = shown_in(layers, region)
    base = None
    if based:
        base = value_of_known(shown[0].known)
        # Independent elements may be counted in any order; a matrix such as an identity may not.
        if base is None or not (isinstance(base, _ANY_ORDER) or shown[0].region == region):
            return None
    slabs: list[_Slab] = []
    for layer in shown[1:] if based else shown:
        place, value = slab(region, layer.region), value_of_known(layer.known)
        if place is None and isinstance(layer.known, _ANY_ORDER):
            place = rows(region, layer.region)
        if place is None or value is None:
            return None
        found = _Slab(*place, value)
        # What the base holds anyway is nothing, unless another slab lies there.
        if value != base or value.random or any(map(found.meets, slabs)):
            slabs.append(found)
    if not slabs:
        return base
    if any(each.dim != slabs[0].dim for each in slabs) or not (base is None or isinstance(base, _ANY_ORDER)):
        return None
    return _overlaid(region, base, slabs)


class _Slab(NamedTuple):
    """Whole in every dimension but one."""

    dim: int
    start: int
    stop: int
    value: Value

    def meets(self, other: _Slab) -> bool:
        """Whether an element may lie in both."""
        return self.dim != other.dim or (self.start < other.stop and other.start < self.stop)


def _overlaid(region: Region, base: Value | None, slabs: list[_Slab]) -> Value | None:
    """Slabs of one dimension over a base; None where neither reaches."""
    dim, start, stop, value = slabs[0]
    one_row = len(slabs) == 1 and len(region.sizes) == 2 and dim == 0 and stop - start == 1
    if one_row and value == Constant(0.0) and base is not None:
        return PaddingRow(start, base)
    edges = sorted({0, region.sizes[dim], *(each.start for each in slabs), *(each.stop for each in slabs)})
    parts: list[tuple[int, Value, int]] = []  # length, value, and which slab it is of
    for start, stop in pairwise(edges):
        owner, found = -1, base
        for index, each in enumerate(slabs):
            if each.start <= start and stop <= each.stop:
                owner, found = index, each.value
        if found is None:
            return None
        length = stop - start
        if parts and parts[-1][2] == owner:
            length += parts.pop()[0]
        parts.append((length, found, owner))
    sizes, values, _ = zip(*parts, strict=True)
    if len(set(values)) == 1 and (len(values) == 1 or not values[0].random):
        return values[0]
    return Parts(dim, sizes, values)


def value_of_known(known: Known | None) -> Value | None:
    """What is known, as a value; None of nothing."""
    return known.value() if isinstance(known, Erfinv) else known
