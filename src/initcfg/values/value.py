"""A value: what a whole tensor is filled with, as pure data; and how it goes through JSON."""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import re
import struct
from collections.abc import Collection, Mapping
from collections.abc import Mapping as AbcMapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from initcfg.errors import PlanError
from initcfg.values.misfits import Misfit, short

Record = TypeVar("Record")

_KINDS: dict[str, type[Value]] = {}
_NAN_TEXTS = {"7ff8000000000000": "nan", "fff8000000000000": "-nan"}
_NON_FINITE = {
    "inf": math.inf,
    "-inf": -math.inf,
    **{text: struct.unpack(">d", bytes.fromhex(bits))[0] for bits, text in _NAN_TEXTS.items()},
}
_NAN = re.compile("nan:[0-9a-f]{16}")

DEEPEST = 32
"""How deep values may nest in JSON."""
# The first whole number that no float can be.
_FLOATS_END = 2**1024 - 2**970

JsonText = Annotated[str, "JSON"]
"""Text of compact JSON; in the JSON of a value it stands as the data that it says."""


@dataclass(frozen=True)
class Value:
    """Base of all values, and of a kind of your own: a frozen dataclass.

    A Value holds resolved numbers and nothing else: no tensor, no shape, no generator. It compares,
    hashes, prints, and goes through JSON without losing a bit.

    The types that the fields are declared with say how JSON is read: ``float``, ``int``, ``bool``,
    ``str``, tuples of such, other values, and unions of these with ``None``. In JSON a kind is called
    by the name of its class; of two classes of one name, the later one is meant.

    Attributes:
        random: Whether producing the value consumes random numbers.
        blockwise: Whether any rectangular block can be made alone; what is not is made whole.
    """

    random = False
    blockwise = True

    def __init_subclass__(cls) -> None:
        _KINDS[cls.__name__] = cls
        if "__eq__" not in cls.__dict__:
            # A dataclass compares its fields, and NaN equals nothing there.
            cls.__eq__, cls.__hash__ = _equal, _hash  # type: ignore[method-assign,assignment]

    @property
    def kind(self) -> str:
        """Name of the kind, as in JSON: ``"Normal"``."""
        return type(self).__name__

    @property
    def args(self) -> dict[str, Any]:
        """The resolved numbers by name, in a dict of your own; nested values stay values."""
        return {name: getattr(self, name) for name in _names_of(type(self))}

    def __str__(self) -> str:
        inner = ", ".join(
            f"{name}={number_text(item)}" for name, item in self.args.items() if item is not None
        )
        return f"{self.kind}({inner})"


@lru_cache(maxsize=256)
def _names_of(cls: type[Value]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls))


@lru_cache(maxsize=256)
def _compared_names(cls: type[Value]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls) if each.compare)


def _compared(value: Value) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name in _compared_names(type(value)))


