"""Residual adds: where what a branch computed is added to what it was given."""

from __future__ import annotations

from dataclasses import dataclass, replace

from initcfg._model.roles.graph import ACTIVATIONS, BATCH_NORMS, FUSED_ATTENTION, NORMS, SOFTMAXES, Paths


@dataclass(frozen=True)
class Residual:
    """An add of a branch to its skip.

    Attributes:
        add: The node that adds.
        branch: What the branch computed.
        skip: What it is added to.
        start: The value that both come from.
        shortcut: Whether a layer of its own lies on the skip.
        inner: Whether it is part of the branch of another.
    """

    add: int
    branch: int
    skip: int
    start: int
    shortcut: bool = False
    inner: bool = False


def residuals_of(paths: Paths, mixes: frozenset[int] = frozenset()) -> list[Residual]:
    """The residual adds of a graph, in their order; ``mixes`` are the nodes where attention mixes values."""
    scores = _scores(paths)
    carries = _carrying(paths)
    skips: dict[int, int] = {}
    found: list[Residual] = []
    undecided: list[tuple[int, int, int]] = []
    for node in paths.nodes:
        data = [each for each in node.inputs if paths.nodes[each].data or each in paths.seeds]
        if node.op not in ("add", "sub") or len(data) != 2 or data[0] == data[1] or not node.floating:
            continue
        first, second = data
        same = paths.nodes[first].shape == paths.nodes[second].shape
        if not same or node.index in scores or (not carries[node.index] and _asks_itself(paths, node.index)):
            continue
        residual = _identity(paths, node.index, first, second, skips)
        if residual is not None and residual.skip in paths.seeds and _has_begun(paths, residual, found):
            residual = None
        elif residual is not None:
            found.append(residual)
            skips[node.index] = residual.skip
        elif node.op == "add":
            undecided.append((node.index, first, second))
    ends = [each for each in found if not _adds_to_mix(paths, each, mixes)]
    projected = [each for args in undecided if (each := _projected(paths, *args, ends)) is not None]
    outer = found + projected
    projected = [each for each in projected if not _within_another(paths, each, outer)]
    together = sorted(found + projected, key=lambda each: each.add)
    return [_marked(paths, each, together, mixes) for each in together]


def _scores(paths: Paths) -> set[int]:
    """Nodes that end up in a softmax without passing a layer: adds there make scores, not a stream."""
    found: set[int] = set()
    waiting = [each for node in paths.nodes if node.op in SOFTMAXES and node.data for each in node.inputs]
    while waiting:
        index = waiting.pop()
        node = paths.nodes[index]
        if index in found or node.weights or not node.data or node.op == "bmm":
            continue
        found.add(index)
        waiting += node.inputs
    return found


def _asks_itself(paths: Paths, add: int) -> bool:
    """Whether all attention that takes an add for its scores has it within its own module.

    Else it is a block of a part that makes queries for others, as GCViT's global ones.
    """
    place = paths.graph.places[paths.nodes[add].place][0]
    waiting, seen = [add], {add}
    while waiting:
        for use in paths.users[waiting.pop()]:
            node = paths.nodes[use]
            if use in seen:
                continue
            seen.add(use)
            if node.op in SOFTMAXES or node.op.startswith(FUSED_ATTENTION):
                module = paths.graph.places[node.place][0]
                if module and module != place and not place.startswith(f"{module}."):
                    return False
            else:
                waiting.append(use)
    return True


def _has_begun(paths: Paths, residual: Residual, found: list[Residual]) -> bool:
    """Whether what is no data is added to a stream that has begun, as positions are in each block."""
    return any(
        paths.depends(residual.branch, each.add) and paths.depends(each.add, residual.skip) for each in found
    )


def _carrying(paths: Paths) -> list[bool]:
    """Of each node whether its value comes to an end of the graph, and not only into attention's scores."""
    found = [True] * len(paths.nodes)
    values: dict[int, list[int]] = {}
    for node in reversed(paths.nodes):
        if node.op == "bmm" or node.op.startswith(FUSED_ATTENTION):
            values[node.index] = paths.values(node.index)
        users = paths.users[node.index]
        if users:
            found[node.index] = any(
                found[use] and (use not in values or node.index in values[use]) for use in users
            )
        elif node.number:
            # What a kernel keeps for its backward pass.
            found[node.index] = False
    return found


