"""Files that mean harm, or were harmed: what the readers must refuse. Made here, none of them kept."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

TRACE = "initcfg_hostile_code_ran"


class Calls:
    """Pickled, it is a call of ``function``."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function = function
        self.args = args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


def reduce_by_name(module: str, name: str, *args: str) -> bytes:
    """A pickle that calls a function by name; nothing of it is imported here."""
    texts = b"".join(b"X" + struct.pack("<I", len(each.encode())) + each.encode() for each in args)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + texts + b"tR."


def archive(path: Path, data: bytes, members: dict[str, bytes] | None = None, *, method: int = 0) -> Path:
    """A zip archive as torch.save writes it, around any pickle."""
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr("archive/data.pkl", data)
        for name, content in (members or {}).items():
            opened.writestr(f"archive/{name}", content)
    return path


def legacy(path: Path, *pickles: bytes) -> Path:
    """A file of the older torch.save, around any pickles."""
    head = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join([*head, *pickles]))
    return path


def safetensors(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    """A safetensors file with any header: an object, or bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def attacks(trace: Path) -> dict[str, bytes]:
    """Pickles that would leave ``trace`` behind, or do other harm, if anything ran them."""
    import builtins
    import copyreg
    import os
    import subprocess

    def dumped(*call: Any) -> bytes:
        return pickle.dumps({"weight": 1, "attack": Calls(*call)}, 2)

    touch = f"touch {trace}"
    code = f"open({str(trace)!r}, 'w').close()"
    return {
        "os.system": dumped(os.system, touch),
        "subprocess": dumped(subprocess.call, ["touch", str(trace)]),
        "eval": dumped(builtins.eval, code),
        "exec": dumped(builtins.exec, code),
        "open": dumped(builtins.open, str(trace), "w"),
        "import": dumped(builtins.__import__, "antigravity"),
        "getattr of a module": dumped(builtins.getattr, Calls(builtins.__import__, "os"), "system"),
        "getattr of a class": pickle.dumps({"a": Calls(builtins.getattr, dict, "__subclasses__")}, 2),
        "getattr chain": _attribute_chain(),
        "copyreg": dumped(copyreg.add_extension, "os", "system", 1),
        "extension code": b"\x80\x02\x82\x01(X\x02\x00\x00\x00idtR.",
        "torch.load": dumped(torch.load, str(trace)),
        "torch.hub.load": dumped(torch.hub.load, "a/b", "c"),
        "torch.save": dumped(torch.save, 1, str(trace)),
        "torch.ops": reduce_by_name("torch.ops", "load_library", str(trace)),
        "jit": reduce_by_name("torch.jit", "load", str(trace)),
        "dotted name": reduce_by_name("torch", "serialization.os.system", touch),
        "dotted stack name": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        "numpy loader": reduce_by_name("numpy", "load", str(trace)),
        "package function": reduce_by_name("mmengine.fileio", "load", str(trace)),
        "package submodule": reduce_by_name("mmengine", "os.system", touch),
        "old class": b"\x80\x02(ios\nsystem\n.",
        "called object": pickle.dumps({"a": Calls(Calls, 1)}, 2),
        "codecs": reduce_by_name("_codecs", "lookup", "hex"),
        "functools": reduce_by_name("functools", "partial", "x"),
        "operator": reduce_by_name("operator", "attrgetter", "system"),
        "timeit": reduce_by_name("timeit", "timeit", code),
        "pickle in pickle": reduce_by_name("pickle", "loads", "cos\nsystem\n"),
    }


def _attribute_chain() -> bytes:
    """What MMEngine's history buffers do, taken further: the attribute of an attribute, called."""
    owner = b"cmmengine.logging.history_buffer\nHistoryBuffer\n"
    globals_of = b"c__builtin__\ngetattr\n(" + owner + b"X\x0b\x00\x00\x00__globals__tR"
    return b"\x80\x02" + globals_of + b"."


def malformed_pickles() -> dict[str, bytes]:
    """Pickles that are none, and some that would cost much time or memory."""
    deep = 200_000
    return {
        "empty": b"",
        "no end": b"\x80\x02}",
        "nothing to take": b"\x80\x02.",
        "pop of nothing": b"\x80\x020.",
        "below a mark": b"\x80\x02N(0.",
        "mark never put": b"\x80\x02t.",
        "unknown memo": b"\x80\x02h\x07.",
        "protocol 9": b"\x80\x09N.",
        "text protocol": b"(dp0\nS'a'\nI1\ns.",
        "huge text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.",
        "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", (1 << 64) - 1) + b"a.",
        "huge bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"a.",
        "huge integer": b"\x80\x02\x8b" + struct.pack("<i", 0x7FFFFFFF) + b"a.",
        "negative integer": b"\x80\x02\x8b" + struct.pack("<i", -1) + b"a.",
        "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
        "huge memo place": b"\x80\x02Nr\xff\xff\xff\xff.",
        "deep lists": b"\x80\x02" + b"]" * deep + b"a" * (deep - 1) + b".",
        "deep tuples": b"\x80\x02)" + b"\x85" * deep + b".",
        "doubled tuples": b"\x80\x02)" + b"2\x86" * 100 + b".",
        "doubled tuples as a key": b"\x80\x02})" + b"2\x86" * 100 + b"Ns.",
        "list in itself": b"\x80\x02]q\x00h\x00a.",
        "table in itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
        "doubled tables": b"\x80\x02}"
        + b"".join(
            b"q"
            + bytes([each])
            + b"0}(X\x01\x00\x00\x00ah"
            + bytes([each])
            + b"X\x01\x00\x00\x00bh"
            + bytes([each])
            + b"u"
            for each in range(60)
        )
        + b".",
        "key is a list": b"\x80\x02}]Ns.",
        "colliding keys": b"\x80\x02}("
        + b"".join(
            b"\x8a\x09" + (each * ((1 << 61) - 1)).to_bytes(9, "little") + b"N" for each in range(1, 99)
        )
        + b"u.",
        "key without value": b"\x80\x02}(Nu.",
        "item of a text": b"\x80\x02X\x01\x00\x00\x00aNNs.",
        "append to a table": b"\x80\x02}Na.",
        "call of a number": b"\x80\x02K\x01)R.",
        "call without arguments": b"\x80\x02ccollections\nOrderedDict\nNR.",
        "new object of a number": b"\x80\x04ccollections\nCounter\nK\x01}(NNu\x92.",
        "new object with a number": b"\x80\x04ccollections\nCounter\n)K\x01\x92.",
        "name without end": b"\x80\x02c" + b"a" * 5000,
        "name of numbers": b"\x80\x04K\x01K\x02\x93.",
        "tensor of nothing": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        "tensor of texts": reduce_by_name("torch._utils", "_rebuild_tensor_v2", *"abcdef"),
        "parameter of nothing": b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.",
        "persistent text": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "ordered table of texts": b"\x80\x02ccollections\nOrderedDict\n(](X\x01\x00\x00\x00aetR.",
        "text that is none": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
        "repeated pairs": b"\x80\x02]("
        + b"NN\x86" * 2000
        + b"eq\x000"
        + b"ccollections\nOrderedDict\nh\x00\x85R0" * 2000
        + b"N.",
    }


