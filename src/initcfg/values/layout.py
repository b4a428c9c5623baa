"""Layouts: what the axes of a tensor mean, so that its fans are the layer's and not the storage's.

fan_in is the number of inputs that feed one output unit, fan_out the number of outputs that one
input unit feeds. Storage hides both at times: a grouped convolution stores only its group's inputs,
a transposed one stores (in, out), an attention layer stores three matrices as one, a recurrent layer
stores its gates on top of each other, a mixture of experts stacks whole matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from initcfg.errors import FanError
from initcfg.values.value import Value


@dataclass(frozen=True)
class Layout:
    """The meaning of a tensor's axes.

    Args:
        shape: The global shape.
        groups: Groups of a convolution.
        transposed: Whether axis 0 holds inputs and axis 1 outputs (transposed convolution).
        parts: Lengths along axis 0 of independent matrices that are stored as one; empty for one.
        in_axis: Axis (or axes) of the inputs, where they were given by hand.
        out_axis: Axis (or axes) of the outputs, where they were given by hand.
        batch_axis: Axes that stack independent matrices, where they were given by hand.
        padding_index: Row of an embedding that stays zero.
        default: What torch's own layer fills the tensor with, where an initializer asks for that.

    Example:
        >>> from initcfg.values import Layout
        >>> Layout((64, 1, 3, 3), groups=64).fans()
        (9, 9)
        >>> Layout((8, 512, 2048), in_axis=(1,), out_axis=(2,), batch_axis=(0,)).fans()
        (512, 2048)
    """

    shape: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    parts: tuple[int, ...] = ()
    in_axis: tuple[int, ...] | None = None
    out_axis: tuple[int, ...] | None = None
    batch_axis: tuple[int, ...] = ()
    padding_index: int | None = None
    default: Value | None = None

    @cached_property
    def _hash(self) -> int:
        axes = (self.in_axis, self.out_axis, self.batch_axis)
        return hash(
            (self.shape, self.groups, self.transposed, self.parts, axes, self.padding_index, self.default)
        )

    def __hash__(self) -> int:
        return self._hash

    def part(self, size: int) -> Layout:
        """The layout of one of the parts."""
        return Layout((size, *self.shape[1:]), padding_index=self.padding_index)

    def fans(self) -> tuple[int, int]:
        """(fan_in, fan_out).

        Raises:
            FanError: The tensor has fewer than two axes.
        """
        if self.in_axis is not None and self.out_axis is not None:
            return self._fans_by_axis(self.in_axis, self.out_axis)
        if len(self.shape) < 2:
            raise FanError(
                "Fans need a tensor of two or more dimensions.",
                fix="Select such tensors apart: give them a rule of their own (Constant, Normal, ...), "
                "or exclude them from this one.",
            )
        field_size = math.prod(self.shape[2:])
        if self.transposed:
            return self.shape[0] // self.groups * field_size, self.shape[1] * field_size
        return self.shape[1] * field_size, self.shape[0] // self.groups * field_size

    def _fans_by_axis(self, in_axis: tuple[int, ...], out_axis: tuple[int, ...]) -> tuple[int, int]:
        rank = len(self.shape)
        given = (*in_axis, *out_axis, *self.batch_axis)
        for axis in given:
            if not -rank <= axis < rank:
                raise FanError(f"There is no axis {axis} in a tensor of {rank} dimensions.")
        named = {axis % rank for axis in given}
        if len(named) != len(given):
            raise FanError("in_axis, out_axis and batch_axis name the same axis twice.")
        fan_in = math.prod(self.shape[axis] for axis in in_axis)
        fan_out = math.prod(self.shape[axis] for axis in out_axis)
        field_size = math.prod(size for axis, size in enumerate(self.shape) if axis not in named)
        return fan_in * field_size, fan_out * field_size
