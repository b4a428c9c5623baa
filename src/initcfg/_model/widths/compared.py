"""The comparison: what of each parameter grows with the width, from the shapes of two builds.

A weight is *hidden* if both its inputs and its outputs grow, *input* if its outputs alone do (an embedding, a
stem), *output* if its inputs alone do (a head). A *vector* grows along its only axis (biases, norms); what
does not grow at all is *fixed*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from torch import nn

from initcfg._model.layouts import layout_of_raw
from initcfg._model.names import Entry, Names, named_tensors
from initcfg._model.targets import targets
from initcfg._model.widths.blocks import block_of, changed_lists, element_of, template
from initcfg._model.widths.shapes import Shapes, shapes_of
from initcfg.errors import LazyParameterError, PlanError, TensorError
from initcfg.values import Layout

Kind = Literal["hidden", "input", "output", "vector", "fixed"]


@dataclass(frozen=True)
class TensorWidth:
    """What of one parameter grows.

    Attributes:
        kind: See above. A weight within a block whose outputs do not grow (a router, the keys of a fixed
            number of heads) is hidden: what reads it is no loss.
        shape: Its shape, and that in the base.
        fan_in: Number of its inputs; of an embedding, 1.
        slot: ``"weight"`` or ``"bias"`` of a layer, or ``"raw"``: a parameter of a module's own.
        tied: Whether an embedding and a head are this one tensor.
    """

    kind: Kind
    shape: tuple[int, ...]
    base_shape: tuple[int, ...]
    fan_in: int = 1
    base_fan_in: int = 1
    fan_out: int = 1
    base_fan_out: int = 1
    slot: str = "weight"
    tied: bool = False


@dataclass(frozen=True)
class Widths:
    """What grows in a model.

    Attributes:
        tensors: By canonical name.
        layers: Number of blocks, and of those of the base.
        grown_heads: Attention modules whose heads are larger than in the base: name, size here and there.
        same_names: Whether both have the same parameters, and so as many blocks, whatever these are.
        in_blocks: The parameters that lie in a block.
    """

    tensors: Mapping[str, TensorWidth]
    layers: int
    base_layers: int
    grown_heads: tuple[tuple[str, int, int], ...] = ()
    same_names: bool = True
    in_blocks: frozenset[str] = frozenset()

    @property
    def tied(self) -> list[str]:
        """Parameters that are embedding and head at once, and grow."""
        return [name for name, each in self.tensors.items() if each.tied and each.kind != "fixed"]

    @property
    def grows(self) -> bool:
        """Whether anything is wider than in the base, or narrower."""
        return any(each.shape != each.base_shape for each in self.tensors.values())


def compare_widths(model: nn.Module, base: Shapes, example: Any = None, *, runs: bool = False) -> Widths:
    """What grows from the base to the model, which may be on meta; ``example``, ``runs``: see ``shapes_of``.

    Raises:
        PlanError: The base lacks a parameter, or one grows along axes that are neither inputs nor outputs.
    """
    names = named_tensors(model)
    names.refuse_lazy()
    owners = _owners(names)
    there = _Base(base)
    here = shapes_of(model, example, runs=runs and base.runs is not None)
    blocks, base_blocks = _blocks_between(here.tensors, base.tensors)
    tensors = {
        entry.name: _width(
            entry, owners.get(id(entry.stored[0]), []), there.shape(entry), in_block=entry.name in blocks
        )
        for entry in names.parameters
    }
    if all(each.kind == "fixed" for each in tensors.values()):
        tensors |= _likely_head(tensors, blocks)
    grown = tuple(_grown_heads(here, base, tensors))
    layers, base_layers = len({*blocks.values()}), len({*base_blocks.values()})
    same = here.tensors.keys() == base.tensors.keys()
    if same and here.runs and base.runs:
        # Weights that are shared by all blocks, or run in a loop (ALBERT, universal transformers).
        layers, base_layers = here.runs, base.runs
    return Widths(tensors, layers, base_layers, grown, same, frozenset(blocks))


Blocks = dict[str, tuple[str, int]]
"""Of the parameters in blocks: the list, and the index in it."""


def _blocks_between(here: Iterable[str], base: Iterable[str]) -> tuple[Blocks, Blocks]:
    """The blocks of two builds: where another list than those of blocks changes its length, its elements."""
    changed = changed_lists(here, base)

    def blocks(names: Iterable[str]) -> Blocks:
        if not changed:
            return {name: found for name in names if (found := block_of(name)) is not None}
        placed = {name: found for name in names if (found := element_of(name)) is not None}
        return {name: found for name, found in placed.items() if found[0] in changed}

    return blocks(here), blocks(base)


def _likely_head(tensors: Mapping[str, TensorWidth], blocks: Blocks) -> dict[str, TensorWidth]:
    """At the width of the base nothing grows, and the head is the last weight, if that is in no block."""
    weights = [name for name, each in tensors.items() if each.slot == "weight" and len(each.shape) > 1]
    if len(weights) < 2 or weights[-1] in blocks or tensors[weights[-1]].tied:
        return {}
    return {weights[-1]: replace(tensors[weights[-1]], kind="output")}


class _Base:
    """The shapes of a base, also for blocks that a shallower one does not have."""

    def __init__(self, base: Shapes) -> None:
        self.base = base

    @cached_property
    def _repeated(self) -> dict[str, set[tuple[int, ...]]]:
        found: dict[str, set[tuple[int, ...]]] = {}
        for name, shape in self.base.tensors.items():
            found.setdefault(template(name), set()).add(shape)
        return found

    def shape(self, entry: Entry) -> tuple[int, ...]:
        """The shape of the parameter in the base."""
        for name in (entry.name, *entry.names):
            if name in self.base.tensors:
                found = self.base.tensors[name]
                break
        else:
            alike = self._repeated.get(template(entry.name), set())
            if len(alike) != 1:
                why = "Its blocks have it in several shapes." if alike else "Nor has one of its blocks."
                raise PlanError(
                    f"The base has no parameter of this name. {why}",
                    parameter=entry.name,
                    shape=entry.shape,
                    fix="Build the base with the same code and arguments, but for those of the width.",
                )
            found = next(iter(alike))
        if len(found) != len(entry.shape):
            raise PlanError(
                f"The parameter has {len(entry.shape)} axes, and {len(found)} in the base: {found}.",
                parameter=entry.name,
                shape=entry.shape,
                fix="Build the base with the same code.",
            )
        return found


Owner = tuple[nn.Module, str, Layout | None]
"""Of a tensor: the module that has it, ``"weight"``, ``"bias"`` or ``"raw"``, and its layout."""


def _owners(names: Names) -> dict[int, list[Owner]]:
    """The modules that have each tensor, those that know its layout first."""
    found: dict[int, list[Owner]] = {}
    for module in names.module_of.values():
        try:
            known = targets(module)
        except (LazyParameterError, TensorError):
            # Such weights are raw: they are computed, or have no shape yet.
            known = []
        for tensor, slot, layout, _ in known:
            found.setdefault(id(tensor), []).append((module, slot, layout))
        reached = {id(tensor) for tensor, *_ in known}
        for attribute, tensor in module._parameters.items():
            if tensor is not None and id(tensor) not in reached:
                layout = layout_of_raw(module, attribute, tensor)
                slot = "raw" if layout is None else "weight"
                found.setdefault(id(tensor), []).append((module, slot, layout))
    return found


def _width(entry: Entry, owners: list[Owner], base_shape: tuple[int, ...], *, in_block: bool) -> TensorWidth:
    shape = entry.shape
    grown = {axis for axis, (here, there) in enumerate(zip(shape, base_shape, strict=True)) if here != there}
    module, slot, layout = owners[0] if owners else (None, "raw", None)
    inputs, outputs = _axes(module, layout, len(shape), raw=slot == "raw")
    if grown - inputs - outputs and len(grown) > 2:
        raise PlanError(
            f"The parameter grows along {len(grown)} axes from the base's {base_shape}: a weight has a width "
            "of inputs and one of outputs, and no more.",
            parameter=entry.name,
            shape=shape,
            fix="Let kernels and numbers of experts be those of the base.",
        )
    kind = _kind(grown, inputs, outputs, shape)
    if kind == "output" and in_block:
        kind = "hidden"
    field = [axis for axis in range(len(shape)) if axis not in inputs | outputs] if len(shape) > 1 else []
    window = math.prod(shape[axis] for axis in field) if layout is not None and not layout.batch_axis else 1

    def fan(of: tuple[int, ...], axes: set[int]) -> int:
        return math.prod(of[axis] for axis in axes) * window

    embedding = isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    return TensorWidth(
        kind,
        shape,
        base_shape,
        fan_in=1 if embedding else fan(shape, inputs),
        base_fan_in=1 if embedding else fan(base_shape, inputs),
        fan_out=fan(shape, outputs),
        base_fan_out=fan(base_shape, outputs),
        slot=slot,
        tied=_is_tied(owners),
    )


def _axes(
    module: nn.Module | None, layout: Layout | None, rank: int, *, raw: bool
) -> tuple[set[int], set[int]]:
    """The axes of inputs, and those of outputs."""
    if layout is not None and layout.in_axis is not None and layout.out_axis is not None:
        return {axis % rank for axis in layout.in_axis}, {axis % rank for axis in layout.out_axis}
    if rank < 2:
        return set(), set(range(rank))
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return {0}, {1}
    if raw:
        # A table of positions, a class token: rows of vectors.
        return ({1}, {0}) if rank == 2 else (set(range(rank - 1)), {rank - 1})
    if layout is not None and layout.transposed:
        return {0}, {1}
    return {1}, {0}


def _kind(grown: set[int], inputs: set[int], outputs: set[int], shape: tuple[int, ...]) -> Kind:
    if not grown:
        return "fixed"
    if len(shape) < 2:
        return "vector"
    into, out = bool(grown & inputs), bool(grown & outputs)
    if into and out:
        return "hidden"
    return "output" if into else "input"


def _is_tied(owners: list[Owner]) -> bool:
    """Whether an embedding is the weight of another layer too."""
    tables = [isinstance(module, (nn.Embedding, nn.EmbeddingBag)) for module, _, _ in owners]
    return any(tables) and not all(tables)


def _grown_heads(
    here: Shapes, base: Shapes, tensors: Mapping[str, TensorWidth]
) -> Iterator[tuple[str, int, int]]:
    """Attention modules with larger heads than in the base."""
    there = {template(name): pair for name, pair in base.heads.items()}
    for name, (heads, size) in here.heads.items():
        base_heads, base_size = base.heads.get(name) or there.get(template(name), (None, None))
        if size is not None and base_size is not None:
            if size > base_size:
                yield name, size, base_size
            continue
        inner = [
            each for key, each in tensors.items() if key.startswith(f"{name}.") and each.kind == "hidden"
        ]
        if heads is None or heads != base_heads or not inner:
            continue
        # The number of heads stayed, and what they share has grown.
        size, base_size = (
            min(min(each.fan_in, each.fan_out) for each in inner),
            min(min(each.base_fan_in, each.base_fan_out) for each in inner),
        )
        if size > base_size:
            yield name, size // heads, base_size // heads
