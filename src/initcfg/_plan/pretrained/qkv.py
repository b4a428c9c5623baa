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

# The projection behind them, and what attention is called.
_OUTPUT = ("out_proj.{}", "proj.{}", "o_proj.{}", "to_out.0.{}", "to_out.{}", "c_proj.{}", "wo.{}")
_MODULES = ("attn", "self_attn", "self_attention", "attention")


def projections(
    name: str, shapes: Mapping[str, Shape], there: Callable[[str], Shape | None]
) -> tuple[tuple[str, ...], tuple[AdaptationStep, ...]]:
    """The names there that a tensor of attention comes from, if any, and the steps that take it out of them.

    Of the ``shapes`` here, those of its two sisters say where it lies; ``there`` gives the shapes there.
    """
    three, _ = _three_of(name, shapes[name], there)
    if three:
        return tuple(three), (("concat",),)
    fused, steps, _ = _fused_of(name, shapes, there)
    return ((fused,), steps) if fused else _output_of(name, shapes, there)


def lacking_projections(name: str, shape: Shape, there: Callable[[str], Shape | None]) -> str | None:
    """Which of three projections that would make a fused tensor are not there, if one or two of them are."""
    for base, slot in _bases(name, _FUSED):
        for other in _other_bases(base):
            for triple in _SPLIT:
                three = [other + each.format(slot) for each in triple]
                found = [each for each in three if (size := there(each)) and size[1:] == shape[1:]]
                if 0 < len(found) < len(three):
                    gone = ", ".join(repr(each) for each in three if each not in found)
                    return f"the checkpoint has {', '.join(map(repr, found))} and no {gone}"
    return None


def _three_of(name: str, shape: Shape, there: Callable[[str], Shape | None]) -> tuple[list[str], str]:
    """The three names there that make the fused tensor ``name``, and what stands before them."""
    for base, slot in _bases(name, _FUSED):
        for other in _other_bases(base):
            for triple in _SPLIT:
                three = [other + each.format(slot) for each in triple]
                found = [each for each in map(there, three) if each is not None and each[1:] == shape[1:]]
                if len(found) == 3 and sum(each[0] for each in found if each) == shape[0]:
                    return three, other
    return [], ""


def _fused_of(
    name: str, shapes: Mapping[str, Shape], there: Callable[[str], Shape | None]
) -> tuple[str, tuple[AdaptationStep, ...], str]:
    """The fused name there that holds ``name``, the steps to take it out, and what stands before it.

    An empty name if none does.
    """
    for base, slot in _bases(name, _FUSED):
        if len(shapes[name]) in (1, 2):
            for other, form in _fused_forms(base, slot):
                if other + form != name and there(other + form) == shapes[name]:
                    # The same tensor, under another name for it.
                    return other + form, (), other
    for triple in _SPLIT:
        for base, slot in _bases(name, triple):
            sisters = [base + each.format(slot) for each in triple]
            if not all(sister in shapes for sister in sisters):
                continue
            rows = [shapes[sister][0] for sister in sisters]
            index = sisters.index(name)
            narrow: AdaptationStep = ("narrow", sum(rows[:index]), rows[index])
            whole = (sum(rows), *shapes[name][1:])
            for other, form in _fused_forms(base, slot):
                found = there(other + form)
                if found == whole:
                    return other + form, (narrow,), other
                if form.startswith("c_attn") and found is not None and found[::-1] == whole:
                    # transformers' Conv1D lies on its side.
                    return other + form, (("transpose",), narrow), other
    return "", (), ""


def _output_of(
    name: str, shapes: Mapping[str, Shape], there: Callable[[str], Shape | None]
) -> tuple[tuple[str, ...], tuple[AdaptationStep, ...]]:
    """The projection behind attention, which has another name where the three before it have."""
    for base, slot in _bases(name, _OUTPUT):
        before, steps = _place_of_sister(base, shapes, there)
        for form in _OUTPUT if before else ():
            other = before + form.format(slot)
            turned = bool(steps) and steps[0][0] == "transpose" and slot == "weight"
            shape = shapes[name][::-1] if turned else shapes[name]
            if other != name and there(other) == shape:
                return (other,), (("transpose",),) if turned else ()
    return (), ()


def _place_of_sister(
    base: str, shapes: Mapping[str, Shape], there: Callable[[str], Shape | None]
) -> tuple[str, tuple[AdaptationStep, ...]]:
    """What stands before attention's first projections there, where they are converted; and how."""
    for form in (*_FUSED, *(triple[0] for triple in _SPLIT)):
        sister = base + form.format("weight")
        if sister not in shapes:
            continue
        if there(sister) is not None:
            return base, ()
        three, other = _three_of(sister, shapes[sister], there)
        if three:
            return other, ()
        fused, steps, other = _fused_of(sister, shapes, there)
        if fused:
            return other, steps
    return "", ()


def _fused_forms(base: str, slot: str) -> list[tuple[str, str]]:
    return [(other, form.format(slot)) for other in _other_bases(base) for form in _FUSED]


def _other_bases(base: str) -> list[str]:
    """What may stand before the projections there: a module more or less around them, or its other name."""
    parts = base.split(".")[:-1]
    inside = bool(parts) and parts[-1] in _MODULES
    shorter = parts[:-1] if inside else parts
    found = [parts, shorter, *([*parts, each] for each in _MODULES)]
    for each in (parts, shorter) if inside else ():
        if each and each[-1] in _MODULES:
            found += [[*each[:-1], other] for other in _MODULES]
    return list(dict.fromkeys("".join(part + "." for part in each) for each in found))


def _bases(name: str, forms: Sequence[str]) -> list[tuple[str, str]]:
    """What stands before one of these forms in a name, with its slot."""
    found = [(form.format(slot), slot) for form in forms for slot in ("weight", "bias")]
    return [
        (name.removesuffix(ending), slot)
        for ending, slot in found
        if name == ending or name.endswith("." + ending)
    ]
