"""Which steps make a tensor of one shape into one of another, where something allows it.

Each kind looks at the shape as it is so far and gives its step and the shape after it, or nothing where it
has no meaning. Kinds that are not tied to names by the rule ask for more evidence than shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from initcfg._plan.pretrained.destinations import Destination
from initcfg._plan.pretrained.positions import resize
from initcfg._rules.initializers import NEED_NAMES, Permission
from initcfg.values import AdaptationStep

Shape = tuple[int, ...]
Found = tuple[AdaptationStep, Shape] | None


@dataclass(frozen=True)
class Fitting:
    """The steps that make a tensor fit, and the permissions that they have."""

    steps: tuple[AdaptationStep, ...] = ()
    by: tuple[Permission, ...] = ()


def fit(here: Destination, there: Shape, permissions: Sequence[Permission]) -> Fitting | None:
    """From the shape there to the shape here; None if what is allowed does not lead to it."""
    found: list[tuple[AdaptationStep, Permission]] = []
    shape = there
    for kind, function in _FUNCTIONS.items():
        for permission in permissions:
            if permission.kind != kind or not (permission.declared or shape != here.shape):
                continue
            made = function(here, shape, permission.options, permission.declared)
            if made is not None:
                step, shape = made
                found.append((step, permission))
                break
    if shape != here.shape:
        return None
    return Fitting(tuple(step for step, _ in found), tuple(each for _, each in found))


def hint(here: Destination, there: Shape) -> str | None:
    """The kind of adaptation that would fit, for a message."""
    if there == here.shape:
        return None
    for kinds in (*([kind] for kind in _FUNCTIONS), ["channels", "patch"], ["inflate", "channels"]):
        if kinds == ["select"]:
            continue
        anywhere = [Permission(kind, None) for kind in kinds]
        if kinds[0] in NEED_NAMES:
            if here.name.endswith("weight") and len(there) == 2 and there[::-1] == here.shape:
                return repr(kinds[0])
        elif fit(here, there, anywhere):
            return repr(kinds[0] if len(kinds) == 1 else kinds)
    if len(there) == len(here.shape) and there[1:] == here.shape[1:]:
        return "'drop'"
    return None


def hint_text(name: str, kind: str, whole_name: str | None = None) -> str:
    """What an adaptation would do, for a message."""
    told = whole_name or name
    would = f"leave {told} to the next rule" if kind == "'drop'" else f"fit {told}"
    return f"adapt={{{name!r}: {kind}}} would {would}"


def _transpose(here: Destination, shape: Shape, options: Mapping[str, Any], declared: bool) -> Found:
    # A square matrix, too: nothing but its declaration says how it lies.
    if not declared or len(shape) != 2 or len(here.shape) != 2:
        return None
    return ("transpose",), shape[::-1]


def _inflate(here: Destination, shape: Shape, options: Mapping[str, Any], declared: bool) -> Found:
    if len(shape) != 4 or len(here.shape) != 5 or (here.shape[0], *here.shape[3:]) != (shape[0], *shape[2:]):
        return None
    depth = here.shape[2]
    return ("inflate", options.get("by", "mean"), depth), (*shape[:2], depth, *shape[2:])


def _channels(here: Destination, shape: Shape, options: Mapping[str, Any], declared: bool) -> Found:
    if len(shape) < 3 or len(shape) != len(here.shape) or shape[0] != here.shape[0]:
        return None
    if shape[1] == here.shape[1] or not shape[1] or not here.shape[1]:
        return None
    # Images have 1, 3 or 4 channels; deeper convolutions of other widths are of another model.
    if not declared and not (here.first_conv and shape[1] in (1, 3, 4)):
        return None
    return ("channels", here.shape[1]), (shape[0], here.shape[1], *shape[2:])


def _patch(here: Destination, shape: Shape, options: Mapping[str, Any], declared: bool) -> Found:
    if len(shape) != 4 or len(here.shape) != 4 or shape[:2] != here.shape[:2] or shape == here.shape:
        return None
    stride, kernel = getattr(here.module, "stride", None), getattr(here.module, "kernel_size", None)
    if not declared and not (here.first_conv and stride == kernel):
        return None
    return ("patch", here.shape[2], here.shape[3]), here.shape


def _select(here: Destination, shape: Shape, options: Mapping[str, Any], declared: bool) -> Found:
    classes = tuple(options["classes"])
    if not shape or max(classes) >= shape[0]:
        return None
    return ("select", *classes), (len(classes), *shape[1:])


def _differs_in_rows(here: Destination, shape: Shape, declared: bool) -> bool:
    same_columns = bool(shape) and len(shape) == len(here.shape) and shape[1:] == here.shape[1:]
    return same_columns and (declared or isinstance(here.module, nn.Embedding))


def _shrink(here: Destination, shape: Shape, options: Mapping[str, Any], declared: bool) -> Found:
    if not _differs_in_rows(here, shape, declared) or here.shape[0] >= shape[0]:
        return None
    return ("narrow", 0, here.shape[0]), here.shape


def _grow(here: Destination, shape: Shape, options: Mapping[str, Any], declared: bool) -> Found:
    if not _differs_in_rows(here, shape, declared) or not 0 < shape[0] < here.shape[0]:
        return None
    return ("grow", options.get("by", "mean"), here.shape[0]), here.shape


_FUNCTIONS: dict[str, Callable[[Destination, Shape, Mapping[str, Any], bool], Found]] = {
    "transpose": _transpose,
    "inflate": _inflate,
    "channels": _channels,
    "patch": _patch,
    "resize": resize,
    "select": _select,
    "shrink": _shrink,
    "grow": _grow,
}
