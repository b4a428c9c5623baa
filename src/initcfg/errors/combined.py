"""Errors that are of two classes: ours, and what somebody else's code raised."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=Exception)


def also(kind: type[Kind], error: Exception) -> type[Kind]:
    """``kind``, made a class of what ``error`` is too: for an error that tells of another one.

    Code that catches the other one, as it was raised without this package, goes on catching it.

    Example:
        >>> from initcfg.errors import ConfigExecutionError, also
        >>> error = also(ConfigExecutionError, ZeroDivisionError())("The code of this config raised.")
        >>> isinstance(error, ConfigExecutionError), isinstance(error, ZeroDivisionError)
        (True, True)
    """
    lineage = type(error).__mro__
    return _both(kind, next(each for each in lineage if each.__module__ in (kind.__module__, "builtins")))


@functools.cache
def _both(kind: type[Kind], other: type[Exception]) -> type[Kind]:
    if issubclass(kind, other):
        return kind

    def as_kind(self: Exception) -> tuple[Any, ...]:
        # Made while the program runs, it is found by no name: a pickle holds the named class.
        return kind, self.args, self.__dict__

    made: Any
    try:
        made = type(kind.__name__, (kind, other), {"__module__": kind.__module__, "__reduce__": as_kind})
    except TypeError:
        # No class can be of both: of OSError and AttributeError, say, which store different things.
        return kind
    return made
