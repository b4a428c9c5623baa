"""The header of a safetensors file: https://github.com/huggingface/safetensors#format.

The library's own writer takes whole tensors; here the header comes first, and the numbers piece by piece.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from initcfg._apply.streaming.items import Item
from initcfg.errors import OutputError
from initcfg.values import dtype_name

# In this order they lie in a file: the widest first, so that each is aligned.
_TYPES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_ORDER = list(_TYPES)
_RESERVED = "__metadata__"


def in_order(items: Iterable[Item]) -> list[Item]:
    """Tensors in the order of a file: by type, then by key."""
    found = list(items)
    for item in found:
        dtype = dtype_name(item.dtype)
        if dtype not in _TYPES:
            raise OutputError(
                f"Safetensors files have no type {dtype}, which {item.key!r} is of.",
                fix="Write --format dcp.",
            )
        # A lone surrogate has no UTF-8.
        if item.key == _RESERVED or item.key.encode(errors="replace").decode() != item.key:
            raise OutputError(f"A safetensors file cannot hold a tensor under the key {item.key!r}.")
    return sorted(found, key=lambda item: (_ORDER.index(dtype_name(item.dtype)), item.key.encode()))


def header(items: Sequence[Item], metadata: Mapping[str, str]) -> bytes:
    """The bytes before the numbers, for tensors in order; with what the file says of itself."""
    table: dict[str, object] = {_RESERVED: dict(metadata)}
    position = 0
    for item in items:
        end = position + item.size
        dtype = _TYPES[dtype_name(item.dtype)]
        table[item.key] = {"dtype": dtype, "shape": list(item.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
