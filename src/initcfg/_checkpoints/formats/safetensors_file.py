"""Safetensors files: the header checked to the letter, the numbers read where they lie."""

from __future__ import annotations

import math
import sys
from typing import Any

import torch

from initcfg._checkpoints.formats.spans import Span
from initcfg._checkpoints.formats.stored import (
    Contents,
    Storage,
    StoredView,
    TensorInfo,
    Unreadable,
    is_shape,
)
from initcfg._checkpoints.formats.untrusted import parsed

# The format's own bound.
LONGEST_HEADER = 100_000_000
_METADATA = "__metadata__"

# Bits of an element, and how torch calls the type; some of them only a newer torch has.
_TYPES = {
    "BOOL": (8, "bool"),
    "U8": (8, "uint8"),
    "I8": (8, "int8"),
    "F8_E5M2": (8, "float8_e5m2"),
    "F8_E4M3": (8, "float8_e4m3fn"),
    "F8_E5M2FNUZ": (8, "float8_e5m2fnuz"),
    "F8_E4M3FNUZ": (8, "float8_e4m3fnuz"),
    "F8_E8M0": (8, "float8_e8m0fnu"),
    "U16": (16, "uint16"),
    "I16": (16, "int16"),
    "F16": (16, "float16"),
    "BF16": (16, "bfloat16"),
    "U32": (32, "uint32"),
    "I32": (32, "int32"),
    "F32": (32, "float32"),
    "U64": (64, "uint64"),
    "I64": (64, "int64"),
    "F64": (64, "float64"),
    "C64": (64, "complex64"),
    # Less than a byte each: their shapes count numbers, and torch's tensors count bytes.
    "F4": (4, "float4_e2m1fn_x2"),
    "F6_E2M3": (6, ""),
    "F6_E3M2": (6, ""),
}


def looks_safe(head: bytes) -> bool:
    """Whether a file that begins so was meant to be a safetensors file."""
    return head[8:9] == b"{"


def open_safe(span: Span) -> Contents:
    """What a safetensors file holds, if its header is exactly what the format says."""
    header, begin = _header(span)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
        raise span.damaged("its metadata is not a table of texts")
    tree: dict[str, Any] = {}
    ranges: list[tuple[int, int, str]] = []
    for key, entry in header.items():
        tree[key], first, last = _entry(span, key, entry, begin)
        ranges.append((first, last, key))
    _check_ranges(span, ranges, span.size - begin)
    return Contents(tree, "safetensors", metadata, (span,))


def _header(span: Span) -> tuple[dict[str, Any], int]:
    if span.size < 8:
        raise span.damaged(f"a safetensors file has at least 8 bytes, and it has {span.size}")
    length = int.from_bytes(span.read(0, 8), "little")
    if length > min(LONGEST_HEADER, span.size - 8):
        raise span.damaged(
            f"its header would have {length:,} bytes; the file has {span.size:,}, and the format allows "
            f"{LONGEST_HEADER:,}"
        )
    data = span.read(8, length)
    if not data.startswith(b"{"):
        raise span.damaged("its header does not begin with a brace")
    return parsed(span, data, "its header"), 8 + length


def _entry(span: Span, key: str, entry: Any, begin: int) -> tuple[Any, int, int]:
    """A tensor, and where its bytes begin and end, counted from the end of the header."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise span.damaged(f"the entry of {key!r} does not have just a dtype, a shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not is_shape(shape):
        raise span.damaged(f"the shape of {key!r} is not a shape")
    integers = isinstance(offsets, list) and [type(each) for each in offsets] == [int, int]
    if not integers or not 0 <= offsets[0] <= offsets[1]:
        raise span.damaged(f"the data_offsets of {key!r} are not two positions in order")
    first, last = offsets
    known = _TYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if known is None:
        raise span.damaged(f"the type {entry['dtype']!r} of {key!r} is not one that the format knows")
    bits, torch_name = known
    if math.prod(shape) * bits != (last - first) * 8:
        raise span.damaged(
            f"{key!r} of shape {tuple(shape)} and type {entry['dtype']} would have "
            f"{math.prod(shape) * bits / 8:g} bytes, and has {last - first}"
        )
    span.check(begin + first, last - first, f"the tensor {key!r}")
    dtype = getattr(torch, torch_name, None) if torch_name else None
    if dtype is None or (bits < 8 and (not shape or shape[-1] % 2)):
        error = span.refused(
            f"holds {key!r} as {entry['dtype']}, which this torch has no type for",
            "Convert it to another type, or upgrade torch.",
        )
        return Unreadable(TensorInfo(tuple(shape), entry["dtype"].lower()), error), first, last
    if bits < 8:
        shape = [*shape[:-1], shape[-1] * bits // 8]
    size = tuple(shape)
    stride = tuple(math.prod(size[dimension + 1 :]) for dimension in range(len(size)))
    storage = Storage(span, begin + first, last - first, swapped=sys.byteorder != "little")
    return StoredView(storage, dtype, 0, size, stride), first, last


def _check_ranges(span: Span, ranges: list[tuple[int, int, str]], size: int) -> None:
    """Refuse bytes that two tensors have, and bytes that none has."""
    end, before = 0, ""
    for first, last, key in sorted(ranges):
        if first < end:
            raise span.damaged(f"the tensors {before!r} and {key!r} overlap")
        if first > end:
            raise span.damaged(f"the {first - end} bytes before the tensor {key!r} belong to none")
        end, before = last, key
    if end != size:
        raise span.damaged(f"its tensors end at byte {end} of the data, and the file has {size}")
