"""The header of a safetensors file: https://github.com/huggingface/safetensors#format."""

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
_RANKS = {name: rank for rank, name in enumerate(_TYPES)}
_RESERVED = "__metadata__"


def in_order(items: Iterable[Item]) -> list[Item]:
    """Tensors in the order of a file: by type, then by key.

    Raises:
        OutputError: The format has no such type, or no such key.
    """
    found = list(items)
    for item in found:
        if _name(item) not in _RANKS:
            raise OutputError(
                f"Safetensors files have no type {_name(item)}, which {item.key!r} is of.",
                fix="Write --format dcp.",
            )
        if item.key == _RESERVED or not _in_utf8(item.key):
            raise OutputError(f"A safetensors file cannot hold a tensor under the key {item.key!r}.")
    return sorted(found, key=lambda item: (_RANKS[_name(item)], item.key.encode()))


def header(items: Sequence[Item], metadata: Mapping[str, str]) -> bytes:
    """The bytes before the numbers.

    Args:
        items: The tensors, in order.
        metadata: What the file says of itself.
    """
    table: dict[str, object] = {_RESERVED: dict(metadata)}
    position = 0
    for item in items:
        offsets = [position, position + item.size]
        table[item.key] = {
            "dtype": _TYPES[_name(item)],
            "shape": list(item.shape),
            "data_offsets": offsets,
        }
        position += item.size
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _name(item: Item) -> str:
    return dtype_name(item.dtype)


def _in_utf8(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