def _equal(self: Value, other: object) -> bool:
    """Whether two values are of one kind and have equal fields.

    A NaN equals one of the same bits, and zero one of the same sign: equal values write the same bits.
    """
    if self is other:
        return True
    if type(other) is not type(self):
        return NotImplemented
    return all(map(_alike, _compared(self), _compared(other)))


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        if a == b:
            return bool(a) or math.copysign(1.0, a) == math.copysign(1.0, b)
        floats = isinstance(a, float) and isinstance(b, float)
        return floats and math.isnan(a) and struct.pack(">d", a) == struct.pack(">d", b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    return a == b


def _hash(self: Value) -> int:
    return hash((type(self), *map(_hashable, _compared(self))))


def _hashable(item: Any) -> Any:
    # The hash of NaN is that of the object.
    if isinstance(item, float) and math.isnan(item):
        return "nan"
    return tuple(map(_hashable, item)) if isinstance(item, tuple) else item


def number_text(item: Any) -> str:
    """A number for a person."""
    return f"{item:.4g}" if isinstance(item, float) else str(item)


def number_to_json(number: Any) -> Any:
    """A float as JSON can hold it: non-finite ones become strings, NaN with its sign and what else it holds.

    Example:
        >>> import math
        >>> from initcfg.values import number_to_json
        >>> number_to_json(-math.inf), number_to_json(math.nan), number_to_json(-math.nan)
        ('-inf', 'nan', '-nan')
    """
    if not isinstance(number, float) or math.isfinite(number):
        return number
    if not math.isnan(number):
        return str(float(number))
    bits = struct.pack(">d", number).hex()
    return _NAN_TEXTS.get(bits, f"nan:{bits}")


def number_from_json(item: Any) -> Any:
    """The float that :func:`number_to_json` wrote as a string; anything else as it is."""
    if not isinstance(item, str):
        return item
    if _NAN.fullmatch(item):
        number = struct.unpack(">d", bytes.fromhex(item.removeprefix("nan:")))[0]
        return number if math.isnan(number) else item
    return _NON_FINITE.get(item, item)


def to_json(value: Value) -> dict[str, Any]:
    """A value as JSON data; floats round-trip exactly (shortest repr, non-finite ones as strings).

    Example:
        >>> from initcfg.values import Normal, to_json, from_json
        >>> to_json(Normal(0.0, 0.02))
        {'kind': 'Normal', 'mean': 0.0, 'std': 0.02}
        >>> from_json(to_json(Normal(0.0, 0.02))) == Normal(0.0, 0.02)
        True
    """
    types = declared_types(type(value))
    data = {
        name: json.loads(item) if types[name] is JsonText else _item_to_json(item)
        for name, item in value.args.items()
    }
    return {"kind": value.kind, **data}


def _item_to_json(item: Any) -> Any:
    if isinstance(item, tuple):
        return [_item_to_json(each) for each in item]
    return to_json(item) if isinstance(item, Value) else number_to_json(item)


def from_json(data: Any) -> Value:
    """The value that :func:`to_json` wrote.

    Raises:
        PlanError: ``data`` is not such a thing; the message begins with the place of the fault in it.
    """
    try:
        return _value(data, 0)
    except Misfit as misfit:
        raise misfit.at_the_door() from misfit


def _value(data: Any, depth: int) -> Value:
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        raise Misfit(f"A value must be an object with a 'kind', not {short(data)}.")
    if depth > DEEPEST:
        raise Misfit(f"Values nest more than {DEEPEST} deep.")
    cls = _KINDS.get(data["kind"])
    if cls is None:
        raise Misfit(f"{short(data['kind'])} is not a kind of value.", under=("kind",))
    types = declared_types(cls)
    if data.keys() != {"kind", *types}:
        raise Misfit(
            f"A value of kind {cls.__name__} has {list(types)}, but these are given: "
            f"{short(sorted(map(str, data)), 200)}."
        )
    read: dict[str, Any] = {}
    for name, type_ in types.items():
        with_name = f"{name} of {cls.__name__}"
        try:
            read[name] = typed(data[name], type_, with_name, depth + 1)
        except Misfit as misfit:
            raise misfit.inside(name) from misfit
    try:
        return cls(**read)
    except PlanError as error:
        raise Misfit(error.problem) from error


@lru_cache(maxsize=1024)
def declared_types(cls: type[Value]) -> dict[str, Any]:
    """The type that each field of a kind is declared with."""
    try:
        types = get_type_hints(cls, include_extras=True)
    except NameError:
        # Kinds that were defined in a function, or imported for type checkers alone.
        types = get_type_hints(cls, localns={"Value": Value, **_KINDS}, include_extras=True)
    return {field.name: types[field.name] for field in fields(cls)}


def typed(item: Any, type_: Any, what: str, depth: int = 0) -> Any:
    """An item of JSON, as a field that is declared with ``type_`` holds it; checked where that is plain.

    Raises:
        Misfit: It is no such item; ``what`` it would be is for the message.
    """
    if type_ in (int, bool, str, NoneType):
        if type(item) is not type_:
            raise _wrong_type(item, type_, what)
        return item
    if type_ is float:
        return _float(item, what)
    origin, members = get_origin(type_), get_args(type_)
    if type_ is JsonText:
        return json.dumps(item, separators=(",", ":"))
    if origin is Annotated:
        return typed(item, members[0], what, depth)
    if origin in (Union, UnionType):
        return _one_of(item, type_, members, what, depth)
    if origin is Literal:
        if item not in members or type(item) not in map(type, members):
            raise Misfit(f"The {what} is {short(item)}, and should be one of {list(members)}.")
        return item
    if tuple in (type_, origin):
        return _tuple(item, type_, members, what, depth)
    if origin in (dict, Mapping, AbcMapping):
        return _mapping(item, type_, members, what, depth)
    if isinstance(type_, type) and origin is None and issubclass(type_, Value):
        found = _value(item, depth) if isinstance(item, dict) else item
        if not isinstance(found, type_):
            raise _wrong_type(found, type_, what)
        return found
    if isinstance(type_, type) and is_dataclass(type_):
        return record(type_, item, depth=depth)
    return item


def _float(item: Any, what: str) -> Any:
    """A float may be written as a whole number, and stays one."""
    item = number_from_json(item)
    fits = isinstance(item, (float, int)) and not isinstance(item, bool)
    if not fits or (isinstance(item, int) and abs(item) >= _FLOATS_END):
        raise _wrong_type(item, float, what)
    return item


def _one_of(item: Any, type_: Any, members: tuple[Any, ...], what: str, depth: int) -> Any:
    if item is None and NoneType in members:
        return None
    others = [member for member in members if member is not NoneType]
    if len(others) == 1:
        try:
            return typed(item, others[0], what, depth)
        except Misfit as misfit:
            if misfit.steps:
                # Where the fault lies is clear.
                raise
            raise _wrong_type(item, type_, what) from misfit
    for member in others:
        with contextlib.suppress(Misfit):
            return typed(item, member, what, depth)
    raise _wrong_type(item, type_, what)


def _tuple(item: Any, type_: Any, members: tuple[Any, ...], what: str, depth: int) -> Any:
    if not isinstance(item, (list, tuple)):
        raise _wrong_type(item, type_, what)
    types = members or (Any, ...)
    types = types[:1] * len(item) if types[-1] is ... else types
    if len(types) != len(item):
        raise _wrong_type(item, type_, what)
    read: list[Any] = []
    for number, (each, each_type) in enumerate(zip(item, types, strict=True)):
        try:
            read.append(typed(each, each_type, what, depth))
        except Misfit as misfit:
            raise misfit.inside(number) from misfit
    return tuple(read)


def _mapping(item: Any, type_: Any, members: tuple[Any, ...], what: str, depth: int) -> dict[str, Any]:
    if not isinstance(item, AbcMapping):
        raise _wrong_type(item, type_, what)
    read: dict[str, Any] = {}
    for key, each in item.items():
        if not isinstance(key, str):
            raise Misfit(f"The {what} has the key {short(key)}, which is no text.")
        if members and members[1] is Any:
            read[key] = _revived(each)
            continue
        try:
            read[key] = typed(each, members[1] if members else Any, f"{what}, {short(key)},", depth)
        except Misfit as misfit:
            raise misfit.inside(key) from misfit
    return read


def _revived(item: Any) -> Any:
    """Data that JSON holds, with the floats that it cannot."""
    if isinstance(item, dict):
        return {key: _revived(each) for key, each in item.items()}
    return [_revived(each) for each in item] if isinstance(item, list) else number_from_json(item)


def record(
    cls: type[Record], data: Any, *, but: Collection[str] = (), depth: int = 0, **known: Any
) -> Record:
    """A frozen record from the JSON data of its fields, all of them checked.

    ``known`` are fields that the data does not hold, and ``but`` those that JSON never does.

    Raises:
        Misfit: A field is missing, unknown or of another type.
    """
    name = cls.__name__
    if not isinstance(data, AbcMapping):
        raise Misfit(f"{short(data)} is no {name}, which is an object.")
    types, fields_ = _record_types(cls)
    read = dict(known)
    for key, item in data.items():
        if key not in types or key in known or key in but:
            raise Misfit(f"{name} has no field {short(key)}.")
        try:
            read[key] = typed(item, types[key], f"{key} of {name}", depth)
        except Misfit as misfit:
            raise misfit.inside(key) from misfit
    for each in fields_:
        if each.name not in read and each.default is MISSING and each.default_factory is MISSING:
            raise Misfit(f"{name} needs the field {each.name!r}.")
    try:
        return cls(**read)
    except PlanError as error:
        raise Misfit(error.problem) from error


@lru_cache(maxsize=64)
def _record_types(cls: type) -> tuple[dict[str, Any], tuple[Any, ...]]:
    # Not those of the class: an exported one says that it is of the package's front, which knows no types.
    return get_type_hints(cls.__init__), fields(cls)


def _wrong_type(item: Any, type_: Any, what: str) -> Misfit:
    return Misfit(f"The {what} is {short(item)}, and should be of type {inspect.formatannotation(type_)}.")
