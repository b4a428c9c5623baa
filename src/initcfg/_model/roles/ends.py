"""Where a model begins and ends: stem, embeddings, positions, head; and its norms."""

from __future__ import annotations

from initcfg._model.roles.branches import Found, sources
from initcfg._model.roles.graph import NORMS, Paths
from initcfg._model.roles.residuals import Residual

_LOOKUPS = frozenset(["embedding", "_embedding_bag", "embedding_bag", "_embedding_bag_forward_only"])
# How much of a model must have run for its last layers to be its heads.
_MOST = 0.8
_COUNTING = frozenset(["arange", "cumsum"])
_TAKING = frozenset(["gather", "index", "index_select"])


def end_roles(paths: Paths, residuals: list[Residual], mixes: frozenset[int]) -> Found:
    """The roles outside of branches."""
    yield from _head(paths, residuals, mixes)
    for node in paths.nodes:
        if node.op in _LOOKUPS:
            counted = _is_counted(paths, node.inputs[1])
            for name in node.weights:
                yield ("position" if counted else "embedding"), name
        elif node.weights and paths.above[node.index] & paths.layers == paths.bits[node.index]:
            if _from_input(paths, node.index):
                for name in node.weights:
                    yield "stem", name
        elif node.op == "add" and node.data:
            yield from _added_positions(paths, node.index)


def norm_roles(paths: Paths) -> Found:
    """The weights and biases of norms."""
    for node in paths.nodes:
        if not node.data or not (own := sources(paths, node.index)):
            continue
        follows = any(_is_normalized(paths, each) for each in paths.data_inputs(node.index))
        if node.op in NORMS or (node.op in ("mul", "add") and follows):
            for name in own:
                yield "norm", name


def _is_normalized(paths: Paths, index: int) -> bool:
    """Whether a value was normalized, and at most scaled since then."""
    return any(paths.is_norm(each) for each in paths.plain(index)) and paths.nodes[index].op not in NORMS


def _head(paths: Paths, residuals: list[Residual], mixes: frozenset[int]) -> Found:
    adds = {each.add for each in residuals}
    for output in paths.graph.outputs:
        ends = paths.back(
            output, until=lambda node: bool(node.weights) or node.index in adds or node.index in mixes
        )
        for name in paths.names(ends):
            yield "head", name
    if not paths.graph.outputs and _ended_by_numbers(paths):
        for name in paths.names(_followed_by_none(paths)):
            yield "head", name


def _ended_by_numbers(paths: Paths) -> bool:
    """Whether a pass came to the end of its layers, and then to numbers that nothing on meta has.

    As a detector that picks its boxes.
    """
    broken = paths.graph.broken
    if not isinstance(broken, NotImplementedError) and "meta tensor" not in str(broken):
        return False
    matrices = {name for name, shape in paths.graph.shapes.items() if len(shape) > 1}
    used = {name for node in paths.nodes for name in node.weights}
    return len(used & matrices) >= _MOST * len(matrices)


def _followed_by_none(paths: Paths) -> list[int]:
    """The layers whose values no other layer takes."""
    layers = paths.with_bits(paths.layers)
    followed = 0
    for each in layers:
        followed |= paths.above[each] & ~paths.bits[each]
    return paths.with_bits(paths.layers & ~followed)


def _from_input(paths: Paths, layer: int) -> bool:
    """Whether a layer takes numbers of the input, and not only those that are learned."""
    return bool(paths.back(paths.input_of(layer), until=lambda node: node.op == "input" and node.floating))


def _is_counted(paths: Paths, index: int) -> bool:
    """Whether whole numbers are counted off, and so are positions."""
    waiting, seen = [index], set()
    while waiting and len(seen) < 200:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        node = paths.nodes[at]
        if node.op in _COUNTING or "position" in (node.name or ""):
            return True
        if not node.floating:
            # Of a table that is looked up, what is in it counts.
            waiting += node.inputs[:1] if node.op in _TAKING else node.inputs
    return False


def _added_positions(paths: Paths, add: int) -> Found:
    """Tables that are added to values: of two axes and more, and no biases of layers."""
    data = paths.data_inputs(add)
    if len(data) != 1 or any(_is_normalized(paths, each) for each in data):
        return
    layer = paths.nodes[paths.plain(data[0])[-1]]
    if layer.weights and layer.op in ("bmm", "_grouped_mm"):
        return
    for name in sources(paths, add):
        if sum(size > 1 for size in paths.graph.shapes[name]) > 1:
            yield "position", name
