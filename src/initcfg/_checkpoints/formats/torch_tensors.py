"""What torch's pickles say of tensors: the only calls in a pickle that mean something here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import torch

from initcfg._checkpoints.formats.allowed_names import may_be_named
from initcfg._checkpoints.formats.into_memory import extent
from initcfg._checkpoints.formats.pickled import (
    Call,
    PickledName,
    PickledObject,
    PickledTable,
    PickleMachine,
    PickleProblem,
    RefusedName,
    filled,
)
from initcfg._checkpoints.formats.spans import Span
from initcfg._checkpoints.formats.stored import (
    Storage,
    Stored,
    StoredView,
    TensorInfo,
    Unreadable,
    is_shape,
)

# Names of storage classes; older files have those of CUDA under torch.cuda.
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
    "UntypedStorage": None,
}
STORAGES = {
    f"{module}.{name}": dtype
    for module in ("torch", "torch.cuda", "torch.storage")
    for name, dtype in _STORAGES.items()
}
DTYPES = {
    f"torch.{name}": item for name in dir(torch) if isinstance(item := getattr(torch, name), torch.dtype)
}
_QUANTIZED = {dtype for name, dtype in DTYPES.items() if name.startswith(("torch.qi", "torch.qu"))}
# How many of the names that are on no list are kept, for messages.
_MOST_FOREIGN = 8
# A pair costs a call's worth of memory each time that it is named again; no file repeats this many.
_MOST_PAIRS = 200_000


class StorageRef(NamedTuple):
    """A storage as a pickle names it; its type is None if the tensor says it.

    In older files it may be a view, which begins at the ``first`` element of the storage.
    """

    storage: Storage
    dtype: torch.dtype | None
    first: int = 0


class TensorCalls:
    """The calls of one file.

    Args:
        more: Names that may occur besides those that are known.
        own: How the names of its own classes begin.
        strict: Refuse every other name. Otherwise it may occur: it stays a name, and is in ``foreign``.
    """

    def __init__(
        self, span: Span, more: Collection[str] = (), own: tuple[str, ...] = (), *, strict: bool = False
    ) -> None:
        self.span = span
        self.more = more
        self.own = own
        self.strict = strict
        self.foreign: list[str] = []
        self._pairs = 0
        self._encoded: dict[int, tuple[str, bytes]] = {}
        self.calls: dict[str, Call] = {
            "collections.OrderedDict": self._ordered,
            "collections.defaultdict": lambda args: {},
            "torch.Size": _size,
            "builtins.getattr": self._attribute,
            "builtins.bytes": lambda args: b"" if not args else PickledObject("builtins.bytes", args),
            "_codecs.encode": self._encode,
            "torch.storage._load_from_bytes": self._within_bytes,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._tensor_with_type,
            "torch._utils._rebuild_parameter": _first,
            "torch._utils._rebuild_parameter_with_state": _first,
            "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
            "torch._utils._rebuild_qtensor": lambda args: self._unreadable(args[2], "quantized"),
            "torch._utils._rebuild_sparse_tensor": lambda args: self._unreadable(
                next((each for each in args[1] if isinstance(each, tuple)), ()), "sparse"
            ),
            "torch._utils._rebuild_meta_tensor_no_storage": lambda args: self._unreadable(args[1], "meta"),
            "torch._tensor._rebuild_from_type_v2": self._of_subclass,
        }

    def load(self, data: Any, start: int = 0, *, persistent: Any = None) -> tuple[Any, int]:
        """A pickle, and where it ends."""
        machine = PickleMachine(data, start, calls=self.calls, allowed=self._allowed, persistent=persistent)
        try:
            return machine.load(), machine.place
        except PickleProblem as error:
            raise self.span.damaged(f"its pickle cannot be read: {error}") from error
        except RefusedName as error:
            name = str(error) if str(error).isprintable() else repr(str(error))
            raise self.span.refused(more_than_tensors(name), ALONE) from error

    def _allowed(self, name: str) -> bool:
        known = is_known(name) or name in self.more or name.startswith(self.own)
        if not known and not self.strict and len(self.foreign) < _MOST_FOREIGN:
            self.foreign.append(name)
        return known or not self.strict

    def _encode(self, args: tuple[Any, ...]) -> Any:
        # How protocol 2 writes bytes. Each text becomes bytes once, however often it is named.
        text, *encoding = args
        if not isinstance(text, str) or encoding not in (["latin1"], ["latin-1"]):
            return PickledObject("_codecs.encode", args)
        if id(text) not in self._encoded:
            self._encoded[id(text)] = text, text.encode("latin-1")
        return self._encoded[id(text)][1]

    def _within_bytes(self, args: tuple[Any, ...]) -> Any:
        raise self.span.refused(
            "has its tensors pickled by pickle.dump, which puts files into the file",
            "Save them with torch.save, or as safetensors.",
        )

    def _ordered(self, args: tuple[Any, ...]) -> dict[Any, Any]:
        table = PickledTable()
        for pair in args[0] if args and isinstance(args[0], list) else ():
            self._pairs += 1
            if self._pairs > _MOST_PAIRS or not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise PickleProblem("it has an ordered table of no pairs")
            filled(table, list(pair))
        return table

    def _attribute(self, args: tuple[Any, ...]) -> PickledObject:
        # MMEngine's HistoryBuffer holds its own methods, which are pickled so. It stays what it says.
        owner, attribute = args
        if not isinstance(owner, PickledName) or not isinstance(attribute, str):
            if self._allowed("builtins.getattr"):
                return PickledObject("builtins.getattr", args)
            raise RefusedName("builtins.getattr")
        name = f"{owner.name}.{attribute[:100]}"
        plain = owner.name not in self.calls and not owner.name.startswith("builtins.")
        plain = plain and not attribute.startswith("_") and attribute.isidentifier()
        if plain or not self.strict:
            if not plain:
                self.foreign.append(name)
            return PickledObject(name)
        raise RefusedName(name)

    def _tensor(self, args: tuple[Any, ...]) -> Stored:
        storage, offset, size, stride, *rest = args
        dtype = storage.dtype if isinstance(storage, StorageRef) else None
        return self._view(storage, dtype, offset, size, stride, *rest[2:3])

    def _tensor_with_type(self, args: tuple[Any, ...]) -> Stored:
        storage, offset, size, stride, _, _, dtype, *rest = args
        named = DTYPES.get(dtype.name) if isinstance(dtype, PickledName) else None
        return self._view(storage, named, offset, size, stride, *rest[:1])

    def _view(
        self, ref: Any, dtype: torch.dtype | None, offset: Any, size: Any, stride: Any, metadata: Any = None
    ) -> Stored:
        if not isinstance(ref, StorageRef) or dtype is None:
            raise PickleProblem("it has a tensor without a storage, or of no type")
        fits = is_shape(size) and is_shape((offset,)) and isinstance(stride, (tuple, list))
        if not fits or len(stride) != len(size) or not all(is_shape((each,)) for each in stride):
            raise PickleProblem("it has a tensor of no shape")
        if dtype in _QUANTIZED:
            return self._unreadable(size, "quantized")
        size, stride = tuple(size), tuple(stride)
        first = ref.first + offset
        if (first + extent(size, stride)) * dtype.itemsize > ref.storage.length:
            raise self.span.damaged(f"a tensor of shape {size} is longer than its storage")
        flags = metadata if isinstance(metadata, dict) else {}
        conjugated, negated = flags.get("conj") is True, flags.get("neg") is True
        return StoredView(ref.storage, dtype, first, size, stride, conjugated, negated)

    def _of_subclass(self, args: tuple[Any, ...]) -> Any:
        function, kind, inner = args[:3]
        known = self.calls.get(function.name) if isinstance(function, PickledName) else None
        if not isinstance(kind, PickledName) or not isinstance(inner, tuple):
            raise PickleProblem("it has a tensor of no class")
        if known is None or not function.name.startswith("torch._utils._") or not is_known(kind.name):
            # Its class says what its numbers mean, and nobody here knows the class.
            return PickledObject(kind.name, args)
        return known(inner)

    def _unreadable(self, size: Any, kind: str) -> Unreadable:
        if not is_shape(size):
            raise PickleProblem("it has a tensor of no shape")
        what = "on the meta device, without numbers" if kind == "meta" else kind
        error = self.span.refused(
            f"has a tensor that is {what}, which no parameter can be set from", "Save it as a plain tensor."
        )
        return Unreadable(TensorInfo(tuple(size), kind), error)


def _size(args: tuple[Any, ...]) -> tuple[int, ...]:
    size = args[0] if args else ()
    if not is_shape(size):
        raise PickleProblem("it has a size that is not one")
    return tuple(size)


def is_known(name: str) -> bool:
    """Whether a name stands for something of torch's files, or is on the list of those beside weights."""
    return name in STORAGES or name in DTYPES or may_be_named(name)


ALONE = "Save its state_dict alone: torch.save(model.state_dict(), path), or use safetensors."


def more_than_tensors(name: str) -> str:
    """What is wrong with a file whose weights are, or need, something that has a name and is no tensor."""
    return f"holds more than tensors (it needs {name}), and pickled code is never run"


def _first(args: tuple[Any, ...]) -> Any:
    if args and isinstance(args[0], PickledObject):
        return args[0]
    if not args or not isinstance(args[0], Stored):
        raise PickleProblem("it has a parameter that is not a tensor")
    return args[0]