def safetensors_headers() -> dict[str, tuple[Any, bytes, int | None]]:
    """Headers that are not what the format says: header, data, and the length that is claimed."""

    def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
        return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}

    eight = bytes(8)
    return {
        "no data": ({"a": entry()}, b"", None),
        "too much data": ({"a": entry()}, bytes(9), None),
        "huge header": (b'{"a":1}', b"", (1 << 64) - 1),
        "header beyond the file": (b'{"a":1}', b"", 1000),
        "header cut": ({"a": entry()}, eight, 20),
        "header over a bound": (b"{" + b" " * 30, b"", 100_000_001),
        "no object": (b"[1]", b"", None),
        "no JSON": (b'{"a":', b"", None),
        "rubbish behind": (b"{} x", b"", None),
        "NaN": (b'{"__metadata__": NaN}', b"", None),
        "no UTF-8": (b'{"\xff": 1}', b"", None),
        "duplicate key": (
            b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}",
            eight,
            None,
        ),
        "duplicate inner key": (
            b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            eight,
            None,
        ),
        "deep nesting": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"", None),
        "huge number": (
            b'{"a":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,8]}}',
            eight,
            None,
        ),
        "entry is a list": ({"a": [1]}, b"", None),
        "entry lacks a shape": ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, eight, None),
        "entry has more": ({"a": entry(extra=1)}, eight, None),
        "unknown type": ({"a": entry("F33")}, eight, None),
        "type is a list": ({"a": entry(["F32"])}, eight, None),
        "wrong type": ({"a": entry("F64")}, eight, None),
        "wrong shape": ({"a": entry(shape=[3])}, eight, None),
        "negative shape": ({"a": entry(shape=[-1, -2])}, eight, None),
        "shape of a float": ({"a": entry(shape=[2.0])}, eight, None),
        "shape of a truth": ({"a": entry(shape=[True, 2])}, eight, None),
        "shape is a number": ({"a": entry(shape=2)}, eight, None),
        "shape overflows": ({"a": entry(shape=[1 << 62, 1 << 62, 0])}, b"", None),
        "huge rank": ({"a": entry(shape=[1] * 1000 + [2])}, eight, None),
        "offsets backward": ({"a": entry(offsets=[8, 0])}, eight, None),
        "offsets negative": ({"a": entry(offsets=[-8, 0])}, eight, None),
        "offsets beyond": ({"a": entry(offsets=[8, 16])}, eight, None),
        "offsets huge": ({"a": entry(shape=[1 << 60], offsets=[0, 1 << 62])}, eight, None),
        "one offset": ({"a": entry(offsets=[0])}, eight, None),
        "offset is a text": ({"a": entry(offsets=["0", "8"])}, eight, None),
        "overlap": ({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12), None),
        "same bytes": ({"a": entry(), "b": entry()}, eight, None),
        "hole": ({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20), None),
        "hole in front": ({"a": entry(offsets=[4, 12])}, bytes(12), None),
        "metadata is a list": ({"__metadata__": [], "a": entry()}, eight, None),
        "metadata of numbers": ({"__metadata__": {"a": 1}, "a": entry()}, eight, None),
        "half a byte": ({"a": entry("F4", [3], [0, 1])}, b"\0", None),
    }


def flips(data: bytes, positions: range) -> Iterator[tuple[int, bytes]]:
    """The data with one bit flipped, for each bit of each position."""
    for position in positions:
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            yield position, bytes(changed)
