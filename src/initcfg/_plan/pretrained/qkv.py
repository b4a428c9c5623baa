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


def projections(
    name: str,
    shapes: Mapping[str, Shape],
    keys: Mapping[str, tuple[str, ...]],
    shape_of: Callable[[str], Shape],
) -> tuple[tuple[str, ...], tuple[AdaptationStep, ...]]:
    """The keys that a tensor of attention comes from, if any, and the steps that take it out of them.

    Of the ``shapes`` here, those of its two sisters say where it lies. ``keys`` are those there, by name.
    """

    def there(name: str) -> Shape | None:
        return shape_of(keys[name][0]) if len(keys.get(name, ())) == 1 else None

    three = _three_of(name, shapes[name], there)
    if three is not None:
        return tuple(keys[each][0] for each in three), ()
    fused, steps = _fused_of(name, shapes, there)
    return keys.get(fused, ()), steps


def _three_of(name: str, shape: Shape, there: Callable[[str], Shape | None]) -> list[str] | None:
    """The three names there that make the fused tensor ``name``."""
    for base, role in _bases(name, _FUSED):
        for triple in _SPLIT:
            three = [base + each.format(role) for each in triple]
            found = [each for each in map(there, three) if each is not None and each[1:] == shape[1:]]
            if len(found) == 3 and sum(each[0] for each in found if each) == shape[0]:
                return three
    return None


def _fused_of(
    name: str, shapes: Mapping[str, Shape], there: Callable[[str], Shape | None]
) -> tuple[str, tuple[AdaptationStep, ...]]:
    """The fused name there that holds ``name``, and the steps to take it out; an empty name if none does."""
    for triple in _SPLIT:
        for base, role in _bases(name, triple):
            sisters = [base + each.format(role) for each in triple]
            if not all(sister in shapes for sister in sisters):
                continue
            rows = [shapes[sister][0] for sister in sisters]
            index = sisters.index(name)
            narrow: AdaptationStep = ("narrow", sum(rows[:index]), rows[index])
            whole = (sum(rows), *shapes[name][1:])
            for each in _FUSED:
                fused = base + each.format(role)
                found = there(fused)
                if found == whole:
                    return fused, (narrow,)
                if each.startswith("c_attn") and found is not None and found[::-1] == whole:
                    # transformers' Conv1D lies on its side.
                    return fused, (("transpose",), narrow)
    return "", ()


def _bases(name: str, forms: Sequence[str]) -> list[tuple[str, str]]:
    """What stands before one of these forms in a name, with its role."""
    found = [(form.format(role), role) for form in forms for role in ("weight", "bias")]
    return [
        (name.removesuffix(ending), role)
        for ending, role in found
        if name == ending or name.endswith("." + ending)
    ]
