"""Roles as they are seen: from the graph of one forward pass to what each tensor does in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from initcfg._model.roles.attention import attention_roles, attentions_of
from initcfg._model.roles.blocks import blocks_of
from initcfg._model.roles.branches import Branch, takes_mix
from initcfg._model.roles.ends import end_roles, norm_roles
from initcfg._model.roles.facts import ROLE_NAMES, Roles, TensorRole, in_stack
from initcfg._model.roles.graph import BATCH_NORMS, NORMS, VIEWS, Paths
from initcfg._model.roles.operations import Graph
from initcfg._model.roles.residuals import Residual, residuals_of
from initcfg.errors import plural

_CHANNELS_FIRST = ("convolution",)


def roles_in(graph: Graph, names: Iterable[str]) -> Roles:
    """The roles in the graph of a model whose parameters have these ``names``."""
    paths = Paths(graph)
    attentions = attentions_of(paths)
    mixes = frozenset(each.mix for each in attentions)
    residuals = residuals_of(paths, mixes)
    found: dict[str, dict[str, None]] = {}
    heads: dict[str, tuple[int, int | None]] = {}
    projections: set[int] = set()

    def put(role: str, name: str) -> None:
        found.setdefault(name, {})[role] = None

    for attention in attentions:
        for role, layer in attention_roles(paths, attention):
            projections.add(layer)
            for name in paths.names([layer]):
                put(role, name)
                if attention.heads is not None:
                    heads.setdefault(name, (attention.heads, attention.size))
    branches = [Branch(paths, each, mixes, frozenset(projections)) for each in residuals]
    outer = [each for each in branches if not each.residual.inner]
    for branch in outer:
        for role, name in branch.roles():
            put(role, name)
    for node in paths.nodes:
        if node.weights and takes_mix(paths, node.index, mixes):
            for name in node.weights:
                put("attn_out", name)
    for role, name in (*end_roles(paths, residuals, mixes), *norm_roles(paths)):
        put(role, name)
    outs = {each.residual.add: paths.names(each.outs) for each in outer}
    names = list(names)
    inherited = _inherit(paths, found, names)
    inside = {each.residual.add: [name for _, name in each.roles()] for each in outer}
    blocks = blocks_of(paths, [each.residual for each in outer], outs, inside, names)
    tensors = {
        name: in_stack(
            TensorRole(
                tuple(sorted(found.get(name, ()), key=ROLE_NAMES.index)),
                "seen",
                blocks.of_tensors.get(name),
                heads.get(name, (None, None))[0],
                head_size=heads.get(name, (None, None))[1],
            ),
            blocks.stacks,
            blocks.stack_of.get(name),
        )
        for name in names
        if name in found or name in blocks.of_tensors
    }
    width = _width(paths, outer)
    notes = _notes(paths, outer, tensors, inherited)
    layers = sum(each.layers or 0 for each in blocks.stacks)
    return Roles(tensors, layers or None, len(outer) or None, width, notes, blocks.stacks)


def _width(paths: Paths, branches: list[Branch]) -> int | None:
    """The width of the residual stream, if it is one."""
    found = set()
    for branch in branches:
        shape = paths.nodes[branch.residual.add].shape
        if len(shape) == 4:
            layer = next((paths.nodes[each] for each in branch.outs), None)
            first = layer is None or layer.op in _CHANNELS_FIRST
            found.add(shape[1] if first else shape[-1])
        elif shape:
            found.add(shape[-1])
    return found.pop() if len(found) == 1 else None


def _notes(
    paths: Paths, branches: list[Branch], tensors: Mapping[str, TensorRole], inherited: int
) -> tuple[str, ...]:
    order = _order_of_norms(paths, [each.residual for each in branches])
    notes = [order] if order is not None else []
    if any({"head", "embedding"} <= {*each.roles} for each in tensors.values()):
        notes.append("head tied to the embedding")
    if paths.graph.broken is not None:
        notes.append(f"seen as far as forward came, which raised {_in_short(paths.graph.broken)}")
    if inherited:
        notes.append(f"{plural(inherited, 'tensor')} that no data reached: as their siblings")
    return tuple(notes)


def _in_short(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:120]}"


def _order_of_norms(paths: Paths, residuals: list[Residual]) -> str | None:
    """Whether norms stand before branches, or behind adds."""
    before = sum(_meets_norm(paths, each.start) for each in residuals)
    if 2 * before > len(residuals):
        return "pre-norm"
    behind = sum(_meets_norm(paths, each.add, only=True) for each in residuals)
    return "post-norm" if 2 * behind > len(residuals) else None


def _meets_norm(paths: Paths, index: int, *, only: bool = False) -> bool:
    """Whether a value goes into a norm of its features, or into nothing else."""
    waiting, met, others = [index], False, False
    while waiting:
        for use in paths.users[waiting.pop()]:
            node = paths.nodes[use]
            if node.op in VIEWS:
                waiting.append(use)
            elif node.op in NORMS - BATCH_NORMS or (paths.is_norm(use) and node.op not in NORMS):
                met = True
            elif node.op != "pow":
                # A norm that is written out takes squares as well.
                others = True
    return met and not (only and others)


def _inherit(paths: Paths, found: dict[str, dict[str, None]], names: list[str]) -> int:
    """Members of a list that no data reached, as experts that nothing chose, have their siblings' roles."""
    ran = {name for name, _ in paths.graph.places}
    count = 0
    by_pattern: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    shapes = paths.graph.shapes
    for name in names:
        if name in found:
            for pattern in _patterns(name):
                by_pattern.setdefault((pattern, shapes[name]), []).append(name)
    for name in names:
        if name not in found and name.rpartition(".")[0] not in ran:
            siblings = [
                each for pattern in _patterns(name) for each in by_pattern.get((pattern, shapes[name]), ())
            ]
            if siblings:
                found[name] = dict(found[siblings[0]])
                count += 1
    return count


def _patterns(name: str) -> list[str]:
    """The name with each of its numbers left open, the innermost first."""
    parts = name.split(".")
    places = [place for place, part in enumerate(parts) if part[-1:].isdecimal()]
    open_ = {place: parts[place].rstrip("0123456789") + "*" for place in places}
    return [".".join([*parts[:place], open_[place], *parts[place + 1 :]]) for place in reversed(places)]
