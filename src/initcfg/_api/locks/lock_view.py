"""What a check found, for a person: tensors that changed alike are one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from initcfg._api.locks.words import patterns_of
from initcfg._plan.report import limited, mask
from initcfg.errors import line, plural, stacked

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from initcfg._api.locks.checking import LockCheck, ModelCheck
    from initcfg._api.locks.entries import Entry


def check_view(found: LockCheck, *, full: bool = False) -> RenderableType:
    """What became of each model of a lock."""
    lines: list[Text] = []
    for each in found.models:
        lines += _lines(each, full=full)
        lines.append(line(counted(each), style="green" if each.same else "bold red"))
        if not each.same:
            lines += [line(f"  {what}  {cause}") for what, cause in _because(each.causes)]
    return stacked(*lines)


def _because(causes: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, cause in enumerate(causes):
        yield ("what changed:" if number == 0 else " " * 13), cause


def _lines(found: ModelCheck, *, full: bool) -> Iterator[Text]:
    for (before, now), names in _alike(found.changed.items(), full):
        yield line(f"changed  {_names(names)}", style="bold")
        left, right = _differing(before, now)
        yield line(f"    before  {left}{_by(before)}", style="red")
        yield line(f"    now     {right}{_by(now)}", style="green")
    renamed = found.renamed
    for old, new in renamed.items() if full else list(renamed.items())[:8]:
        yield line(f"renamed  {old} → {new}", style="yellow")
    if len(renamed) > 8 and not full:
        yield line(f"renamed  ... and {len(renamed) - 8} more; a name decides the numbers of a seed")
    for word, items, style, known in (
        ("removed", found.removed, "red", set(renamed)),
        ("added", found.added, "green", set(renamed.values())),
    ):
        left_over = [(name, (item, item)) for name, item in items.items() if name not in known]
        for (item, _), names in _alike(left_over, full):
            yield line(f"{word:8} {_names(names)}", style="bold")
            yield line(f"    {_whole(item)}{_by(item)}", style=style)
    for name, (before, now) in found.tied.items():
        was, is_ = (each or "a tensor of its own, or none" for each in (before, now))
        yield line(f"tied     {name}: was {was}; is {is_}", style="yellow")
    if found.rounding:
        yield line(
            f"rounding {_listed(found.rounding)}: alike in four digits, not in all, as on another processor",
            style="yellow",
        )
    if found.numbers:
        yield line(f"numbers  the seed gives others to {_listed(found.numbers)}", style="red")
    if found.unsure:
        yield line(
            f"unsure   {_listed(found.unsure)}: made by what has changed, or is unknown", style="yellow"
        )
        yield line("         A lock with --seed compares what code writes.")


def _alike(
    items: Iterable[tuple[str, tuple[Entry, Entry]]], full: bool
) -> Iterator[tuple[tuple[Entry, Entry], list[str]]]:
    """The names that changed alike, with one of the changes."""
    groups: dict[object, tuple[tuple[Entry, Entry], list[str]]] = {}
    for name, pair in items:
        key = name if full else (mask(name), *(each.content for each in pair))
        groups.setdefault(key, (pair, []))[1].append(name)
    yield from groups.values()


def _names(names: Sequence[str]) -> str:
    return patterns_of(names) + (f"  ×{len(names)}" if len(names) > 1 else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(limited(list(names), False))


def _whole(item: Entry) -> str:
    return f"{item.kind}{item.shape} {item.dtype} = {item.value}"


def _differing(before: Entry, now: Entry) -> tuple[str, str]:
    """The value alone, where nothing else differs."""
    same = (before.shape, before.dtype, before.kind) == (now.shape, now.dtype, now.kind)
    return (before.value, now.value) if same else (_whole(before), _whole(now))


def _by(item: Entry) -> str:
    return f"  <- {item.rule}" if item.rule else ""


def counted(found: ModelCheck) -> str:
    """The outcome in one sentence."""
    target, total = found.target, sum(len(entry.names) for entry in found.now.entries)
    if found.same:
        moved = f"; the rules of {len(found.moved):,} have another place" if found.moved else ""
        start = "starts" if total == 1 else "start"
        return f"{target}: {plural(total, 'tensor')} {start} as locked{moved}."
    parts = [
        f"{len(items):,} {what}"
        for items, what in (
            (found.changed, "changed"),
            ([name for name in found.added if name not in found.renamed.values()], "added"),
            ([name for name in found.removed if name not in found.renamed], "removed"),
            (found.renamed, "renamed"),
            (found.tied, "tied otherwise"),
            (found.numbers, "with other numbers"),
            (found.unsure, "that cannot be told"),
        )
        if items
    ]
    alike = total - len({*found.changed, *found.added, *found.numbers, *found.unsure})
    return f"{target}: {', '.join([*parts, *found.beside])}; {alike:,} of {total:,} as locked."
