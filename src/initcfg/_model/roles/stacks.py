"""Stacks: which residual adds one stream goes through."""

from __future__ import annotations

from initcfg._model.roles.graph import FUSED_ATTENTION, Paths
from initcfg._model.roles.operations import Node
from initcfg._model.roles.residuals import Residual


def streams_of(paths: Paths, adds: list[Residual]) -> list[list[Residual]]:
    """The adds that are joined along their skips, in their order: never through what a branch computed."""
    of_add = {each.add: number for number, each in enumerate(adds)}
    streams = list(range(len(adds)))

    def stops(node: Node) -> bool:
        return node.index in of_add or _asks_anew(paths, node)

    for number, each in enumerate(adds):
        met, passed = paths.walk(each.skip, until=stops)
        if not any(node in of_add for node in met):
            # A learned token that is joined to a stream goes on in it (CaiT's class attention).
            joins = [use for node in passed for use in paths.users[node] if paths.nodes[use].op == "cat"]
            met = paths.back(joins, until=stops)
        for node in met:
            if node in of_add:
                one, other = streams[number], streams[of_add[node]]
                streams = [other if stream == one else stream for stream in streams]
    joined: dict[int, list[Residual]] = {}
    for number, each in enumerate(adds):
        joined.setdefault(streams[number], []).append(each)
    return list(joined.values())


def _asks_anew(paths: Paths, node: Node) -> bool:
    """Whether learned queries look at a stream: what they get is the start of another (DETR's decoder)."""
    return node.op.startswith(FUSED_ATTENTION) and not paths.nodes[node.inputs[0]].data
