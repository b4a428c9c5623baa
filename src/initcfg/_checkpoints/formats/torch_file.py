"""Files that ``torch.save`` writes, as zip archives or as one stream, and plain pickles of arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from initcfg._checkpoints.formats.archive import Archive
from initcfg._checkpoints.formats.numpy_arrays import open_arrays
from initcfg._checkpoints.formats.pickled import PickledName, PickledObject, PickleProblem
from initcfg._checkpoints.formats.spans import Span
from initcfg._checkpoints.formats.stored import Contents, Storage
from initcfg._checkpoints.formats.tables import flattened
from initcfg._checkpoints.formats.torch_tensors import STORAGES, StorageRef, TensorCalls
from initcfg._checkpoints.formats.unwrapping import holds_tensors

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# A compiled module's classes are of its own code, which lies in the archive and is not run either.
_COMPILED = ("__torch__.", "torch.jit._pickle.")
# The pickle of a model with 100,000 tensors has 20 MB.
_LONGEST_PICKLE = 1 << 30


def open_archive(span: Span) -> Contents:
    """What a zip archive of ``torch.save`` holds; ``torch.jit.save`` makes them too."""
    archive = Archive(span)
    if archive.names(".npy") and not archive.names("/data.pkl"):
        return open_arrays(span, archive)
    root = archive.root("data.pkl")
    order = "little"
    if f"{root}/byteorder" in archive:
        order = archive.read(f"{root}/byteorder", 16).decode("ascii", "replace")
        if order not in ("little", "big"):
            raise span.damaged(f"its byte order is {order!r}")
    storages: dict[str, Storage] = {}

    def find(key: str, length: int) -> Storage:
        if key not in storages:
            place = archive.member(f"{root}/data/{key}")
            storages[key] = Storage(span, *place, swapped=order != sys.byteorder)
        if storages[key].length != length:
            raise span.damaged(
                f"the storage {key!r} has {storages[key].length:,} bytes, and its tensors speak of {length:,}"
            )
        return storages[key]

    compiled = f"{root}/constants.pkl" in archive
    calls = TensorCalls(span, own=_COMPILED if compiled else ())
    pickled = archive.read(f"{root}/data.pkl", _LONGEST_PICKLE)
    tree, _ = calls.load(pickled, persistent=partial(_storage, find))
    if compiled:
        modules = _module(tree)
        if modules is None:
            raise span.refused("is a TorchScript archive that holds no module", "Save its state_dict.")
        tensors = flattened(modules, span.name, _module, _COMPILED)
        return Contents(tensors, "TorchScript", {}, (span,), plain=True)
    return Contents(tree, "torch", {}, (span,), foreign=tuple(calls.foreign))


def _module(value: Any) -> Mapping[Any, Any] | None:
    """The attributes of a compiled module: its tensors, and the modules in it."""
    own = isinstance(value, PickledObject) and value.name.startswith("__torch__.")
    return value.state if own and isinstance(value.state, dict) else None


def _storage(find: Callable[[str, int], Storage], reference: Any) -> StorageRef:
    """What a persistent id stands for; ``find`` knows the storages by key and size in bytes."""
    if not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
        raise PickleProblem("it refers to something that is not a storage")
    _, kind, key, _, count, *rest = reference
    if not isinstance(kind, PickledName) or kind.name not in STORAGES:
        raise PickleProblem("it has a storage of no known type")
    if not isinstance(key, str) or type(count) is not int or not 0 <= count < 1 << 60:
        raise PickleProblem("it has a storage without a key or a size")
    dtype = STORAGES[kind.name]
    found = find(key, count * (1 if dtype is None else dtype.itemsize))
    if not rest or rest[0] is None:
        return StorageRef(found, dtype)
    view = rest[0]
    if not isinstance(view, tuple) or len(view) != 3 or type(view[1]) is not int or view[1] < 0:
        raise PickleProblem("it has a view of a storage that is not one")
    return StorageRef(found, dtype, view[1])


def open_stream(span: Span) -> Contents:
    """What a file of an older ``torch.save`` holds: pickles, one after the other, then the storages."""
    data = span.window()
    calls = TensorCalls(span)
    storages: dict[str, Storage] = {}

    def find(key: str, length: int) -> Storage:
        known = storages.setdefault(key, Storage(span, -1, length))
        if known.length != length:
            raise span.damaged(f"its tensors speak of storage {key!r} with two sizes")
        return known

    magic, place = calls.load(data)
    if isinstance(magic, dict) and place == span.size and holds_tensors(magic):
        # A table of NumPy's arrays, as detectron2 keeps the weights of its zoo.
        return Contents(magic, "pickle", {}, (span,), foreign=tuple(calls.foreign))
    if magic != _MAGIC or type(magic) is not int:
        raise span.refused(
            "is a pickle that torch.save did not write",
            "Save the tensors with torch.save, or as safetensors.",
        )
    protocol, place = calls.load(data, place)
    system, place = calls.load(data, place)
    little = system.get("little_endian") if isinstance(system, dict) else None
    if protocol != _PROTOCOL or not isinstance(little, bool):
        raise span.damaged("its beginning is not that of a file of torch.save")
    tree, place = calls.load(data, place, persistent=partial(_storage, find))
    keys, place = calls.load(data, place)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise span.damaged("its list of storages is not one")
    if len(set(keys)) < len(keys) or set(keys) != set(storages):
        raise span.damaged("its list of storages is not that of its tensors")
    for key in keys:
        place = _put_storage(span, storages[key], key, place, "little" if little else "big")
    if place != span.size:
        raise span.damaged(f"its storages end at byte {place}, and the file at {span.size}")
    format = "torch, the format before version 1.6"
    return Contents(tree, format, {}, (span,), foreign=tuple(calls.foreign))


def _put_storage(span: Span, storage: Storage, key: str, place: int, order: Literal["little", "big"]) -> int:
    """Say where a storage lies; where the next one begins."""
    count = int.from_bytes(span.read(place, 8, f"the size of storage {key!r}"), order, signed=True)
    span.check(place + 8, storage.length, f"the storage {key!r}")
    if count < 0 or (count != storage.length and (count == 0 or storage.length % count)):
        raise span.damaged(f"the storage {key!r} has {count:,} elements, and its tensors speak of others")
    storage.start = place + 8
    storage.swapped = order != sys.byteorder
    return place + 8 + storage.length


def open_torch(span: Span) -> Contents:
    """What a file of ``torch.save`` holds, whichever of the two it is."""
    zipped = span.read(0, min(4, span.size)) == b"PK\x03\x04"
    return open_archive(span) if zipped else open_stream(span)
