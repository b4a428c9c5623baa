"""What is in a checkpoint: its keys, shapes and types, without a number of it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from initcfg._api.command.terminal import table
from initcfg._checkpoints.formats import TensorInfo, open_path
from initcfg._checkpoints.sources import locate
from initcfg._plan import FORMAT
from initcfg._plan.report import limited, mask, merge_names
from initcfg.errors import in_bytes, plural

_LEDGER = "initcfg.ledger"
_MOST_PREFIXES = 12
_LONGEST_TEXT = 60
# Keys that are longer are not compared with others.
_LONGEST_KEY = 1000


@dataclass(frozen=True)
class Inspection:
    """What was found in a checkpoint.

    Attributes:
        source: The checkpoint, as it was named.
        format: What kind of file it is.
        tensors: Shape and type of each tensor.
        wrapping: What was taken off on the way to them.
        parts: Other sets of weights in it.
        beside: What else is in it.
        metadata: What the file says of itself, the ledger apart.
        ledger: What is to be said of the ledger that it carries: seed, generator, versions.
    """

    source: str
    format: str
    tensors: Mapping[str, TensorInfo]
    wrapping: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    ledger: Mapping[str, Any] | None = None

    def prefixes(self) -> dict[str, int]:
        """The first parts of the keys below the common prefix, and how many keys have each."""
        start = common_prefix(list(self.tensors))
        parts = (key.removeprefix(start).partition(".") for key in self.tensors)
        return dict(Counter(first + dot for first, dot, _ in parts))

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON data."""
        return {
            "source": self.source,
            "format": self.format,
            "tensors": {
                key: {"shape": list(info.shape), "dtype": info.dtype, "bytes": size_of(info)}
                for key, info in self.tensors.items()
            },
            "elements": sum(math.prod(info.shape) for info in self.tensors.values()),
            "bytes": sum(size_of(info) or 0 for info in self.tensors.values()),
            "common_prefix": common_prefix(list(self.tensors)),
            "prefixes": self.prefixes(),
            "wrapping": list(self.wrapping),
            "parts": list(self.parts),
            "beside": dict(self.beside),
            "metadata": dict(self.metadata),
            "ledger": self.ledger,
        }


def inspected(checkpoint: str, *, part: str | None = None) -> Inspection:
    """Look into a checkpoint, or into one part of it where it holds several sets of weights.

    Raises:
        CheckpointError: It cannot be opened.
    """
    located = locate(checkpoint)
    assert located.path is not None
    with open_path(located.path, name=checkpoint, part=part) as reader:
        metadata = dict(reader.metadata)
        ledger = _ledger(metadata.pop(_LEDGER, None))
        tensors = {key: reader.info(key) for key in reader.keys()}  # noqa: SIM118
        return Inspection(
            checkpoint, reader.format, tensors, reader.wrapping, reader.parts, reader.beside, metadata, ledger
        )


def _ledger(text: str | None) -> dict[str, Any] | None:
    """The head of a ledger; what is damaged there says nothing about the tensors."""
    try:
        data = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return None
    return {key: data.get(key) for key in ("seed", "rng", "stream_version", "plan_digest", "versions")}


def common_prefix(keys: list[str]) -> str:
    """The longest beginning that all keys have, up to a dot.

    Example:
        >>> from initcfg._api.command.inspection import common_prefix
        >>> common_prefix(["backbone.conv.weight", "backbone.conv.bias", "backbone.bn.weight"])
        'backbone.'
    """
    if len(keys) < 2:
        return ""
    # What the least and the greatest share, all share.
    least, greatest = min(keys), max(keys)
    length = next((n for n, (a, b) in enumerate(zip(least, greatest, strict=False)) if a != b), len(least))
    return least[: least.rfind(".", 0, length) + 1]


def size_of(info: TensorInfo) -> int | None:
    """How many bytes a tensor has; None if torch has no such type."""
    dtype = getattr(torch, info.dtype, None)
    return math.prod(info.shape) * dtype.itemsize if isinstance(dtype, torch.dtype) else None


# -- for a person --------------------------------------------------------------------------------


def inspection_view(found: Inspection, *, full: bool = False) -> RenderableType:
    """A row for tensors that are alike, and a few lines."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for key, info in found.tensors.items():
        group = (key,) if full or len(key) > _LONGEST_KEY else (mask(key), info.dtype)
        groups.setdefault(group, []).append(key)
    shown = table("key", "×", "shape", "dtype", "size", right=("×", "size"), no_wrap=True)
    for names in groups.values():
        shown.add_row(*map(escape, _cells(names, [found.tensors[name] for name in names])))
    return Group(shown, Text(), *_lines(found, full))


def _cells(names: list[str], infos: list[TensorInfo]) -> tuple[str, ...]:
    alike = len({info.shape for info in infos}) == 1
    shape = ("×".join(map(str, infos[0].shape)) or "()") if alike else "various"
    sizes = [size_of(info) for info in infos]
    total = "" if None in sizes else in_bytes(sum(size or 0 for size in sizes))
    if len(names) == 1:
        return _line(names[0]), "", shape, infos[0].dtype, total
    return _line(merge_names(names)), str(len(names)), shape, infos[0].dtype, total


def _lines(found: Inspection, full: bool) -> list[Text]:
    data = found.to_json()
    lines = [
        Text(
            f"{plural(len(found.tensors), 'tensor')}, {data['elements']:,} elements, "
            f"{in_bytes(data['bytes'])}; {found.format}.",
            style="bold",
        )
    ]

    def say(title: str, text: str) -> None:
        lines.append(Text(f"{title:<12} {text}"))

    prefix = data["common_prefix"]
    if prefix:
        say("prefix", f"all {len(found.tensors):,} keys begin with {prefix!r}")
    shown = [f"{_line(name)} ({count:,})" for name, count in found.prefixes().items()]
    if len(shown) <= _MOST_PREFIXES or full:
        say("below it" if prefix else "keys", ", ".join(shown))
    if found.wrapping:
        say("taken off", ", ".join(repr(each) for each in found.wrapping))
    if found.parts:
        say("other parts", ", ".join(repr(each) for each in found.parts) + "; --part shows one")
    if found.beside:
        held = [f"{_line(key)}: {_line(what)}" for key, what in found.beside.items()]
        say("beside", ", ".join(limited(held, full)))
    if found.ledger is not None:
        say("ledger", _ledger_text(found.ledger))
    for key, text in found.metadata.items():
        shortened = text if full or len(text) <= _LONGEST_TEXT else f"a text of {len(text):,} characters"
        say("metadata", f"{_line(key)}: {_line(shortened)}")
    return lines


def _ledger_text(ledger: Mapping[str, Any]) -> str:
    versions = ledger.get("versions")
    parts = [f"seed {ledger.get('seed')}", f"rng {ledger.get('rng')}"]
    if ledger.get("stream_version") is not None:
        parts.append(f"stream version {ledger['stream_version']}")
    if isinstance(versions, dict):
        parts += [f"{name} {version}" for name, version in versions.items()]
    return _line(", ".join(parts))


def _line(text: str) -> str:
    """A text of a file that nobody vouches for, on one line, without what would steer a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
