"""Layers: the writes on one storage, first to last, and what operations make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from initcfg._record.recording.content import Erfinv, Known, after, rounded
from initcfg._record.recording.regions import Region, rows, slab
from initcfg.values import Constant, Normal, PaddingRow, Parts, TruncNormal, Uniform, Value


class Layer(NamedTuple):
    """A write: what a region holds since, and which code wrote it.

    Attributes:
        region: Where.
        known: What; None if it is only known that something was written.
        code: The constructor: ``"Conv2d.reset_parameters"``.
        call: Function and arguments: ``{"type": "kaiming_uniform_", "a": 2.236}``.
        place: File and line of that code: ``"torch/nn/modules/conv.py:186"``.
        drawn: For what was computed from a random tensor of a name: that one, whose numbers it shares.
    """

    region: Region
    known: Known | None
    code: str
    call: dict[str, object]
    place: str = ""
    drawn: Known | None = None

    @property
    def root(self) -> Known | None:
        """What was drawn for it."""
        return self.drawn or self.known

    def becomes(self, known: Known) -> Layer:
        """The same write, after something was computed from it."""
        same = known is self.known or not is_random(known)
        return self._replace(known=known, drawn=self.drawn if same else self.root)


def covered(layers: Sequence[Layer], region: Region) -> int | None:
    """Index of the last layer that covers the region."""
    for index in range(len(layers) - 1, -1, -1):
        if layers[index].region.covers(region):
            return index
    return None


def transformed(
    layers: Sequence[Layer], region: Region, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Layer] | None:
    """The layers after an elementwise operation on ``region``; None where the result has no name."""
    base = covered(layers, region)
    if base is None:
        return None
    out = list(layers)
    for index in range(base, len(layers)):
        layer = layers[index]
        if layer.region.apart(region):
            continue
        known = None if layer.known is None else after(operation, layer.known, region.dtype, args, kwargs)
        if known is None:
            return None
        if region.covers(layer.region):
            out[index] = layer.becomes(known)
        elif index == base and _any_order(known) and _alone(layers[base + 1 :], region):
            # A piece of a wider layer changes: it becomes a layer of its own.
            return [*layers, layer.becomes(known)._replace(region=region)]
        else:
            return None
    return out


def copied(layers: Sequence[Layer], region: Region, target: Region) -> list[Layer] | None:
    """The layers of a copy of ``region`` that lies at ``target``; None where they cannot be said."""
    base = covered(layers, region)
    if base is None or layers[base].known is None:
        return None
    known = layers[base].known
    if layers[base].region != region and (not _any_order(known) or is_random(known)):
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
    if before in (torch.float16, torch.bfloat16):
        return layer._replace(known=None)
    return layer.becomes(replace(known))


def parts_of(layers: Sequence[Layer], region: Region) -> list[Layer] | None:
    """The layers that show in ``region``, the one that covers it first; None if none does."""
    base = covered(layers, region)
    if base is None:
        return None
    return [layers[base], *(layer for layer in layers[base + 1 :] if not layer.region.apart(region))]


def value_of(layers: Sequence[Layer], region: Region) -> Value | None:
    """What layers make of one tensor; None where it cannot be said as a Value.

    A base that covers the tensor, and slabs over it, whole in every dimension but one; or slabs alone.
    """
    shown = parts_of(layers, region)
    first = None
    if shown is not None:
        first = _value(shown[0].known)
        # Independent elements may be counted in any order; a matrix such as an identity may not.
        if first is None or not (_any_order(first) or shown[0].region == region):
            return None
    above = [each for each in layers if not each.region.apart(region)] if shown is None else shown[1:]
    slabs: list[tuple[int, int, int, Value]] = []
    for layer in above:
        place, value = slab(region, layer.region), _value(layer.known)
        if place is None and _any_order(layer.known):
            place = rows(region, layer.region)
        if place is None or value is None:
            return None
        slabs.append((*place, value))
    return _overlaid(region, first, slabs)


def _overlaid(region: Region, base: Value | None, slabs: list[tuple[int, int, int, Value]]) -> Value | None:
    slabs = [each for each in slabs if each[3] != base or each[3].random]
    if not slabs:
        return base
    if base is not None and not _any_order(base):
        return None
    dim = slabs[0][0]
    if any(each[0] != dim for each in slabs):
        return None
    row = slabs[0]
    one_row = len(slabs) == 1 and len(region.sizes) == 2 and dim == 0 and row[2] - row[1] == 1
    if one_row and row[3] == Constant(0.0) and base is not None:
        return PaddingRow(row[1], base)
    edges = sorted({0, region.sizes[dim], *(each[1] for each in slabs), *(each[2] for each in slabs)})
    pieces: list[tuple[int, Value, int]] = []
    for start, stop in pairwise(edges):
        owner, value = -1, base
        for index, (_, low, high, written) in enumerate(slabs):
            if low <= start and stop <= high:
                owner, value = index, written
        if value is None:
            # Nobody wrote there.
            return None
        if pieces and pieces[-1][2] == owner:
            pieces[-1] = (pieces[-1][0] + stop - start, value, owner)
        else:
            pieces.append((stop - start, value, owner))
    values = tuple(value for _, value, _ in pieces)
    if len(set(values)) == 1 and (len(values) == 1 or not values[0].random):
        return values[0]
    return Parts(dim, tuple(size for size, _, _ in pieces), values)


def is_random(known: Known | None) -> bool:
    """Whether numbers were drawn for it."""
    return isinstance(known, Erfinv) or (known is not None and known.random)


def _value(known: Known | None) -> Value | None:
    return known.value() if isinstance(known, Erfinv) else known


def _any_order(known: Known | None) -> bool:
    return isinstance(known, (Constant, Uniform, Normal, TruncNormal, Erfinv))


def _alone(above: Sequence[Layer], region: Region) -> bool:
    return all(layer.region.apart(region) for layer in above)
