"""NumPy's arrays: in pickles, in ``.npz`` archives, and as ``.npy`` files, in which no pickle is read."""

from __future__ import annotations

import ast
import math
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from initcfg._checkpoints.formats.archive import Archive
from initcfg._checkpoints.formats.into_memory import row_major
from initcfg._checkpoints.formats.pickled import OldText, PickledName, PickledObject
from initcfg._checkpoints.formats.spans import Span, available_memory
from initcfg._checkpoints.formats.stored import (
    Contents,
    Storage,
    Stored,
    StoredView,
    TensorInfo,
    Unreadable,
    is_shape,
)
from initcfg.errors import CheckpointError
from initcfg.values import dtype_name

MAGIC = b"\x93NUMPY"
# NumPy's own bound is 10,000 characters.
_LONGEST_HEADER = 1 << 16
_ENDING = ".npy"

# NumPy's letter and bytes of an element, and torch's type.
_TYPES = {
    "b1": torch.bool,
    "?": torch.bool,
    "u1": torch.uint8,
    "u2": torch.uint16,
    "u4": torch.uint32,
    "u8": torch.uint64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "c8": torch.complex64,
    "c16": torch.complex128,
}
# Types that NumPy learns from another package, as pickles name them.
_NAMED_TYPES = {
    "ml_dtypes.bfloat16": torch.bfloat16,
    "ml_dtypes.float8_e4m3fn": torch.float8_e4m3fn,
    "ml_dtypes.float8_e5m2": torch.float8_e5m2,
}
_CORE = ("numpy.core.", "numpy._core.")
_RECONSTRUCT = frozenset(f"{core}multiarray._reconstruct" for core in _CORE)
_FROM_BUFFER = frozenset(f"{core}numeric._frombuffer" for core in _CORE)
_SCALAR = frozenset(f"{core}multiarray.scalar" for core in _CORE)
_PLAIN = ("numpy.ndarray", "numpy.memmap", "numpy.core.memmap.memmap", "numpy._core.memmap.memmap")


@dataclass(frozen=True)
class InBytes(Stored):
    """A tensor whose numbers stand in a pickle, among its other data."""

    data: bytes
    dtype: torch.dtype
    size: tuple[int, ...]
    # By columns, as Fortran has them.
    columns: bool
    swapped: bool

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(self.size, dtype_name(self.dtype))

    def read(self) -> torch.Tensor:
        if not self.data:
            return torch.empty(self.size, dtype=self.dtype, device="cpu")
        flat = torch.frombuffer(bytearray(self.data), dtype=self.dtype)
        if self.swapped:
            flat.untyped_storage().byteswap(self.dtype)
        return flat.as_strided(self.size, _strides(self.size, self.columns))


@dataclass(frozen=True, eq=False)
class ArrayInMemory(Stored):
    """An array of NumPy that is in memory already."""

    array: np.ndarray[Any, Any]

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(self.array.shape, dtype_name(_TYPES[self.array.dtype.str[1:]]))

    def read(self) -> torch.Tensor:
        # A copy, whatever its strides and its order of bytes, and whoever may write to it.
        native = self.array.dtype.newbyteorder("=")
        return torch.from_numpy(np.array(self.array, dtype=native, order="C"))


def array_in_memory(value: Any) -> Stored | None:
    """An array, or a scalar, of NumPy as a tensor that can be read; None if it is not of numbers."""
    array = np.asarray(value)
    return ArrayInMemory(array) if array.dtype.str[1:] in _TYPES else None


def pickled_array(value: PickledObject, *, scalars: bool = True) -> Stored | None:
    """The numbers of a pickled array, or scalar, of NumPy; None if it is none, or not of numbers."""
    if value.name in _SCALAR:
        parts = ((), *value.args, False) if scalars and len(value.args) == 2 else ()
        shape, dtype, data, columns = parts or (None,) * 4
    elif value.name in _FROM_BUFFER and len(value.args) == 4:
        data, dtype, shape, order = value.args
        columns = order == "F"
    elif value.name in _RECONSTRUCT and isinstance(value.state, tuple):
        owner = value.args[0] if value.args else None
        if not isinstance(owner, PickledName) or owner.name not in _PLAIN or len(value.state) not in (4, 5):
            return None
        shape, dtype, columns, data = value.state[-4:]
    else:
        return None
    found = _pickled_type(dtype)
    data = data.raw if isinstance(data, OldText) else data
    if found is None or not isinstance(data, bytes) or not is_shape(shape):
        return None
    torch_type, swapped = found
    size = tuple(shape)
    if math.prod(size) * torch_type.itemsize != len(data):
        problem = CheckpointError(
            f"The checkpoint is damaged: an array of shape {size} has {len(data):,} bytes.",
            fix="Fetch or save the file again.",
        )
        return Unreadable(TensorInfo(size, dtype_name(torch_type)), problem)
    return InBytes(data, torch_type, size, columns is True, swapped)


def _pickled_type(dtype: Any) -> tuple[torch.dtype, bool] | None:
    """torch's type of what a pickle says is NumPy's; and whether its bytes are in the other order."""
    if not isinstance(dtype, PickledObject) or dtype.name != "numpy.dtype" or not dtype.args:
        return None
    said = dtype.args[0]
    state = dtype.state if isinstance(dtype.state, tuple) else ()
    order = state[1] if len(state) > 1 else "|"
    if isinstance(said, PickledName):
        known = _NAMED_TYPES.get(said.name)
    else:
        known = _TYPES.get(said) if isinstance(said, str) else None
    return None if known is None or order not in ("<", ">", "=", "|") else (known, _other_order(order))


