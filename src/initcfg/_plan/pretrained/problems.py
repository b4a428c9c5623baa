"""Checkpoints that do not fit: what is wrong, and what was perhaps meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from initcfg._plan.pretrained.keys import nearest_prefixes
from initcfg._plan.pretrained.likely import (
    Sides,
    likely_format,
    likely_names,
    likely_rename,
    likely_slices,
    shard,
)
from initcfg._rules import Pattern, unmatched
from initcfg._rules.initializers import PretrainedInit
from initcfg.errors import CheckpointError, PatternError, plural

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

_SHOWN = 5


def nothing_fits(initializer: PretrainedInit, sides: Sides, hints: Sequence[str]) -> CheckpointError:
    """The error where no key fits a tensor of the module, whatever its shape."""
    if not sides.keys:
        return CheckpointError(
            f"The checkpoint {initializer.label!r} holds no tensors.",
            fix="Give another, or the part of it that holds the weights.",
        )
    likely, prefixes = likely_names(initializer, sides, 0)
    rename = likely_rename(sides.here, sides.there)
    starts = prefixes or [prefix for prefix, _ in nearest_prefixes(sides.here, sides.keys)[:3]]
    known = f"keys start with {starts[0]!r}" if starts else f"keys are like {next(iter(sides.keys))!r}"
    whole = _whole_checkpoint(initializer, sides.there, True)
    # A prefix stands in what was perhaps meant.
    others = [text for text in (likely, rename) if text is not None and not text.startswith("prefix=")]
    said = whole + ([] if starts else others)
    meant = [f"prefix={prefix!r}" for prefix in starts[:3]] or ([] if hints else others)
    fix = (
        "Give the prefix that the module has in the checkpoint, rename the keys, or give another checkpoint."
    )
    if said or (others and likely in others):
        fix = f"{'; '.join(said or others[:1])}."
    if hints:
        fix = f"Perhaps {'; or '.join(hints[:_SHOWN])}. {fix}"
    return CheckpointError(
        f"No key of {initializer.label!r} fits a tensor of the module: {known}, "
        f"tensors are like {next(iter(sides.here), None)!r}.",
        meant=meant,
        fix=fix,
    )


def partly_fits(
    initializer: PretrainedInit,
    sides: Sides,
    loaded: int,
    *,
    missing: Shapes,
    extra: Shapes,
    mismatched: Sequence[tuple[str, Shape, Shape]],
) -> list[str]:
    """What was likely meant where tensors here are missing there, or what is there is extra."""
    likely, _ = likely_names(initializer, sides, loaded)
    found = [
        *_whole_checkpoint(initializer, extra, bool(missing or mismatched)),
        likely,
        likely_slices(mismatched),
    ]
    if likely is None:
        taken = [name for name in sides.there if name in sides.here]
        found.append(likely_rename(missing, extra, taken))
    return [text for text in found if text is not None]


def _whole_checkpoint(initializer: PretrainedInit, names: Collection[str], incomplete: bool) -> list[str]:
    """What is wrong with the checkpoint itself: it is a part, or not of weights."""
    found = [*one_of_several(initializer, incomplete), likely_format(names)]
    return [text for text in found if text is not None]


def one_of_several(initializer: PretrainedInit, incomplete: bool) -> list[str]:
    """That the file is one of several."""
    checkpoint = initializer.checkpoint
    found = shard(checkpoint, incomplete=incomplete) if isinstance(checkpoint, str) else None
    return [] if found is None else [found]


def check_strict(
    initializer: PretrainedInit,
    missing: Collection[str],
    mismatched: Collection[str],
    unexpected: Collection[str],
    hints: Sequence[str],
) -> None:
    """``strict`` of the rule."""
    kinds = [(missing, "tensor", "missing there"), (mismatched, "tensor", "of another shape or type")]
    if initializer.strict == "all":
        kinds.append((unexpected, "key", "not used"))
    wrong = [f"{plural(len(names), noun)} {what}: {_listed(names)}" for names, noun, what in kinds if names]
    if initializer.strict != "none" and wrong:
        perhaps = f"Perhaps {'; or '.join(hints[:3])}. " if hints else ""
        raise CheckpointError(
            f"strict={initializer.strict!r} does not allow what {initializer.label!r} leaves: "
            f"{'; '.join(wrong)}.",
            fix=f"{perhaps}Exclude or ignore what is to stay with the next rule, adapt it, or give "
            "strict='none'.",
        )


def _listed(names: Collection[str]) -> str:
    first = ", ".join(list(names)[:_SHOWN])
    return first + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def unmatched_pattern(key: str, pattern: Pattern, local: Mapping[str, Any]) -> PatternError:
    """The error for a pattern that covers no tensor."""
    modules = {".".join(name.split(".")[:depth]) for name in local for depth in range(1, name.count(".") + 1)}
    error = unmatched(key, pattern, [*local, *sorted(modules)])
    if key == "adapt":
        error.problem = f"adapt={{{pattern.text!r}: ...}} matches nothing."
    there = ", ".join(map(repr, [*local][:2]))
    known = f"There are {there}{', ...' if len(local) > 2 else ''}. " if there and not error.meant else ""
    error.fix = known + (
        "Patterns match whole names, of tensors or of modules around them, counted from the module that owns "
        "the rule; '*' stands for any run of characters, dots too, and 're:' begins a regular expression."
    )
    return error
