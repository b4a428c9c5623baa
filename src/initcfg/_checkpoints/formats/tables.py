"""What of a checkpoint is a tensor, what a table of tensors by name, and what only stands beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from initcfg._checkpoints.formats.numpy_arrays import array_in_memory, pickled_array
from initcfg._checkpoints.formats.pickled import PickledName, PickledObject
from initcfg._checkpoints.formats.stored import Stored, tensor_in_memory
from initcfg._checkpoints.formats.torch_tensors import ALONE, is_known, more_than_tensors
from initcfg.errors import CheckpointError, plural

_DEEPEST = 64
# How often one table may stand in others, and how long all joined keys may be together.
_MOST_PLACES = 100
_MOST_CHARACTERS = 1 << 28
# Under keys that end so, modules keep what is no tensor.
_EXTRA = "_extra_state"
_LONGEST_SHOWN = 100


def as_stored(value: Any, *, scalars: bool = True) -> Stored | None:
    """A tensor, or an array of NumPy, as one that can be read; None if it is not one."""
    if isinstance(value, torch.Tensor):
        return tensor_in_memory(value)
    if isinstance(value, PickledObject):
        return pickled_array(value, scalars=scalars)
    if isinstance(value, np.ndarray) or (scalars and isinstance(value, np.generic)):
        return array_in_memory(value)
    return value if isinstance(value, Stored) else None


def as_table(value: Any) -> Mapping[Any, Any] | None:
    """A table of things by key; None if it is not one, or one of a class that nobody here knows."""
    if isinstance(value, PickledObject):
        value = (value.items or None) if is_known(value.name) else None
    return value if isinstance(value, Mapping) else None


def tensors_of(table: Mapping[Any, Any], name: str, own: tuple[str, ...] = ()) -> dict[str, Stored]:
    """The tensors of a table by name, none of them lost.

    What stands among weights, and is made by code that the file only names, may be a weight too: it is
    refused, unless its name begins as the file's ``own`` do.
    """
    found: dict[str, Stored] = {}
    for key, value in table.items():
        stored = as_stored(value)
        if stored is not None:
            _put(found, key, stored, name)
    for key, value in table.items() if found else ():
        foreign = isinstance(value, (PickledObject, PickledName)) and not is_known(value.name)
        if foreign and not value.name.startswith(own) and not key_text(key).endswith(_EXTRA):
            raise CheckpointError(
                f"The checkpoint {name!r} {more_than_tensors(f'{shown(value.name)} for {key_text(key)!r}')}.",
                fix=ALONE,
            )
    return found


def _put(found: dict[str, Stored], key: Any, stored: Stored, name: str) -> None:
    text = key_name(key)
    if text is None:
        raise CheckpointError(
            f"The checkpoint {name!r} has a tensor under the key {key_text(key)!r}, which is no name.",
            fix="Save it with texts as keys: torch.save({str(key): tensor, ...}, path).",
        )
    if text in found:
        raise twice(name, text)
    found[text] = stored


def twice(name: str, text: str, what: str = "tensors") -> CheckpointError:
    """The error for two keys that are one name."""
    return CheckpointError(
        f"The checkpoint {name!r} has two {what} under the name {text!r}.",
        fix="Save it with texts as keys, each of them once.",
    )


def flattened(
    table: Mapping[Any, Any],
    name: str,
    inside: Callable[[Any], Mapping[Any, Any] | None] = as_table,
    own: tuple[str, ...] = (),
) -> dict[str, Stored]:
    """The tensors of nested tables, by their keys joined with dots; ``inside`` is a value's table."""
    met: Counter[int] = Counter()
    found: dict[str, Stored] = {}
    characters = 0

    def walk(table: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Stored]]:
        nonlocal characters
        tensors = tensors_of(table, name, own)
        for key, value in table.items():
            characters += len(prefix)
            text = key_name(key)
            stored = None if text is None else tensors.get(text)
            further = inside(value) if stored is None else None
            met[id(further)] += further is not None
            if characters > _MOST_CHARACTERS or met[id(further)] > _MOST_PLACES or depth > _DEEPEST:
                raise CheckpointError(
                    f"The checkpoint {name!r} is damaged: its tables are nested without end.",
                    fix="Fetch or save the file again.",
                )
            if stored is not None:
                yield prefix + key_text(key), stored
            elif further is not None:
                yield from walk(further, f"{prefix}{key_text(key)}.", depth + 1)

    for key, stored in walk(table, "", 1):
        if key in found:
            raise twice(name, key)
        found[key] = stored
    return found


def key_name(key: Any) -> str | None:
    """The name that a key is: a text, bytes that are one, or a whole number; None if it is none."""
    if isinstance(key, bytes):
        try:
            return key.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    return str(key) if isinstance(key, str) else None


def key_of(table: Mapping[Any, Any], text: str) -> Any:
    """The key of a table that is this text, or the bytes of it; None if there is none."""
    return next((key for key in (text, text.encode()) if key in table), None)


def key_text(key: Any) -> str:
    """A key for messages."""
    name = key_name(key)
    if name is not None:
        return name
    if isinstance(key, (PickledName, PickledObject)):
        return key.name
    if isinstance(key, tuple):
        return f"({', '.join(key_text(each) for each in key)})"[:_LONGEST_SHOWN]
    return str(key)[:_LONGEST_SHOWN]


def shown(name: str) -> str:
    """The name of a class or a function, without what would steer a terminal."""
    return name if name.isprintable() else repr(name)


def described(value: Any) -> str:
    """What something is, in a few words.

    Example:
        >>> from initcfg._checkpoints.formats.tables import described
        >>> described({"a": 1}), described(12), described("x" * 100)
        ('a table of 1', '12', 'a text of 100 characters')
    """
    if isinstance(value, (bool, int, float, type(None))):
        return str(value)[:40]
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"a text of {len(value):,} characters"
    if as_stored(value) is not None:
        return "a tensor"
    if (table := as_table(value)) is not None:
        return f"a table of {len(table):,}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value):,}"
    if isinstance(value, (PickledObject, PickledName)):
        return shown(value.name.rpartition(".")[2] if is_known(value.name) else value.name)
    return plural(len(value), "byte") if isinstance(value, bytes) else type(value).__name__
