"""Which steps make a tensor of one shape into one of another, where something allows it.

Each kind looks at the shape as it is so far and gives its step and the shape after it, or nothing where it
has no meaning. Kinds that are not tied to names by the rule ask for more evidence than shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from initcfg._plan.pretrained.destinations import Destination
from initcfg._rules.initializers import NEED_NAMES, Permission
from initcfg.values import AdaptationStep

Shape = tuple[int, ...]
Found = tuple[AdaptationStep, Shape] | None

# A tensor holds the positions of an image; its module computes those of the second kind by itself.
_POSITIONS = re.compile(r"(^|[._])(pos|position|positional)([._]|_?emb|$)")
_TABLES = ("relative_position_bias_table", "rel_pos_bias")
COMPUTED = ("relative_position_index", "relative_coords_table", "attn_mask")
_MOST_PREFIX_TOKENS = 16


def fit(
    here: Destination, there: Shape, permissions: Sequence[Permission]
) -> tuple[AdaptationStep, ...] | None:
    """The steps from the shape there to the shape here; None if what is allowed does not lead to it."""
    steps: list[AdaptationStep] = []
    shape = there
    for kind, function in _FUNCTIONS.items():
        for permission in permissions:
            declared = permission.pattern is not None
            if permission.kind != kind or not (declared or shape != here.shape):
                continue
            found = function(here, shape, permission.options, declared)
            if found is not None:
                step, shape = found
                steps.append(step)
                break
    return tuple(steps) if shape == here.shape else None


def hint(here: Destination, there: Shape) -> str | None:
    """The kind of adaptation that would fit, for a message."""
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


def _resize(here: Destination, shape: Shape, options: Mapping[str, Any], declared: bool) -> Found:
    last = here.name.rpartition(".")[2]
    if shape == here.shape or len(shape) != len(here.shape):
        return None
    if any(table in here.name for table in _TABLES) and len(shape) == 2:
        return _resize_table(here, shape, options)
    if not declared and (_POSITIONS.search(last) is None or "rel" in last):
        return None
    if len(shape) == 4 and shape[0] == here.shape[0] == 1:
        # Channels last, or channels first.
        for axis, channels in ((1, 3), (2, 1)):
            if shape[channels] == here.shape[channels]:
                return ("resize_grid", axis, here.shape[axis], here.shape[axis + 1]), here.shape
        return None
    if len(shape) not in (2, 3) or shape[-1] != here.shape[-1] or shape[:-2] != here.shape[:-2]:
        return None
    return _resize_tokens(here, shape, options)


def _resize_tokens(here: Destination, shape: Shape, options: Mapping[str, Any]) -> Found:
    new_rows, old_rows = here.shape[-2], shape[-2]
    size = _pair(options.get("size")) or _grid(here.module, new_rows)
    candidates = [*([] if here.tokens is None else [here.tokens]), *range(_MOST_PREFIX_TOKENS + 1)]
    if "prefix_tokens" in options:
        candidates = [options["prefix_tokens"]]
    for tokens in candidates:
        new = size or _square(new_rows - tokens)
        old = _pair(options.get("old_size")) or _square(old_rows - tokens)
        if new and old and math.prod(new) == new_rows - tokens and math.prod(old) == old_rows - tokens:
            return ("resize_tokens", tokens, *old, *new), here.shape
    return None


def _resize_table(here: Destination, shape: Shape, options: Mapping[str, Any]) -> Found:
    if shape[1] != here.shape[1]:
        return None
    window = _pair(getattr(here.module, "window_size", None))
    for extra in (0, 3):
        new = _pair(options.get("size")) or (window and (2 * window[0] - 1, 2 * window[1] - 1))
        if new is None or math.prod(new) != here.shape[0] - extra:
            new = _square(here.shape[0] - extra)
        old = _pair(options.get("old_size")) or _square(shape[0] - extra)
        if new and old and math.prod(old) == shape[0] - extra:
            return ("resize_table", extra, *old, *new), here.shape
    return None


def _grid(module: nn.Module, count: int) -> tuple[int, int] | None:
    """The grid that a module says it has, where it accounts for the tokens."""
    embed = getattr(module, "patch_embed", None)
    for owner, attribute in ((embed, "grid_size"), (embed, "init_out_size"), (module, "patch_resolution")):
        found = _pair(getattr(owner, attribute, None))
        if found and 0 <= count - math.prod(found) <= _MOST_PREFIX_TOKENS:
            return found
    return None


def _pair(item: Any) -> tuple[int, int] | None:
    if isinstance(item, int) and not isinstance(item, bool):
        return item, item
    if isinstance(item, (list, tuple)) and len(item) == 2 and all(isinstance(each, int) for each in item):
        return item[0], item[1]
    return None


def _square(count: int) -> tuple[int, int] | None:
    root = math.isqrt(count) if count > 0 else 0
    return (root, root) if root and root * root == count else None


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
    "resize": _resize,
    "select": _select,
    "shrink": _shrink,
    "grow": _grow,
}
