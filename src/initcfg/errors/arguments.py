"""Arguments of the wrong type: what a public function is given is held to its annotations, before it begins.

Python would fail somewhere inside, with an error of its own that names an attribute nobody has heard of.
"""

from __future__ import annotations

import builtins
import collections.abc
import functools
import importlib
import inspect
import itertools
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from initcfg.errors.combined import also

Function = TypeVar("Function", bound=Callable[..., Any])

_WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    os.PathLike: "a path",
    type(None): "None",
    collections.abc.Mapping: "a dict",
    collections.abc.Collection: "a list",
    collections.abc.Iterable: "a list",
    collections.abc.Callable: "a function",
    type: "a class",
}


class _Taken(NamedTuple):
    """What a parameter takes: of these types, which numbers and lists are in the usual sense."""

    kinds: tuple[Any, ...]

    def holds(self, given: Any) -> bool:
        """Whether it takes this."""
        if isinstance(given, bool):
            return bool in self.kinds
        # A text is no list of letters, and a dict none of keys.
        listed = not isinstance(given, (str, bytes, Mapping))
        for kind in self.kinds:
            if kind is int:
                found = hasattr(type(given), "__index__")
            elif kind is float:
                found = hasattr(type(given), "__float__") or hasattr(type(given), "__index__")
            elif kind in (collections.abc.Collection, collections.abc.Iterable):
                found = listed and isinstance(given, kind)
            else:
                found = isinstance(given, kind)
            if found:
                return True
        return False

    @property
    def words(self) -> str:
        """``"a Plan, a Ledger or None"``."""
        kinds = [kind for kind in self.kinds if kind is not str or os.PathLike not in self.kinds]
        words = [_WORDS.get(kind) or f"a {_named(kind)}" for kind in kinds]
        return " or ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


def as_annotated(
    error: type[Exception], *, but: tuple[str, ...] = (), **methods: type[Exception]
) -> Callable[[Function], Function]:
    """A decorator: arguments of other types than the annotations say are an error before the function begins.

    ``error`` is its class, which is made one of ``TypeError`` too. The parameters ``but`` are the function's
    own to look at, as are those of type ``Any``; of ``Literal`` and of lists only the outer type is checked.
    Of a class, it does this for its constructor and its public methods, but for those in ``but``;
    ``methods`` has the errors of those that have another.

    Example:
        >>> from initcfg.errors import PlanError, as_annotated
        >>> @as_annotated(PlanError)
        ... def half(number: float) -> float:
        ...     return number / 2
        >>> half(3)
        1.5
        >>> half("3")
        Traceback (most recent call last):
        initcfg.errors.PlanError: half takes a number as number, not the text '3'.
          fix:          Give a number, without quotation marks.
    """

    def around(function: Function) -> Function:
        if isinstance(function, type):
            _check_methods(function, but, lambda name: as_annotated(methods.get(name, error), but=but))
            return typing.cast(Function, function)
        known: tuple[list[str], str | None, dict[str, _Taken]] | None = None

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal known
            if known is None:
                known = _taken(function, but)
            names, rest, taken = known
            positional = zip(itertools.chain(names, itertools.repeat(rest)), args, strict=False)
            for name, given in (*positional, *kwargs.items()):
                wanted = taken.get(name or "")
                if wanted is not None and not wanted.holds(given):
                    raise _wrong(error, function, name or "", given, wanted)
            return function(*args, **kwargs)

        call.__checked__ = True  # type: ignore[attr-defined]
        return typing.cast(Function, call)

    return around


def _check_methods(cls: type, but: tuple[str, ...], around: Callable[[str], Callable[[Any], Any]]) -> None:
    """Those of the class itself; what a mapping has is as in every mapping."""
    usual = dir(dict) if issubclass(cls, Mapping) else []
    for name, member in list(vars(cls).items()):
        function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        if not isinstance(function, types.FunctionType) or hasattr(function, "__checked__"):
            continue
        # A dataclass has its constructor written, and that is for the package itself.
        own = name == "__init__" and function.__code__.co_filename != "<string>"
        if name in but or (not own and (name.startswith("_") or name in usual)):
            continue
        if len(inspect.signature(function).parameters) > (not isinstance(member, staticmethod)):
            made = around(name)(function)
            setattr(cls, name, made if function is member else type(member)(made))


