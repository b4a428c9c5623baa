"""What is in a checkpoint: its keys, shapes and types; and on request, what its numbers are like."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from initcfg._api.weights.given import Checkpoint, name_of, source_of
from initcfg._api.weights.reading import pieces_of, why_unreadable
from initcfg._api.weights.statistics import statistics
from initcfg._checkpoints import OpenedCheckpoint, common_prefix, open_source
from initcfg._checkpoints.formats import TensorInfo
from initcfg._plan import FORMAT
from initcfg.errors import CheckpointError, as_annotated, plural, render

_LEDGER = "initcfg.ledger"


@dataclass(frozen=True, repr=False)
class Inspection:
    """What is in a checkpoint, or in one part of it; printable.

    Attributes:
        source: How it was called.
        format: What kind of file it is.
        tensors: By key: ``shape``, ``dtype`` and ``bytes``; with ``values`` also ``min``, ``max``, ``mean``,
            ``std``, ``zeros``, ``nan`` and ``inf``, or ``unreadable`` and why.
        elements: How many numbers there are.
        bytes: And how many bytes.
        common_prefix: What every key begins with.
        prefixes: How many keys each beginning below that has.
        wrapping: What was taken off on the way to the tensors.
        parts: Other sets of weights in it.
        beside: What else is in it, in a few words.
        metadata: What the file says of itself, apart from the ledger.
        ledger: The head of the ledger that it carries.
        values: Whether the numbers were read.
    """

    source: str
    format: str
    tensors: Mapping[str, Mapping[str, Any]]
    elements: int
    bytes: int
    common_prefix: str
    prefixes: Mapping[str, int]
    wrapping: tuple[str, ...]
    parts: tuple[str, ...]
    beside: Mapping[str, str]
    metadata: Mapping[str, str]
    ledger: Mapping[str, Any] | None
    values: bool = False

    def __repr__(self) -> str:
        return f"<Inspection of {self.source}: {plural(len(self.tensors), 'tensor')}>"

    def __str__(self) -> str:
        from initcfg._api.weights.inspection_view import inspection_view

        return render(inspection_view(self))

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON data."""
        data = asdict(self)
        del data["values"]
        return {name: list(item) if isinstance(item, tuple) else item for name, item in data.items()}


@as_annotated(CheckpointError, but=("checkpoint",))
def inspect(checkpoint: Checkpoint, *, values: bool = False, part: str | None = None) -> Inspection:
    """What is in a checkpoint: keys, shapes, types. No code in it is run.

    Args:
        checkpoint: A file, a folder, an address, a state_dict, or a model.
        values: Whether to read its numbers: smallest, largest, mean, standard deviation, how many are zero,
            NaN or infinite. A few megabytes are in memory at a time. Else none is read.
        part: Which set of weights, where there are several.

    Raises:
        CheckpointError: It cannot be opened.

    Example:
        >>> import initcfg, torch
        >>> found = initcfg.inspect({"weight": torch.tensor([[1.0, 0.0], [3.0, float("nan")]])}, values=True)
        >>> numbers = found.tensors["weight"]
        >>> numbers["shape"], numbers["min"], numbers["max"], numbers["zeros"], numbers["nan"]
        ([2, 2], 0.0, 3.0, 1, 1)
    """
    name = name_of(checkpoint)
    with open_source(source_of(checkpoint), name=name, part=part) as reader:
        infos = {key: reader.info(key) for key in reader.keys()}  # noqa: SIM118
        prefix = common_prefix(list(infos))
        firsts = (key.removeprefix(prefix).partition(".") for key in infos)
        metadata = dict(reader.metadata)
        ledger = _ledger(metadata.pop(_LEDGER, None))
        return Inspection(
            source=name,
            format=reader.format,
            tensors={key: _facts(reader, key, info, values) for key, info in infos.items()},
            elements=sum(math.prod(info.shape) for info in infos.values()),
            bytes=sum(_size(info) or 0 for info in infos.values()),
            common_prefix=prefix,
            prefixes=dict(Counter(first + dot for first, dot, _ in firsts)),
            wrapping=tuple(reader.wrapping),
            parts=tuple(reader.parts),
            beside=dict(reader.beside),
            metadata=metadata,
            ledger=ledger,
            values=values,
        )


def _facts(reader: OpenedCheckpoint, key: str, info: TensorInfo, values: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {"shape": list(info.shape), "dtype": info.dtype, "bytes": _size(info)}
    if not values:
        return facts
    try:
        return {**facts, **statistics(pieces_of(reader, key)).to_json()}
    except CheckpointError as error:
        return {**facts, "unreadable": why_unreadable(error)}
    except RuntimeError:
        # Types of which torch only knows the name.
        return {**facts, "unreadable": f"torch cannot compute with {info.dtype}"}


def _ledger(text: str | None) -> dict[str, Any] | None:
    """The head of a ledger; what is damaged there says nothing about the tensors."""
    try:
        data = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return None
    return {key: data.get(key) for key in ("seed", "rng", "stream_version", "plan_digest", "versions")}


def _size(info: TensorInfo) -> int | None:
    """How many bytes a tensor has; None if torch has no such type."""
    dtype = getattr(torch, info.dtype, None)
    return math.prod(info.shape) * dtype.itemsize if isinstance(dtype, torch.dtype) else None
