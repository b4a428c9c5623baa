"""What the recorder knows of ATen's operations, by their names without namespace."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from initcfg._record.recording.content import Known
from initcfg.errors import PlanError
from initcfg.values import Constant, Normal, Uniform, Value
from initcfg.values.formulas import operation

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""Types of tensors whose memory is handed out untouched."""

DRAWERS: dict[str, tuple[str, Value]] = {
    **dict.fromkeys(("rand", "rand_like"), ("uniform_", Uniform(0.0, 1.0))),
    **dict.fromkeys(("randn", "randn_like"), ("normal_", Normal(0.0, 1.0))),
}
"""Operations that draw a new tensor: the operation that fills one in place, and with what."""

COPIES = ("clone", "_to_copy")
COPY_OPTIONS = ("dtype", "memory_format", "device", "layout", "pin_memory", "non_blocking")
ELEMENTWISE = ("mul", "div", "add", "sub", "neg", "erfinv", "clamp", "clamp_min", "clamp_max")

OVERWRITING = (
    "copy",
    "fill",
    "zero",
    "uniform",
    "normal",
    "log_normal",
    "cauchy",
    "exponential",
    "geometric",
    "random",
)
"""In-place operations that do not look at what their target held."""

COMPUTED_OTHERWISE = ("aten::_linalg_svd", "aten::_linalg_eigh")
"""Operations that also give vectors while a mode sees them, and other last bits with them than without."""


def constant(number: Any) -> Known | None:
    """A number as a value; None of what is not a number, or not known."""
    if isinstance(number, torch.Tensor):
        number = number.item() if number.dim() == 0 and not number.is_meta else None
    exact = isinstance(number, (bool, float)) or (isinstance(number, int) and abs(number) < 1 << 53)
    return Constant(float(number)) if exact else None


MAKERS: dict[str, Callable[[Args], Known | None]] = {
    **dict.fromkeys(
        ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"), lambda args: None
    ),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros"), lambda args: Constant(0.0)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), lambda args: Constant(1.0)),
    **dict.fromkeys(("full", "full_like"), lambda args: constant(args[1])),
    "new_full": lambda args: constant(args[2]),
}
"""Operations that hand out memory without reading their arguments; what the new tensor holds."""

_FILLS: dict[str, Callable[..., Known | None]] = {
    "zero": lambda: Constant(0.0),
    "fill": constant,
    "uniform": lambda low=0.0, high=1.0, **named: Uniform(
        float(named.get("from", low)), float(named.get("to", high))
    ),
    "normal": lambda mean=0.0, std=1.0: Normal(float(mean), float(std)),
}


def fills(operation: str) -> bool:
    """Whether an in-place operation fills its target alike, or with independent numbers."""
    return operation in _FILLS


def filled_with(operation: str, numbers: Args, kwargs: Kwargs) -> Known | None:
    """What an in-place operation fills its target with; None if that has no name."""
    named = _FILLS.get(operation)
    if named is None:
        return None
    if not kwargs:
        return named(*numbers)
    return named(*numbers, **{key: item for key, item in kwargs.items() if key != "generator"})


class Facts(NamedTuple):
    """What the schema of an operation says, which is held so that no other gets its address.

    Attributes:
        operation: Its name, as in :func:`operation_of`.
        named: That name without the underscore of operations in place.
        views: Whether it :func:`only_views`.
        mutable: Whether it changes an argument.
        numbers: Whether it is in place, and fills with a number.
    """

    func: Any
    operation: str
    named: str
    views: bool
    mutable: bool
    numbers: bool


_FACTS: dict[int, Facts] = {}
_MOST_FACTS = 4096


def facts_of(func: Any) -> Facts:
    """What the schema of an operation says; by its address, since torch hashes operations in Python."""
    found = _FACTS.get(id(func))
    if found is None:
        operation = operation_of(func)
        named, mutable = operation.removesuffix("_"), func._schema.is_mutable
        found = Facts(func, operation, named, only_views(func), mutable, operation in ("fill_", "zero_"))
        if len(_FACTS) >= _MOST_FACTS:
            _FACTS.clear()
        _FACTS[id(func)] = found
    return found


