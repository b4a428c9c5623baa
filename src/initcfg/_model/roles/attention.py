"""Attention: which layers make its queries, keys and values, and which takes what it gives."""

from __future__ import annotations

from dataclasses import dataclass

from initcfg._model.roles.graph import FUSED_ATTENTION, SOFTMAXES, Paths


@dataclass(frozen=True)
class Attention:
    """One use of attention: what mixes values, the layers of q, k and v, the number and size of heads."""

    mix: int
    query: tuple[int, ...]
    key: tuple[int, ...]
    value: tuple[int, ...]
    heads: int | None
    size: int | None = None


def attentions_of(paths: Paths) -> list[Attention]:
    """All attention in a graph, in its order."""
    found = []
    for node in paths.nodes:
        if not node.data:
            continue
        if node.op.startswith(FUSED_ATTENTION) and node.number == 0 and len(node.inputs) >= 3:
            query, key, value = (tuple(paths.last_layers(each)) for each in node.inputs[:3])
            shape = paths.nodes[node.inputs[0]].shape
            heads, size = (shape[-3], shape[-1]) if len(shape) > 3 else (None, None)
            found.append(Attention(node.index, query, key, value, heads, size))
        elif node.op == "bmm" and not node.weights:
            written_out = _written_out(paths, node.index)
            if written_out is not None:
                found.append(written_out)
    return found


def _written_out(paths: Paths, mix: int) -> Attention | None:
    """Attention as a product with the softmax of a product."""
    weighed = paths.attention_weights(mix)
    softmax = paths.softmax_of(weighed, mixed=True) if weighed is not None else None
    value = [each for each in paths.data_inputs(mix) if each != weighed]
    if softmax is None or not value:
        return None
    scores = _scores_of(paths, softmax)
    if scores is None:
        return None
    sides = paths.data_inputs(scores)
    query, key = (tuple(paths.last_layers(each)) for each in sides)
    heads = _heads(paths, softmax)
    size = None if heads is None else paths.nodes[sides[0]].shape[-1]
    return Attention(mix, query, key, tuple(paths.last_layers(value[0])), heads, size)


def _scores_of(paths: Paths, softmax: int) -> int | None:
    """The product of queries and keys; heads may be mixed by a layer on the way."""
    waiting, seen = list(paths.data_inputs(softmax)), set()
    while waiting:
        index = waiting.pop(0)
        if index in seen or paths.nodes[index].op in SOFTMAXES:
            continue
        seen.add(index)
        if paths.nodes[index].op == "bmm" and len(paths.data_inputs(index)) == 2:
            return index
        waiting += paths.data_inputs(index)
    return None


def _heads(paths: Paths, softmax: int) -> int | None:
    shape = paths.nodes[softmax].shape
    if len(shape) > 3:
        return shape[-3]
    batch = next((node.shape[0] for node in paths.nodes if node.op == "input" and node.shape), 0)
    if len(shape) == 3 and batch and shape[0] % batch == 0:
        return shape[0] // batch
    return None


def attention_roles(paths: Paths, attention: Attention) -> list[tuple[str, int]]:
    """The layers of q, k and v, each with its role; a layer of all three has one of its own."""
    sides = (attention.query, attention.key, attention.value)
    names = [frozenset(paths.names(each)) for each in sides]
    if names[0] and names[0] == names[1] == names[2]:
        return [("attn_qkv", each) for each in attention.query]
    roles = ("attn_q", "attn_k", "attn_v")
    return [(role, each) for role, side in zip(roles, sides, strict=True) for each in side]