def _taken(function: Any, but: tuple[str, ...]) -> tuple[list[str], str | None, dict[str, _Taken]]:
    """The parameters that may be given by their place, the one that takes the rest, and what each takes."""
    places: list[str] = []
    rest, found = None, dict[str, _Taken]()
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = name
        elif parameter.kind is not parameter.KEYWORD_ONLY and parameter.kind is not parameter.VAR_KEYWORD:
            places.append(name)
        if name in but or parameter.annotation is parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
            continue
        kinds = _kinds(_resolved(parameter.annotation, inspect.unwrap(function).__globals__))
        if kinds is not None:
            found[name] = _Taken(tuple(dict.fromkeys(kinds)))
    return places, rest, found


class _Names(Mapping[str, Any]):
    """What only type checkers import: modules that are loaded, and names that this package exports."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known

    def __getitem__(self, name: str) -> Any:
        if name in self._known or hasattr(builtins, name):
            raise KeyError(name)
        if name in sys.modules:
            return sys.modules[name]
        if name == "Path":
            return os.PathLike
        try:
            return getattr(importlib.import_module("initcfg"), name)
        except AttributeError:
            raise KeyError(name) from None

    def __iter__(self) -> typing.Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _resolved(annotation: Any, known: dict[str, Any]) -> Any:
    """What an annotation means; Any where nobody knows."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, known, _Names(known))
    except NameError:
        return Any


def _kinds(annotation: Any) -> list[Any] | None:
    """The types that an annotation lets pass; None for all."""
    origin = typing.get_origin(annotation)
    if annotation is None:
        return [type(None)]
    if origin in (typing.Union, types.UnionType):
        each = [_kinds(part) for part in typing.get_args(annotation)]
        return None if None in each else [kind for kinds in each for kind in kinds or ()]
    if origin is typing.Literal:
        return [type(value) for value in typing.get_args(annotation)]
    kind = annotation if origin is None else origin
    if not isinstance(kind, type) or kind in (object, Any):
        return None
    if getattr(kind, "_is_protocol", False):
        return [collections.abc.Callable] if "__call__" in vars(kind) else None
    if hasattr(kind, "__fspath__"):
        return [os.PathLike]
    if kind in (collections.abc.Sequence, list, tuple):
        return [collections.abc.Collection]
    return [collections.abc.Mapping] if kind is dict else [kind]


def _wrong(error: Any, function: Any, name: str, given: Any, wanted: _Taken) -> Exception:
    called = function.__qualname__.removesuffix(".__init__")
    return also(error, TypeError())(
        f"{called} takes {wanted.words} as {name}, not {in_words(given)}.", fix=_fix(given, wanted)
    )


def _named(kind: type) -> str:
    return f"torch.nn.{kind.__name__}" if kind.__module__.startswith("torch.nn.") else kind.__name__


def in_words(given: Any) -> str:
    """What somebody gave, in a few words: a model or a state_dict would fill the screen.

    Example:
        >>> from initcfg.errors import in_words
        >>> in_words({"weight": [0] * 1000}), in_words("net"), in_words(3)
        ('a dict', "the text 'net'", '3')
    """
    if given is None or isinstance(given, (bool, int, float)):
        return repr(given)[:40]
    if isinstance(given, type):
        return f"the class {given.__name__}"
    if isinstance(given, (str, bytes)):
        return f"the {'text' if isinstance(given, str) else 'bytes'} {given[:40]!r}"
    kind = type(given).__name__
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def _fix(given: Any, wanted: _Taken) -> str:
    """By what was given in place of what."""
    names = {kind.__name__ for kind in wanted.kinds}
    if isinstance(given, type) and any(issubclass(given, kind) for kind in wanted.kinds):
        return f"Make one first: {given.__name__}(...)."
    if isinstance(given, bytes) and str in wanted.kinds:
        return "Decode it: os.fsdecode(...)."
    if "Plan" in names and hasattr(given, "named_parameters") and not isinstance(given, type):
        return "Plan the model first: initcfg.plan(model)."
    if "Plan" in names and type(given).__name__ == "Ledger":
        return "Give its plan: ledger.plan."
    if "Module" in names and type(given).__name__ in ("Plan", "Ledger"):
        return "Give the model that it is of."
    if isinstance(given, str) and {int, float} & {*wanted.kinds}:
        return f"Give {wanted.words}, without quotation marks."
    if given is None:
        return f"Give {wanted.words}, or leave it out if it has a default."
    return f"Give {wanted.words}."
