"""Checkpoints that do not fit: what is wrong, and what was perhaps meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from initcfg._plan.pretrained.keys import NamedKeys, nearest_prefixes
from initcfg._rules import Pattern, unmatched
from initcfg._rules.initializers import PretrainedInit
from initcfg.errors import CheckpointError, PatternError, plural

_SHOWN = 5


def nothing_fits(
    initializer: PretrainedInit,
    local: Mapping[str, Any],
    keys: Sequence[str],
    named: NamedKeys,
    hints: Sequence[str],
) -> CheckpointError:
    """The error where no key fits a tensor of the module, whatever its shape."""
    if not keys:
        return CheckpointError(
            f"The checkpoint {initializer.label!r} holds no tensors.",
            fix="Give another, or the part of it that holds the weights.",
        )
    prefixes = [prefix for prefix, _ in nearest_prefixes(local, named.keys)[:3]]
    known = f"keys start with {prefixes[0]!r}" if prefixes else f"keys are like {keys[0]!r}"
    own = initializer.prefix or ""
    own += "." if own and not own.endswith(".") else ""
    return CheckpointError(
        f"No key of {initializer.label!r} fits a tensor of the module: {known}, "
        f"tensors are like {next(iter(local), None)!r}.",
        meant=[*hints, *(f"prefix={own + prefix!r}" for prefix in prefixes)],
        fix=_other_module(local, named)
        or "Give the prefix that the module has in the checkpoint, "
        "rename the keys, or give another checkpoint.",
    )


def other_prefix(
    initializer: PretrainedInit, local: Mapping[str, Any], named: NamedKeys, loaded: int
) -> str | None:
    """What would fit more than is loaded."""
    for prefix, count in nearest_prefixes(local, named.keys)[:1]:
        if count > loaded:
            return f"prefix={(initializer.prefix or '') + prefix!r} would fit {plural(count, 'tensor')}"
    return _other_module(local, named, loaded)


def _other_module(local: Mapping[str, Any], named: NamedKeys, loaded: int = 0) -> str | None:
    """The part of the module that the checkpoint is of, if it is of one."""
    for prefix, count in nearest_prefixes(named.keys, local)[:1]:
        if count > loaded:
            module = prefix.rstrip(".")
            return (
                f"The keys fit {plural(count, 'tensor')} of its part {module!r}: "
                "give the rule to that, as an init_cfg of its own or by override."
            )
    return None


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
        raise CheckpointError(
            f"strict={initializer.strict!r} does not allow what {initializer.label!r} leaves: "
            f"{'; '.join(wrong)}.",
            meant=list(hints[:3]),
            fix="Exclude what is meant to stay with the next rule, adapt it, or give strict='none'.",
        )


def _listed(names: Collection[str]) -> str:
    first = ", ".join(list(names)[:_SHOWN])
    return first + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def unmatched_pattern(key: str, pattern: Pattern, local: Mapping[str, Any]) -> PatternError:
    """The error for a pattern that covers no tensor."""
    modules = {".".join(name.split(".")[:depth]) for name in local for depth in range(1, name.count(".") + 1)}
    error = unmatched(key, pattern, [*local, *sorted(modules)])
    error.fix = (
        "Patterns match whole names, of tensors or of modules around them, counted from the module that owns "
        "the rule; '*' stands for any run of characters, dots too, and 're:' begins a regular expression."
    )
    return error
