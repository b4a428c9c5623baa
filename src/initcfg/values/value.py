"""A value: what a whole tensor is filled with, as pure data; and how it goes through JSON."""

from __future__ import annotations

import contextlib
import inspect
import json
import math
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from initcfg.errors import PlanError

_KINDS: dict[str, type[Value]] = {}
_NON_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}

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

    @property
    def kind(self) -> str:
        """Name of the kind, as in JSON: ``"Normal"``."""
        return type(self).__name__

    @cached_property
    def args(self) -> dict[str, Any]:
        """The resolved numbers by name; nested values stay values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        inner = ", ".join(
            f"{name}={number_text(item)}" for name, item in self.args.items() if item is not None
        )
        return f"{self.kind}({inner})"


def number_text(item: Any) -> str:
    """A number for a person."""
    return f"{item:.4g}" if isinstance(item, float) else str(item)


def number_to_json(number: Any) -> Any:
    """A float as JSON can hold it: non-finite ones become strings."""
    return str(float(number)) if isinstance(number, float) and not math.isfinite(number) else number


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
        PlanError: ``data`` is not such a thing.
    """
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        raise PlanError(f"A value must be an object with a 'kind', not {data!r}.")
    cls = _KINDS.get(data["kind"])
    if cls is None:
        raise PlanError(f"{data['kind']!r} is not a kind of value.")
    types = declared_types(cls)
    if set(data) != {"kind", *types}:
        raise PlanError(
            f"A value of kind {cls.__name__} has {list(types)}, but these are given: {sorted(data)}."
        )
    return cls(
        **{name: _typed(data[name], type_, f"{name} of {cls.__name__}") for name, type_ in types.items()}
    )


@lru_cache(maxsize=1024)
def declared_types(cls: type[Value]) -> dict[str, Any]:
    """The type that each field of a kind is declared with."""
    try:
        types = get_type_hints(cls, include_extras=True)
    except NameError:
        # Kinds that were defined in a function, or imported for type checkers alone.
        types = get_type_hints(cls, localns={"Value": Value, **_KINDS}, include_extras=True)
    return {field.name: types[field.name] for field in fields(cls)}


# A float may be written as a whole number.
_PLAIN: dict[Any, Any] = {float: (float, int), int: int, bool: bool, str: str, NoneType: NoneType}


def _typed(item: Any, type_: Any, what: str) -> Any:
    """An item of JSON, as a field that is declared with ``type_`` holds it; checked where that is plain."""
    if type(item) is type_:
        return item
    origin, members = get_origin(type_), get_args(type_)
    if type_ is JsonText:
        return json.dumps(item, separators=(",", ":"))
    if origin is Annotated:
        return _typed(item, members[0], what)
    if isinstance(item, dict):
        item = from_json(item)
    if origin in (Union, UnionType):
        for member in members:
            with contextlib.suppress(PlanError):
                return _typed(item, member, what)
        raise _wrong_type(item, type_, what)
    is_tuple = tuple in (type_, origin)
    if isinstance(item, list):
        types = members if is_tuple and members else (Any, ...)
        types = types[:1] * len(item) if types[-1] is ... else types
        if len(types) == len(item):
            item = tuple(_typed(each, type_, what) for each, type_ in zip(item, types, strict=True))
    if type_ is float and isinstance(item, str):
        item = _NON_FINITE.get(item, item)
    is_value = isinstance(type_, type) and origin is None and issubclass(type_, Value)
    expected = tuple if is_tuple else type_ if is_value else _PLAIN.get(type_, object)
    if not isinstance(item, expected):
        raise _wrong_type(item, type_, what)
    return item


def _wrong_type(item: Any, type_: Any, what: str) -> PlanError:
    return PlanError(f"The {what} is {item!r}, and should be of type {inspect.formatannotation(type_)}.")
