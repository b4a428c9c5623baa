"""What is in a checkpoint, for a person: a row for tensors that are alike, and a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from initcfg._plan.report import limited, mask, merge_names
from initcfg.errors import add_row, in_bytes, line, new_table, plural, stacked

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from initcfg._api.weights.inspection import Inspection

_MOST_PREFIXES = 12
_LONGEST_TEXT = 60
# Keys that are longer are not compared with others.
_LONGEST_KEY = 1000
_NUMBERS = ("min", "max", "std", "zeros", "NaN")


def inspection_view(inspection: Inspection, *, full: bool = False) -> RenderableType:
    """A row for tensors that are alike, and a few lines."""
    found, values = inspection.to_json(), inspection.values
    groups: dict[object, list[str]] = {}
    for key, info in found["tensors"].items():
        group = (
            (key,) if full or len(key) > _LONGEST_KEY else (mask(key), info["dtype"], "unreadable" in info)
        )
        groups.setdefault(group, []).append(key)
    shown = new_table()
    titles = ("key", "×", "shape", "dtype", *((*_NUMBERS, "") if values else ("size",)))
    for title in titles:
        right = title in ("×", "size", *_NUMBERS)
        shown.add_column(title, justify="right" if right else "left", no_wrap=True)
    for names in groups.values():
        infos = [found["tensors"][name] for name in names]
        add_row(shown, *_cells(names, infos), *(_numbers(infos) if values else (_bytes(infos),)))
    return stacked(shown, line(), *_lines(found, full))


def _cells(names: list[str], infos: list[dict[str, Any]]) -> tuple[str, ...]:
    shape, dtype = infos[0]["shape"], infos[0]["dtype"]
    alike = all(info["shape"] == shape for info in infos)
    shown = ("×".join(map(str, shape)) or "()") if alike else "various"
    if len(names) == 1:
        return names[0], "", shown, dtype
    return merge_names(names), str(len(names)), shown, dtype


def _bytes(infos: Sequence[Mapping[str, Any]]) -> str:
    sizes = [info["bytes"] for info in infos]
    return "" if None in sizes else in_bytes(sum(sizes))


def _numbers(infos: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the numbers of a row are like."""
    if "unreadable" in infos[0]:
        return ("", "", "", "", "", infos[0]["unreadable"])

    def known(name: str) -> list[Any]:
        return [info[name] for info in infos if info[name] is not None]

    ends = [f"{end(known(name)):.3g}" if known(name) else "" for name, end in (("min", min), ("max", max))]
    spread = [f"{end(known('std')):.2g}" for end in (min, max)] if known("std") else []
    zeros, nan, inf = (sum(info[name] for info in infos) for name in ("zeros", "nan", "inf"))
    infinite = f"{inf:,} infinite" if inf else ""
    return (*ends, "…".join(dict.fromkeys(spread)), f"{zeros:,}", f"{nan:,}" if nan else "", infinite)


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
