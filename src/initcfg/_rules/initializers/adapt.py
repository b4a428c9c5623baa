"""What ``adapt`` says: which adaptations are allowed, and for which tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from initcfg._rules.patterns import Pattern, parse_patterns
from initcfg.errors import ArgumentError, nearest
from initcfg.values import is_finite_number

# Without a name, these would say nothing that a shape could confirm.
NEED_NAMES = ("drop", "select", "transpose")
# Of these there is no part.
OF_THE_WHOLE = ("merge_lora",)
AUTO = ("inflate", "channels", "patch", "resize", "qkv", "stack_experts", "names")


def _count(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


def _size(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) in (1, 2) and all(_count(each) for each in item)


_SIZE = "two numbers, height and width, or a list of one, a length"


def _indices(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and bool(item) and all(_count(each) for each in item)


Check = tuple[Callable[[Any], bool], str]

# By kind: its options, each with a check and what it is in words.
KINDS: dict[str, dict[str, Check]] = {
    "transpose": {},
    "inflate": {"by": (lambda item: item in ("mean", "center"), "'mean' or 'center'")},
    "channels": {},
    "patch": {},
    "resize": {
        "prefix_tokens": (_count, "a number of tokens"),
        "size": (_size, _SIZE),
        "old_size": (_size, _SIZE),
    },
    "select": {"classes": (_indices, "a list of row numbers")},
    "shrink": {},
    "grow": {"by": (lambda item: item in ("mean", "covariance"), "'mean' or 'covariance'")},
    "qkv": {},
    "stack_experts": {},
    "names": {},
    "merge_lora": {
        "base": (lambda item: isinstance(item, str), "a path or an address"),
        "alpha": (is_finite_number, "a number"),
    },
    "dtype": {},
    "dequantize": {"block": (_size, "two numbers, rows and columns that share a scale")},
    "drop": {},
}


@dataclass(frozen=True)
class Permission:
    """One adaptation that a rule allows."""

    kind: str
    # For which tensors, or modules with all below; None for all that it evidently fits.
    pattern: Pattern | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    # Whether "auto" stood for it: nobody asked for this kind.
    auto: bool = False
    # Whether it is for these tensors, whatever they are called: shapes need say no more.
    declared: bool = False


def parse_adapt(adapt: Any) -> tuple[Permission, ...]:
    """The permissions of an ``adapt`` as it was written."""
    if adapt is None:
        return ()
    if isinstance(adapt, str) or (isinstance(adapt, Mapping) and "type" in adapt):
        adapt = [adapt]
    if isinstance(adapt, Mapping):
        return tuple(
            permission
            for text, written in adapt.items()
            for pattern in parse_patterns("adapt", text)
            for item in (written if isinstance(written, (list, tuple)) else [written])
            for permission in _permissions(item, pattern)
        )
    if not isinstance(adapt, (list, tuple)):
        raise ArgumentError(
            f"adapt must be a kind of adaptation, a list of them, or a dict from names, not {adapt!r}.",
            fix=_kinds_text(),
        )
    return tuple(permission for item in adapt for permission in _permissions(item, None))


def _permissions(written: Any, pattern: Pattern | None) -> list[Permission]:
    options = dict(written) if isinstance(written, Mapping) else {"type": written}
    kind = options.pop("type", None)
    if kind == "auto" and not options:
        return [Permission(each, pattern, auto=True, declared=pattern is not None) for each in AUTO]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ArgumentError(
            f"adapt: {written!r} is not an adaptation.", meant=nearest(str(kind), KINDS), fix=_kinds_text()
        )
    if pattern is None and kind in NEED_NAMES:
        raise ArgumentError(
            f"adapt={kind!r} does not say for which tensors.", fix=f"Write adapt=dict(NAME={kind!r})."
        )
    for key, item in options.items():
        if key not in KINDS[kind]:
            raise ArgumentError(
                f"The adaptation {kind!r} takes no {key!r}.",
                meant=nearest(key, KINDS[kind]),
                fix=f"It takes {', '.join(KINDS[kind]) or 'nothing'}.",
            )
        check, words = KINDS[kind][key]
        if not check(item):
            raise ArgumentError(f"The adaptation {kind!r}: {key} must be {words}, not {item!r}.")
    if pattern is not None and kind in OF_THE_WHOLE:
        raise ArgumentError(
            f"adapt={kind!r} is for a whole checkpoint, and not for {pattern.text!r}.",
            fix=f"Write adapt={kind!r}, or a list with it.",
        )
    if kind == "select" and "classes" not in options:
        raise ArgumentError(
            "The adaptation 'select' needs the rows to take.",
            fix="Write adapt=dict(NAME=dict(type='select', classes=[...])).",
        )
    return [Permission(kind, pattern, options, declared=pattern is not None)]


def _kinds_text() -> str:
    return f"The kinds are 'auto', {', '.join(map(repr, KINDS))}."