def _identity(paths: Paths, add: int, first: int, second: int, skips: dict[int, int]) -> Residual | None:
    """A residual add whose skip has no layer: the branch depends on what the skip is, or was."""
    nearest: tuple[int, Residual] | None = None
    # What is subtracted from is the skip; f(x) - x is how far something is off.
    taken = paths.nodes[add].op == "sub"
    for skip, branch in ((first, second), (second, first))[: 1 if taken else 2]:
        own = paths.above[branch] & ~paths.above[skip] & paths.layers
        if not own:
            continue
        for steps, start in enumerate(_stream(paths, skip, skips)):
            between = paths.with_bits(paths.layers_between(branch, start))
            if paths.depends(branch, start) and any(paths.depends(each, start) for each in between):
                if nearest is None or steps < nearest[0]:
                    nearest = steps, Residual(add, branch, skip, start)
                break
    return nearest[1] if nearest is not None else None


def _stream(paths: Paths, skip: int, skips: dict[int, int]) -> list[int]:
    """What a skip is and was before other branches were added to it."""
    found: list[int] = []
    at: int | None = skip
    while at is not None:
        # In a pass in eval mode, a batch norm scales (RepVGG).
        chain = paths.plain(at, also=BATCH_NORMS)
        found += chain
        at = skips.get(chain[-1])
    return found


def _projected(paths: Paths, add: int, first: int, second: int, found: list[Residual]) -> Residual | None:
    """A residual add with one layer on its skip, as where a ResNet changes its width."""
    adds = 0
    for each in found:
        adds |= paths.bits[each.add]
    for skip, branch in ((first, second), (second, first)):
        own = paths.above[skip] & ~paths.above[branch] & paths.layers
        line = _line(paths, skip, own)
        # What mixes no channels is as a pool.
        if not line or sum(not paths.is_depthwise(each) for each in line) > 1:
            continue
        given = paths.input_of(line[0])
        starts = [each for at in given for each in paths.plain(at, also=NORMS | ACTIVATIONS)]
        for start in starts:
            if not paths.depends(branch, start) or not paths.nodes[start].floating:
                continue
            between = paths.above[branch] & ~paths.above[start] & paths.layers
            fed = all(paths.depends(each, start) for each in paths.with_bits(between))
            in_turn = any(
                paths.above[each] & between & ~paths.bits[each] for each in paths.with_bits(between)
            )
            if not in_turn or not fed or paths.upsamples(branch, start):
                break
            if paths.above[branch] & ~paths.above[start] & adds:
                # Where whole blocks lie between, features of two depths are merged, as in a pyramid.
                break
            return Residual(add, branch, skip, start, shortcut=True)
    return None


def _line(paths: Paths, skip: int, own: int) -> list[int]:
    """The layers of a skip in their order, if each takes what the one before gives; else none."""
    found: list[int] = []
    layers = paths.last_layers(skip)
    while layers:
        layers = [each for each in layers if paths.bits[each] & own]
        if len(layers) > 1:
            return []
        found = [*layers, *found]
        layers = paths.last_layers(paths.input_of(layers[0])) if layers else []
    return found if len(found) == own.bit_count() else []


def _within_another(paths: Paths, residual: Residual, all_of_them: list[Residual]) -> bool:
    """Whether an add lies in the branch of another, and is fed by what that one's skip is."""
    return any(_is_within(paths, residual, each) for each in all_of_them)


def _is_within(paths: Paths, residual: Residual, other: Residual) -> bool:
    if other.add == residual.add:
        return False
    in_branch = paths.above[other.branch] & ~paths.above[other.skip] & paths.bits[residual.add]
    return bool(in_branch) and paths.depends(residual.add, other.start)


def _marked(paths: Paths, residual: Residual, all_of_them: list[Residual], mixes: frozenset[int]) -> Residual:
    """An add within another's branch may be no end of one of its own.

    Its skip is scaled, as the D of a state space is, or no layer takes what attention gave, as where queries
    are added to it.
    """
    scaled = any(paths.nodes[each].op in ("mul", "div") for each in paths.plain(residual.skip))
    mixed = _adds_to_mix(paths, residual, mixes)
    if (scaled or mixed) and _within_another(paths, residual, all_of_them):
        return replace(residual, inner=True)
    return residual


def _adds_to_mix(paths: Paths, residual: Residual, mixes: frozenset[int]) -> bool:
    """Whether the branch is what attention gave, and no layer took that."""
    nearest = paths.back(residual.branch, until=lambda node: bool(node.weights) or node.index in mixes)
    return any(each in mixes for each in nearest)
