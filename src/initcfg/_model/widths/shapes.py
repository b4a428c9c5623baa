"""Shapes: what is remembered of a base model, so that a wider one can be compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from initcfg._model.names import named_tensors
from initcfg._model.roles import find_roles
from initcfg._model.widths.blocks import count_blocks
from initcfg.errors import InitcfgError, PlanError

_FORMAT = "initcfg-shapes"
# What attention modules of torch, timm, transformers and of many people's own call these.
_HEAD_DIMS = ("head_dim", "head_size", "attention_head_size", "key_value_proj_dim", "dim_head", "d_head")
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads", "num_attn_heads")


@dataclass(frozen=True)
class Shapes:
    """The shapes of a model's parameters, and of its heads.

    Attributes:
        tensors: Shape of each parameter, by canonical name.
        heads: Number and size of the heads of each attention module, by name; None where it does not say.
        runs: How many blocks run, where that was looked for: a block that is used again counts again.
    """

    tensors: Mapping[str, tuple[int, ...]]
    heads: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    runs: int | None = None

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return count_blocks(self.tensors)

    def to_json(self) -> dict[str, Any]:
        """As JSON data: what ``initcfg shapes`` writes."""
        return {
            "format": _FORMAT,
            "version": 1,
            "shapes": {name: list(shape) for name, shape in self.tensors.items()},
            "heads": {name: list(pair) for name, pair in self.heads.items()},
            **({} if self.runs is None else {"runs": self.runs}),
        }

    @staticmethod
    def from_json(data: Any) -> Shapes:
        """What :meth:`to_json` gave.

        Raises:
            PlanError: It is something else.
        """
        if not isinstance(data, Mapping) or data.get("format") != _FORMAT:
            raise PlanError(
                "This is no file of shapes.", fix="Write one with: initcfg shapes BUILDER -o FILE."
            )
        if data.get("version") != 1:
            raise PlanError(f"These shapes are of version {data.get('version')!r}, and this reads version 1.")
        shapes, heads = data.get("shapes"), data.get("heads", {})
        if not isinstance(shapes, Mapping) or not all(map(_is_shape, shapes.values())):
            raise PlanError("'shapes' must be an object of lists of whole numbers, from 0 on.")
        if not isinstance(heads, Mapping) or not all(map(_is_pair, heads.values())):
            raise PlanError("'heads' must be an object of pairs of whole numbers or null.")
        runs = data.get("runs")
        if runs is not None and not _is_count(runs):
            raise PlanError("'runs' must be a whole number, from 0 on.")
        return Shapes(
            {str(name): tuple(shape) for name, shape in shapes.items()},
            {str(name): (pair[0], pair[1]) for name, pair in heads.items()},
            runs,
        )


def _is_count(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


def _is_shape(item: Any) -> bool:
    return isinstance(item, list) and all(map(_is_count, item))


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(each is None or _is_count(each) for each in item)


def shapes_of(model: nn.Module, example: Any = None, *, runs: bool = False) -> Shapes:
    """The shapes of a model: of one on meta, too.

    Heads are what attributes of modules say, and what is seen where the model runs on an ``example``; so are
    ``runs``, if they are asked for.
    """
    names = named_tensors(model)
    names.refuse_lazy()
    heads = {
        name: pair for name, module in names.module_of.items() if (pair := _heads_of(module)) != (None, None)
    }
    if example is not None or not heads:
        heads = _heads_seen(model, example) | heads
    shapes = {entry.name: entry.shape for entry in names.parameters}
    return Shapes(shapes, heads, _runs_seen(model, example) if runs else None)


def _runs_seen(model: nn.Module, example: Any) -> int | None:
    """How many blocks run; None where that cannot be seen."""
    try:
        roles = find_roles(model, example=example)
    except InitcfgError:
        return None
    return roles.layers if all(each.how == "seen" for each in roles.tensors.values()) else None


def _heads_seen(model: nn.Module, example: Any) -> dict[str, tuple[int | None, int | None]]:
    """Number and size of the heads of layers that make queries, by the layer's name."""
    try:
        roles = find_roles(model, example=example)
    except InitcfgError:
        # It is a part of what the example is of, or nobody knows what it takes.
        return {}
    return {
        name.rpartition(".")[0]: (each.heads, each.head_size)
        for name, each in roles.tensors.items()
        if each.heads and each.head_size and not {"attn_q", "attn_qkv"}.isdisjoint(each.roles)
    }


def _heads_of(module: nn.Module) -> tuple[int | None, int | None]:
    """Number and size of a module's heads, as far as its attributes say."""

    def first(attributes: tuple[str, ...]) -> int | None:
        held = (module.__dict__.get(attribute) for attribute in attributes)
        return next((each for each in held if _is_count(each) and each), None)

    return first(_HEADS), first(_HEAD_DIMS)
