"""Positions of another number: those of a picture, those of a line, and tables of relative ones.

A square of rows says little: 1024 positions of text are one, too. So rows are taken for a picture where
the module has patches or tokens of one, or where a parameter that is no ``nn.Embedding`` is square here and
there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from initcfg._plan.pretrained.destinations import Destination
from initcfg.values import AdaptationStep

Shape = tuple[int, ...]
Found = tuple[AdaptationStep, Shape] | None

_POSITIONS = re.compile(r"(^|[._])((pos|position|positional)([._]|_?emb|_?enc|$)|wpe$|embed_positions$)")
_TABLES = ("relative_position_bias_table", "rel_pos_bias")
# What modules compute by themselves from the sizes that they have.
COMPUTED = ("relative_position_index", "relative_coords_table", "attn_mask", "position_ids")
_MOST_PREFIX_TOKENS = 16
# Without any word of the module, more rows before a square are a coincidence.
_LIKELY_PREFIX_TOKENS = 2
_OF_A_PICTURE = (
    "patch_embed",
    "patch_embedding",
    "patch_embeddings",
    "patch_size",
    "num_patches",
    "grid_size",
)


def resize(here: Destination, shape: Shape, options: Mapping[str, Any], declared: bool) -> Found:
    """The step that resizes positions of one shape to those of another."""
    if shape == here.shape or len(shape) != len(here.shape) or not here.entry.tensor.is_floating_point():
        return None
    if any(table in here.name for table in _TABLES) and len(shape) == 2:
        return _resize_table(here, shape, options)
    if is_of_a_layer(here) or (not declared and not means_positions(here.name)):
        return None
    if len(shape) == 4 and shape[0] == here.shape[0] == 1:
        # Channels last, or channels first.
        for axis, channels in ((1, 3), (2, 1)):
            if shape[channels] == here.shape[channels]:
                return ("resize_grid", axis, here.shape[axis], here.shape[axis + 1]), here.shape
        return None
    if len(shape) not in (2, 3) or shape[-1] != here.shape[-1]:
        return None
    if len(shape) == 3 and shape[1] == here.shape[1] == 1 != shape[0]:
        # The batch comes second.
        return _resize_line(here, shape, 0, options)
    if shape[:-2] != here.shape[:-2]:
        return None
    return _resize_rows(here, shape, options)


def is_of_a_layer(here: Destination) -> bool:
    """Whether a layer of torch computes with a tensor: it holds no positions, whatever it is called."""
    known = (cls for cls in type(here.module).__mro__ if cls.__module__.startswith("torch.nn.modules."))
    first = next((cls for cls in known if not cls.__module__.endswith(".container")), nn.Module)
    return first not in (nn.Module, nn.Embedding)


def means_positions(name: str) -> bool:
    """Whether a tensor's name says that it holds absolute positions."""
    owner = name.removesuffix(".weight").rpartition(".")[2]
    return _POSITIONS.search(owner) is not None and "rel" not in owner


def _resize_rows(here: Destination, shape: Shape, options: Mapping[str, Any]) -> Found:
    axis = len(shape) - 2
    given = [options[name] for name in ("size", "old_size") if name in options]
    if any(len(each) == 1 for each in given):
        return _resize_line(here, shape, axis, options)
    picture = bool(given) or is_of_picture(here)
    if not picture and isinstance(here.module, nn.Embedding):
        return _resize_line(here, shape, axis, options)
    most = _MOST_PREFIX_TOKENS if picture else _LIKELY_PREFIX_TOKENS
    found = _resize_tokens(here, shape, options, most)
    return found if picture or found else _resize_line(here, shape, axis, options)


def is_of_picture(here: Destination) -> bool:
    """Whether the module says that its positions are those of a picture."""
    if here.tokens is not None:
        return True
    return any(hasattr(owner, name) for owner in (here.module, here.parent) for name in _OF_A_PICTURE)


def _resize_tokens(here: Destination, shape: Shape, options: Mapping[str, Any], most: int) -> Found:
    new_rows, old_rows = here.shape[-2], shape[-2]
    size = _pair(options.get("size")) or _grid(here.module, new_rows) or _grid(here.parent, new_rows)
    candidates = [*([] if here.tokens is None else [here.tokens]), *range(most + 1)]
    if "prefix_tokens" in options:
        candidates = [options["prefix_tokens"]]
    for tokens in candidates:
        new = size or _square(new_rows - tokens)
        old = _pair(options.get("old_size")) or _square(old_rows - tokens)
        if new and old and math.prod(new) == new_rows - tokens and math.prod(old) == old_rows - tokens:
            return ("resize_tokens", tokens, *old, *new), here.shape
    return None


def _resize_line(here: Destination, shape: Shape, axis: int, options: Mapping[str, Any]) -> Found:
    """The rows are one after another; those before the first position stay."""
    rows, old_rows = here.shape[axis], shape[axis]
    new, old = (options.get(name, (None,))[0] for name in ("size", "old_size"))
    prefix = options.get("prefix_tokens")
    if prefix is None:
        # Of a length that is given, the rest is prefix.
        lengths = [count - length for count, length in ((rows, new), (old_rows, old)) if length is not None]
        prefix = lengths[0] if lengths else _rows_before(here)
    new, old = (rows - prefix if new is None else new), (old_rows - prefix if old is None else old)
    if prefix < 0 or min(new, old) < 1 or prefix + new != rows or prefix + old != old_rows:
        return None
    return ("resize_line", axis, prefix, old, new), here.shape


def _rows_before(here: Destination) -> int:
    """Rows that no position has: OPT and BART count them in ``offset``, RoBERTa begins after the padding."""
    offset = getattr(here.module, "offset", None)
    if isinstance(offset, int) and not isinstance(offset, bool) and offset > 0:
        return offset
    padding = getattr(here.module, "padding_idx", None)
    return padding + 1 if isinstance(padding, int) else here.tokens or 0


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


def _grid(module: nn.Module | None, count: int) -> tuple[int, int] | None:
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
