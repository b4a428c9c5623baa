"""Whether a checkpoint gives what it was given for: never the half of it in silence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from initcfg._plan.assignment import Assignment
from initcfg._plan.loads import Load, weight_of
from initcfg.errors import plural
from initcfg.values import FromCheckpoint, Opaque, Value

# More than this share of the parameters left as they were is worth a line.
_TOLERATED = 0.1
_SHOWN = 3
_HINTS = 2


def judged(
    loads: Sequence[Load],
    items: Mapping[str, Assignment],
    aliases: Mapping[str, str],
    *,
    compat: bool = False,
) -> tuple[Load, ...]:
    """The accounts, each with its warning where it leaves much as it was, or has keys that nothing took.

    Args:
        items: Every tensor of the plan.
        aliases: The other names of tied tensors.
        compat: A rule cannot say what may be ignored.
    """
    given = {name for name, item in items.items() if _is_loaded(item.value)}
    # Two rules may take what they need of one checkpoint.
    taken: dict[str, set[str]] = {}
    for item in items.values() if len(loads) > 1 else ():
        for value in (item.value, *(each.value for each in item.shadowed)):
            if isinstance(value, FromCheckpoint):
                taken.setdefault(value.source, set()).update(value.keys)
    found: list[Load] = []
    for load in loads:
        names = dict.fromkeys(aliases.get(name, name) for name in load.not_given)
        left = [name for name in names if name not in given]
        halves = [name for name in left if weight_of(name) != name and weight_of(name) in given]
        same = [other.source for other in loads if _is_one_checkpoint(load, other)]
        elsewhere = set().union(*(taken.get(source, ()) for source in same))
        untaken = [key for key in load.untaken if key not in elsewhere]
        warning = _warning(load, left, untaken, halves)
        if warning is not None and (left or untaken) and not compat:
            warning += " ignore=[...] silences it."
        found.append(replace(load, warning=warning))
    return tuple(found)


def _is_one_checkpoint(one: Load, other: Load) -> bool:
    return one.source == other.source or (one.given is not None and one.given is other.given)


def _is_loaded(value: Value) -> bool:
    return isinstance(value.over if isinstance(value, Opaque) else value, FromCheckpoint)


def _warning(load: Load, left: Sequence[str], untaken: Sequence[str], halves: Sequence[str]) -> str | None:
    """The line for a checkpoint; ``halves`` are parts that are left of weights that are loaded in part."""
    if load.problem:
        return None
    if not (len(left) > _TOLERATED * load.wanted or untaken or halves):
        return f"Of {load.source}, {'; '.join(load.alarms)}." if load.alarms else None
    parts = []
    if halves:
        whole = dict.fromkeys(map(weight_of, halves))
        verb = "is" if len(whole) == 1 else "are"
        parts.append(f"{_first(whole)} {verb} loaded in part: {load.source} has no {_first(halves)}")
    if left:
        verb = "is" if len(left) == 1 else "are"
        parts.append(
            f"{len(left):,} of {plural(load.wanted, 'parameter')} {verb} not loaded from {load.source} "
            f"({_first(left)})"
        )
    if untaken:
        verb = "fits" if len(untaken) == 1 else "fit"
        of = "of it" if left else f"of {load.source}"
        parts.append(f"{plural(len(untaken), 'key')} {of} {verb} nothing ({_first(untaken)})")
    hints = [each.rstrip(".") for each in load.hints[:_HINTS]]
    told = f"{'; '.join([', '.join(parts), *load.alarms])}."
    return f"{told} Perhaps {'; or '.join(hints)}." if hints else told


def _first(names: Collection[str]) -> str:
    return ", ".join(list(names)[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