def _other_order(order: str) -> bool:
    return order == (">" if sys.byteorder == "little" else "<")


def _strides(size: Sequence[int], columns: bool) -> tuple[int, ...]:
    """Steps in elements from one index to the next, by rows or by columns."""
    if columns:
        return tuple(math.prod(size[:dim]) for dim in range(len(size)))
    return row_major(tuple(size))


def open_array(span: Span) -> Contents:
    """What an ``.npy`` file holds: one array, which has the name of the file."""
    path = span.path
    head = span.read(0, min(span.size, _LONGEST_HEADER + 12))
    info, begin = _parsed(span, head, path.name)
    stored = _stored(span, info, path.stem, Storage(span, begin, span.size - begin))
    if isinstance(stored, Unreadable):
        raise stored.error
    return Contents({path.stem: stored}, "NumPy", {}, (span,), plain=True)


def open_arrays(span: Span, archive: Archive) -> Contents:
    """What an ``.npz`` archive holds: an array for each member."""
    tree: dict[str, Stored] = {}
    for member in archive.names(_ENDING):
        key = member.removesuffix(_ENDING)
        packed = archive.compressed(member)
        if packed is None:
            start, size = archive.member(member)
            head = span.read(start, min(size, _LONGEST_HEADER + 12))
            info, begin = _parsed(span, head, member)
            tree[key] = _stored(span, info, key, Storage(span, start + begin, size - begin))
        else:
            head = _unpacked(span, packed, min(packed[2], _LONGEST_HEADER + 12), member)
            info, begin = _parsed(span, head, member)
            inside = _stored(span, info, key, Storage(span, 0, packed[2] - begin))
            tree[key] = (
                Packed(span, packed, begin, inside, member) if isinstance(inside, StoredView) else inside
            )
    return Contents(tree, "NumPy", {}, (span,), plain=True)


@dataclass(frozen=True)
class Packed(Stored):
    """A tensor that lies compressed in an archive: it is unpacked when it is read."""

    span: Span
    # Where its bytes begin, how many they are, and how many they become.
    place: tuple[int, int, int]
    begin: int
    inside: StoredView
    member: str

    @property
    def info(self) -> TensorInfo:
        return self.inside.info

    def read(self) -> torch.Tensor:
        free = available_memory()
        if free is not None and self.place[2] > free:
            raise self.span.refused(
                f"holds a member that unpacks to {self.place[2]:,} bytes, and {free:,} bytes are free",
                "Save it uncompressed: numpy.savez.",
            )
        data = _unpacked(self.span, self.place, self.place[2], self.member)[self.begin :]
        view = self.inside
        columns = view.stride != _strides(view.size, False)
        return InBytes(data, view.dtype, view.size, columns, view.storage.swapped).read()


def _unpacked(span: Span, place: tuple[int, int, int], most: int, member: str) -> bytes:
    """The first bytes of a compressed member; never more than it says it has."""
    start, packed, _ = place
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # What cannot be packed becomes a little longer, so that this is enough for the first bytes.
        data = machine.decompress(span.read(start, min(packed, 2 * most + 1024)), most)
    except zlib.error as error:
        raise span.damaged(f"the member {member!r} cannot be unpacked ({error})") from error
    if len(data) < most:
        raise span.damaged(f"the member {member!r} is shorter than it says")
    return data


def _parsed(span: Span, head: bytes, what: str) -> tuple[dict[str, Any], int]:
    """The header of an ``.npy`` file, and where its numbers begin."""
    major = head[6] if head.startswith(MAGIC) and len(head) > 12 else 0
    width = {1: 2, 2: 4, 3: 4}.get(major)
    if width is None:
        raise span.damaged(f"{what!r} does not begin as an array of NumPy does")
    length = int.from_bytes(head[8 : 8 + width], "little")
    text = head[8 + width : 8 + width + length]
    if length > _LONGEST_HEADER or len(text) < length:
        raise span.damaged(f"the header of {what!r} would have {length:,} bytes")
    try:
        found = ast.literal_eval(text.decode("utf-8" if major == 3 else "latin-1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise span.damaged(f"the header of {what!r} is not one") from error
    if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
        raise span.damaged(f"the header of {what!r} does not say just a type, an order and a shape")
    if not isinstance(found["shape"], tuple) or not is_shape(found["shape"]):
        raise span.damaged(f"the shape of {what!r} is not a shape")
    return found, 8 + width + length


def _stored(span: Span, info: dict[str, Any], key: str, storage: Storage) -> StoredView | Unreadable:
    """An array of a file, checked against the bytes that there are."""
    size, descr = info["shape"], info["descr"]
    order, kind = (descr[:1], descr[1:]) if isinstance(descr, str) and descr[:1] in "<>|=" else ("|", descr)
    dtype = _TYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        what = "Python objects, which only pickled code could make" if kind == "O" else repr(descr)[:60]
        error = span.refused(
            f"has {key!r} as an array of {what}, which no tensor is made from",
            "Save arrays of numbers: numpy.savez(path, **{name: array}).",
        )
        return Unreadable(TensorInfo(size, "object" if kind == "O" else str(descr)[:40]), error)
    if math.prod(size) * dtype.itemsize != storage.length:
        raise span.damaged(f"the array {key!r} of shape {size} has {storage.length:,} bytes")
    storage.swapped = _other_order(order)
    return StoredView(storage, dtype, 0, size, _strides(size, info["fortran_order"] is True))
