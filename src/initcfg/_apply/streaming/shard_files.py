"""Shards: the safetensors files of a checkpoint, which tensor goes into which, and where in it.

The library's own writer takes whole tensors; here the header comes first, and the numbers piece by piece. Of
the format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from initcfg._apply.streaming.items import Item
from initcfg._apply.written_digests import DIGEST
from initcfg.errors import OutputError
from initcfg.values import dtype_name

DEFAULT_SIZE = "5GB"
INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?\s*", re.IGNORECASE | re.ASCII)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
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
# In the header of a Shard the digest is zeros.
_NO_DIGEST = "0" * 64


def parsed_size(text: str | int) -> int:
    """A number of bytes: ``"5GB"``, ``"500 MB"``, ``"2GiB"``, ``1000``.

    Example:
        >>> from initcfg._apply.streaming.shard_files import parsed_size
        >>> parsed_size("5GB"), parsed_size("2GiB"), parsed_size("1.5kB")
        (5000000000, 2147483648, 1500)
    """
    found = _SIZE.fullmatch(str(text)) if not isinstance(text, bool) else None
    size = 0
    if found is not None:
        number, unit, binary = found.groups()
        size = float(number) * (1024 if binary else 1000) ** _POWERS.get((unit or "").lower(), 0)
        # More than any disk has is all in one file.
        size = int(min(size, 2.0**62))
    if size < 1:
        raise OutputError(
            f"{text!r} is not a size of a shard.",
            fix="Write a number of bytes, with a unit: 5GB, 500MB, 2GiB.",
        )
    return size


@dataclass(frozen=True)
class Shard:
    """A file of a checkpoint: its tensors, in the order in which they lie in it, after its header."""

    name: str
    items: tuple[Item, ...]
    header: bytes

    @property
    def size(self) -> int:
        """How long the file is, in bytes."""
        return len(self.header) + sum(item.size for item in self.items)

    @property
    def digest_place(self) -> int | None:
        """Where in the file its digest stands, as 64 digits; None if it has none."""
        before = f'"{DIGEST}":"'.encode()
        found = self.header.find(before + _NO_DIGEST.encode())
        return None if found < 0 else found + len(before)

    def digest_in(self, header: bytes) -> str | None:
        """The digest that a file's header says, if the header is that of this shard but for it."""
        place = self.digest_place
        if place is None:
            return "" if header == self.header else None
        end = place + len(_NO_DIGEST)
        same = header[:place] + self.header[place:end] + header[end:] == self.header
        return header[place:end].decode("ascii", "replace") if same else None


def divided(items: Iterable[Item], most: int) -> list[list[Item]]:
    """Tensors into shards of ``most`` bytes at most: in their order, each shard as full as it gets.

    No tensor is cut: a larger one has a shard to itself.
    """
    groups: list[list[Item]] = [[]]
    size = 0
    for item in items:
        size += item.size
        if groups[-1] and size > most:
            groups.append([])
            size = item.size
        groups[-1].append(item)
    return groups


def shards(items: Iterable[Item], most: int, metadata: Mapping[str, str]) -> list[Shard]:
    """The files that hold the tensors, ``most`` bytes of them each, and say ``metadata`` of themselves."""
    groups = divided(items, most)
    metadata = {**metadata, DIGEST: _NO_DIGEST}
    found: list[Shard] = []
    for number, group in enumerate(groups, 1):
        ordered = in_order(group)
        name = f"model-{number:05d}-of-{len(groups):05d}.safetensors" if len(groups) > 1 else _SINGLE
        found.append(Shard(name, tuple(ordered), header(ordered, metadata)))
    return found


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


def weight_map(found: Iterable[Shard]) -> dict[str, str]:
    """From each key to its file."""
    return {item.key: shard.name for shard in found for item in shard.items}