@lru_cache(maxsize=4096)
def operation_of(func: Any) -> str:
    """The name of an operation: ``"add_"``."""
    return func._schema.name.removeprefix("aten::")


def name_of(func: Any) -> str:
    """How a formula calls an operation: ``"add.Tensor"``."""
    form = func._overloadname
    return operation_of(func) if form == "default" else f"{operation_of(func)}.{form}"


def is_allowed(name: str) -> bool:
    """Whether a formula may use an operation."""
    try:
        operation(name)
    except PlanError:
        return False
    return True


def without_out(func: Any) -> str | None:
    """The name of the operation that does the same without a tensor given for its one result (``out=``)."""
    wanted = [str(each.type) for each in func._schema.arguments if each.name != "out"]
    for form in func._overloadpacket.overloads():
        other = getattr(func._overloadpacket, form)
        settings = ("dtype", "layout", "device", "pin_memory")
        taken = [str(each.type) for each in other._schema.arguments if each.name not in settings]
        if taken == wanted and not other._schema.is_mutable and len(other._schema.returns) == 1:
            return name_of(other)
    return None


@lru_cache(maxsize=4096)
def only_views(func: Any) -> bool:
    """Whether an operation gives views of its arguments, and neither reads nor writes a number."""
    name, schema = operation_of(func), func._schema
    if schema.is_mutable:
        reshaping = ("set_", "resize_", "resize_as_", "_resize_output_")
        return torch.Tag.inplace_view in func.tags or name in reshaping
    return name == "_unsafe_view" or any(each.alias_info is not None for each in schema.returns)


@lru_cache(maxsize=4096)
def draws(func: Any) -> bool:
    """Whether an operation draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())


def has_own_generator(kwargs: Kwargs) -> bool:
    """Whether an operation draws from another generator than torch's own."""
    generator: Any = kwargs.get("generator")
    own: Any = torch.default_generator
    # It reaches a dispatch mode as another object.
    return generator is not None and generator._cdata != own._cdata


def only_shapes(args: Args, kwargs: Kwargs) -> bool:
    """Whether an operation works on tensors without memory, for which nothing is drawn."""
    if (device := kwargs.get("device")) is not None:
        return torch.device(device).type == "meta"
    tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
    return bool(tensors) and all(each.is_meta for each in tensors)


_BATCH_NORM = torch.ops.aten.native_batch_norm.default


def as_it_says(func: Any, args: Args) -> Any:
    """The operation under a schema that says what it writes.

    In training, batch normalization moves its running statistics, and the schema of the older form is silent.
    """
    if func is _BATCH_NORM and args[5] and args[3] is not None:
        return torch.ops.aten._native_batch_norm_legit.default
    return func


@lru_cache(maxsize=4096)
def pointwise(func: Any) -> bool:
    """Whether each element of the result depends on one element of each argument."""
    return torch.Tag.pointwise in getattr(func, "tags", ())


def is_plain(tensor: Any) -> bool:
    """Whether a tensor is memory of the usual kind, which a record can speak of, and shows it as it is."""
    return is_strided(tensor) and not is_turned(tensor)


def is_strided(tensor: Any) -> bool:
    """Whether a tensor is memory of the usual kind, as it is or :func:`is_turned`."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and not (tensor.is_meta or tensor.is_nested or tensor.is_quantized)
    )


def is_turned(tensor: torch.Tensor) -> bool:
    """Whether a tensor shows its memory conjugated or negated, as ``z.conj()`` and its ``imag`` do."""
    return tensor.is_conj() or tensor.is_neg()


def disjoint(tensor: torch.Tensor) -> bool:
    """Whether no two elements share memory."""
    if tensor.is_contiguous():
        return True
    strides = tensor.stride()
    return 0 not in strides or all(
        stride or size <= 1 for size, stride in zip(tensor.shape, strides, strict=True)
    )
