"""What is in a checkpoint: its keys, shapes and types, without a number of it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from initcfg._api.command.terminal import table
from initcfg._checkpoints import common_prefix, open_source
from initcfg._checkpoints.formats import TensorInfo
from initcfg._plan import FORMAT
from initcfg._plan.report import limited, mask, merge_names
from initcfg.errors import add_row, in_bytes, line, plural

_LEDGER = "initcfg.ledger"
_MOST_PREFIXES = 12
_LONGEST_TEXT = 60
# Keys that are longer are not compared with others.
_LONGEST_KEY = 1000


def inspected(checkpoint: str, *, part: str | None = None) -> dict[str, Any]:
    """What is in a checkpoint, or in one part of it where it holds several sets of weights: JSON data.

    ``wrapping`` was taken off on the way to the tensors, ``parts`` are other sets of weights, ``beside`` is
    what else is in it. ``metadata`` is what the file says of itself, apart from the ledger.
    """
    with open_source(checkpoint, name=checkpoint, part=part) as reader:
        infos = {key: reader.info(key) for key in reader.keys()}  # noqa: SIM118
        prefix = common_prefix(list(infos))
        parts = (key.removeprefix(prefix).partition(".") for key in infos)
        metadata = dict(reader.metadata)
        ledger = _ledger(metadata.pop(_LEDGER, None))
        return {
            "source": checkpoint,
            "format": reader.format,
            "tensors": {
                key: {"shape": list(info.shape), "dtype": info.dtype, "bytes": _size(info)}
                for key, info in infos.items()
            },
            "elements": sum(math.prod(info.shape) for info in infos.values()),
            "bytes": sum(_size(info) or 0 for info in infos.values()),
            "common_prefix": prefix,
            "prefixes": dict(Counter(first + dot for first, dot, _ in parts)),
            "wrapping": list(reader.wrapping),
            "parts": list(reader.parts),
            "beside": dict(reader.beside),
            "metadata": metadata,
            "ledger": ledger,
        }


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


def inspection_view(found: Mapping[str, Any], *, full: bool = False) -> RenderableType:
    """A row for tensors that are alike, and a few lines."""
    groups: dict[object, list[str]] = {}
    for key, info in found["tensors"].items():
        group = (key,) if full or len(key) > _LONGEST_KEY else (mask(key), info["dtype"])
        groups.setdefault(group, []).append(key)
    shown = table("key", "×", "shape", "dtype", "size", right=("×", "size"), no_wrap=True)
    for names in groups.values():
        add_row(shown, *_cells(names, [found["tensors"][name] for name in names]))
    return Group(shown, line(), *_lines(found, full))


def _cells(names: list[str], infos: list[dict[str, Any]]) -> tuple[str, ...]:
    shape, dtype = infos[0]["shape"], infos[0]["dtype"]
    alike = all(info["shape"] == shape for info in infos)
    shown = ("×".join(map(str, shape)) or "()") if alike else "various"
    sizes = [info["bytes"] for info in infos]
    total = "" if None in sizes else in_bytes(sum(sizes))
    if len(names) == 1:
        return names[0], "", shown, dtype, total
    return merge_names(names), str(len(names)), shown, dtype, total


def _lines(found: Mapping[str, Any], full: bool) -> list[Text]:
    count, prefix = len(found["tensors"]), found["common_prefix"]
    unknown = sum(info["bytes"] is None for info in found["tensors"].values())
    size = in_bytes(found["bytes"]) if unknown < count else ""
    more = f"{plural(unknown, 'tensor')} of unknown size" if unknown else ""
    held = " and ".join(filter(None, (size, more)))
    totals = f"{found['elements']:,} elements, {held}; {found['format']}."
    lines = [line(f"{plural(count, 'tensor')}, {totals}", style="bold")]

    def say(title: str, text: str) -> None:
        lines.append(line(f"{title:<12} {text}"))

    if prefix:
        say("prefix", f"all {count:,} keys begin with {prefix!r}")
    shown = [f"{name} ({keys:,})" for name, keys in found["prefixes"].items()]
    if len(shown) <= _MOST_PREFIXES or full:
        say("below it" if prefix else "keys", ", ".join(shown))
    if found["wrapping"]:
        say("taken off", ", ".join(map(repr, found["wrapping"])))
    if found["parts"]:
        say("other parts", ", ".join(map(repr, found["parts"])) + "; --part shows one")
    if found["beside"]:
        held = [f"{key}: {what}" for key, what in found["beside"].items()]
        say("beside", ", ".join(limited(held, full)))
    if found["ledger"] is not None:
        say("ledger", _ledger_text(found["ledger"]))
    for key, text in found["metadata"].items():
        shortened = text if full or len(text) <= _LONGEST_TEXT else f"a text of {len(text):,} characters"
        say("metadata", f"{key}: {shortened}")
    return lines


def _ledger_text(ledger: Mapping[str, Any]) -> str:
    versions = ledger.get("versions")
    parts = [f"seed {ledger.get('seed')}", f"rng {ledger.get('rng')}"]
    if ledger.get("stream_version") is not None:
        parts.append(f"stream version {ledger['stream_version']}")
    if isinstance(versions, dict):
        parts += [f"{name} {version}" for name, version in versions.items()]
    return ", ".join(parts)
