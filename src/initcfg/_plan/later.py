"""Fields of a record that are read when somebody asks for them, since it takes long and most never do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any


class Later:
    """What several fields hold, by name; ``read`` is called once, when the first of them is asked for."""

    def __init__(self, read: Callable[[], Mapping[str, Any]]) -> None:
        self._read = read

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """What they hold."""
        return self._read()


class LaterField:
    """A field of a dataclass, None by default, that may be given a :class:`Later`.

    Example:
        >>> from dataclasses import dataclass
        >>> from initcfg._plan.later import Later, later_field
        >>> @dataclass(frozen=True)
        ... class Record:
        ...     digest: str | None = later_field()
        >>> Record(Later(lambda: {"digest": "ab12"})), Record()
        (Record(digest='ab12'), Record(digest=None))
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, record: object | None, owner: type | None = None) -> Any:
        found = None if record is None else record.__dict__[self._name]
        return found.fields[self._name] if isinstance(found, Later) else found

    def __set__(self, record: object, item: Any) -> None:
        record.__dict__[self._name] = item


def later_field() -> Any:
    """A :class:`LaterField`, of whatever type the field has."""
    return LaterField()
