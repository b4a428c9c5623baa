"""Attention's three projections: one fused tensor here and three there, or the other way round.

Only layouts are known where the rows of q, k and v lie one after another: what interleaves them by head
(``query_key_value`` of GPT-NeoX and BLOOM) has the same shape and another meaning, and is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from initcfg.values import AdaptationStep

Shape = tuple[int, ...]

# ``{}`` is "weight" or "bias".
_FUSED = ("qkv.{}", "in_proj_{}", "in_proj.{}", "qkv_proj.{}", "to_qkv.{}", "Wqkv.{}", "c_attn.{}")
_SPLIT = (
    ("q_proj.{}", "k_proj.{}", "v_proj.{}"),
    ("query.{}", "key.{}", "value.{}"),
    ("to_q.{}", "to_k.{}", "to_v.{}"),
    ("wq.{}", "wk.{}", "wv.{}"),
    ("q.{}", "k.{}", "v.{}"),
    ("q_proj_{}", "k_proj_{}", "v_proj_{}"),
)


def fused_from(
    name: str, shape: Shape, keys: Mapping[str, tuple[str, ...]], shape_of: Callable[[str], Shape]
) -> tuple[str, ...] | None:
    """The three names there that make the fused tensor ``name``; None if there are none."""
    for ending, role in _endings(name, _FUSED):
        base = name.removesuffix(ending)
        for triple in _SPLIT:
            parts = tuple(base + each.format(role) for each in triple)
            if all(len(keys.get(part, ())) == 1 for part in parts):
                shapes = [shape_of(keys[part][0]) for part in parts]
                rows = sum(each[0] for each in shapes if each)
                if all(each[1:] == shape[1:] for each in shapes) and rows == shape[0]:
                    return parts
    return None


def split_from(
    name: str,
    shapes: Mapping[str, Shape],
    keys: Mapping[str, tuple[str, ...]],
    shape_of: Callable[[str], Shape],
) -> tuple[str, tuple[AdaptationStep, ...]] | None:
    """The fused name there that holds ``name``, and the steps to take it out; None if there is none.

    Args:
        name: The tensor here.
        shapes: The shapes of all tensors here: those of its two sisters say where it lies.
        keys: By name, the keys there.
        shape_of: The shape of a key.
    """
    for triple in _SPLIT:
        for ending, role in _endings(name, triple):
            base = name.removesuffix(ending)
            sisters = [base + each.format(role) for each in triple]
            if not all(sister in shapes for sister in sisters):
                continue
            rows = [shapes[sister][0] for sister in sisters]
            place = sisters.index(name)
            narrow: AdaptationStep = ("narrow", sum(rows[:place]), rows[place])
            for each in _FUSED:
                fused = base + each.format(role)
                if len(keys.get(fused, ())) != 1:
                    continue
                there = shape_of(keys[fused][0])
                if there == (sum(rows), *shapes[name][1:]):
                    return fused, (narrow,)
                if each.startswith("c_attn") and there[::-1] == (sum(rows), *shapes[name][1:]):
                    # transformers' Conv1D lies on its side.
                    return fused, (("transpose",), narrow)
    return None


def _endings(name: str, forms: Sequence[str]) -> list[tuple[str, str]]:
    found = [(form.format(role), role) for form in forms for role in ("weight", "bias")]
    return [(ending, role) for ending, role in found if name == ending or name.endswith("." + ending)]
