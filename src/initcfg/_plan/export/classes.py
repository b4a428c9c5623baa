"""Rules by class: for each class of layers what most of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from initcfg._plan.export.cells import Cell, Visit
from initcfg._plan.export.drafts import Draft, State, reached
from initcfg._plan.export.patterns import NameIndex
from initcfg._plan.export.specs import Spec

_MOST_EXCLUDES = 3

Classes = dict[type, list[Visit]]


def class_drafts(state: State) -> list[Draft]:
    """Drafts that give most tensors of most classes what they should have, carried out on ``state``."""
    by_class: Classes = {}
    for visit in state.view.visits:
        if visit.cells:
            by_class.setdefault(visit.kind, []).append(visit)
    drafts: list[Draft] = []
    for cls, visits in by_class.items():
        weight = best(state, visits, "weight")
        draft = Draft(weight, best(state, visits, "bias", like=weight), [cls])
        meant = sum(any(state.view.wanted[cell.tensor] is not None for cell in _cells(v)) for v in visits)
        if _sound(state, draft) and 2 * meant >= len(visits):
            drafts.append(draft)
    drafts = _sorted(_merged(drafts, by_class), by_class)
    _drop_classes(state, drafts, by_class)
    drafts = [draft for draft in drafts if draft.layers and _exclude(state, draft)]
    for draft in drafts:
        state.run(draft)
    return drafts


def _cells(visit: Visit) -> list[Cell]:
    return visit.cells or []


def best(state: State, visits: Iterable[Visit], slot: str, *, like: Spec | None = None) -> Spec | None:
    """The initializer that is right for most of these modules; None if no rule must reach them.

    ``like`` is taken if it is right for as many: that of the weights, which need not be said again.
    """
    counts: Counter[Spec] = Counter()
    for visit in visits:
        counts.update(options(state, visit, slot))
    if not counts:
        # Nothing says all tensors of a module: what says most of them.
        for visit in visits:
            for found in _explained(state, visit, slot):
                counts.update(found)
    again = like if like is not None and like.init.fills_bias else None
    return min(counts, key=lambda spec: (-counts[spec], spec is not again, spec.order), default=None)


def options(state: State, visit: Visit, slot: str) -> set[Spec]:
    """The initializers that are right for all the module's tensors of a slot."""
    found = _explained(state, visit, slot)
    return set.intersection(*found) if found else set()


def _explained(state: State, visit: Visit, slot: str) -> list[set[Spec]]:
    """For each tensor of a slot: the initializers that are right for it."""
    return [
        set(state.view.specs.explain(cell.layout, value))
        for cell in _cells(visit)
        if cell.slot == slot and (value := state.view.wanted[cell.tensor]) is not None
    ]


def _sound(state: State, draft: Draft) -> bool:
    """Whether the rule can be written, and says something."""
    if (draft.weight is None and draft.bias is None) or state.view.labels.of(draft.layers) is None:
        return False
    cls = draft.layers[0]
    return not any(visit.cells is None and issubclass(visit.cls, cls) for visit in state.view.visits)


def _merged(drafts: list[Draft], by_class: Classes) -> list[Draft]:
    """One draft for the classes that have the same initializers; a class without biases fits any."""
    merged: list[Draft] = []
    both = {"weight", "bias"}
    slots = {
        id(draft): {cell.slot for visit in by_class[draft.layers[0]] for cell in _cells(visit)}
        for draft in drafts
    }
    for draft in sorted(drafts, key=lambda draft: slots[id(draft)] != both):
        for other in merged:
            if all(draft.spec(slot) is other.spec(slot) for slot in slots[id(draft)]):
                other.layers += draft.layers
                break
        else:
            merged.append(draft)
    return merged


def _sorted(drafts: list[Draft], by_class: Classes) -> list[Draft]:
    """Those of many modules first, but a base class before what derives from it, and parts before wholes."""
    left = sorted(drafts, key=lambda draft: -sum(len(by_class[cls]) for cls in draft.layers))
    order: list[Draft] = []
    while left:
        free = (each for each in left if not any(_before(other, each, by_class) for other in left))
        order.append(next(free, left[0]))
        left.remove(order[-1])
    return order


def _before(one: Draft, other: Draft, by_class: Classes) -> bool:
    """Whether a class of ``other`` is a special case of one of ``one``, or sets tensors of a part of it."""
    if one is other:
        return False
    if any(issubclass(cls, base) and cls is not base for cls in other.layers for base in one.layers):
        return True
    inner = {id(visit.module) for cls in one.layers for visit in by_class[cls]}
    wholes = [
        visit
        for cls in other.layers
        for visit in by_class[cls][:1]
        if any("." in cell.name.removeprefix(f"{visit.name}.") for cell in _cells(visit))
    ]
    children = (child for visit in wholes for child in visit.module.modules() if child is not visit.module)
    return any(id(child) in inner for child in children)


def _drop_classes(state: State, drafts: list[Draft], by_class: Classes) -> None:
    """Leave out the classes that are right without, by a base class or as a part of something else."""
    fewest = _mistakes(state, drafts)
    for draft in drafts:
        for cls in sorted(draft.layers, key=lambda cls: len(by_class[cls])):
            kept = list(draft.layers)
            draft.layers = [each for each in kept if each is not cls]
            now = _mistakes(state, [each for each in drafts if each.layers])
            if now > fewest:
                draft.layers = kept
            else:
                fewest = now


def _mistakes(state: State, drafts: list[Draft]) -> int:
    trial = State(state.view)
    for draft in drafts:
        trial.run(draft)
    return trial.mistakes()


def _exclude(state: State, draft: Draft) -> bool:
    """Exclude what must not be reached; False if that takes more words than naming what is meant."""
    cells = [(cell, _is_out(state, cell, spec)) for cell, spec in reached(state.view, draft)]
    out = sum(1 << number for number, (_, is_out) in enumerate(cells) if is_out)
    if not out:
        return True
    index = NameIndex((cell.name, number) for number, (cell, _) in enumerate(cells))
    found = [each for each in (_modules_to_exclude(state, draft), index.cover(out)) if each is not None]
    draft.excludes = min(found, key=len, default=[])
    return 0 < len(draft.excludes) <= _MOST_EXCLUDES


def _is_out(state: State, cell: Cell, spec: Spec) -> bool:
    """Whether a rule must not reach a tensor: the plan leaves it alone, or the rule would be an error."""
    kept = state.view.wanted[cell.tensor] is None and cell.tensor not in state.view.given
    return kept or spec.gives(cell.layout) is None


def _modules_to_exclude(state: State, draft: Draft) -> list[str] | None:
    """Patterns for the modules that are to be excluded whole; None where only some tensors are."""
    out = neutral = 0
    for visit in state.view.visits:
        met = [
            _is_out(state, cell, spec)
            for cell in (_cells(visit) if draft.means(visit) else ())
            if (spec := draft.spec(cell.slot)) is not None
        ]
        if not met:
            neutral |= 1 << visit.number
        elif all(met):
            out |= 1 << visit.number
        elif any(met):
            return None
    return state.view.module_names.cover(out, neutral=neutral)
