"""Rules by class: for each class of layers what most of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from initcfg._plan.export.cells import Cell, Visit
from initcfg._plan.export.drafts import Draft, Labels, State, kind, reached
from initcfg._plan.export.patterns import NameIndex
from initcfg._plan.export.specs import Spec, Specs

_MOST_EXCLUDES = 3


def class_drafts(state: State, specs: Specs, labels: Labels) -> list[Draft]:
    """Drafts that give most tensors of most classes what they should have, carried out on ``state``."""
    by_class: dict[type, list[Visit]] = {}
    for visit in state.view.visits:
        if visit.cells:
            by_class.setdefault(kind(visit), []).append(visit)
    drafts: list[Draft] = []
    for cls, visits in by_class.items():
        weight = best(state, specs, visits, "weight")
        made = Draft(weight, best(state, specs, visits, "bias", like=weight), [cls])
        if _sound(state, made, labels) and _worth(state, visits):
            drafts.append(made)
    drafts = _sorted(_merged(drafts, by_class), by_class)
    _drop_classes(state, drafts, by_class)
    drafts = [draft for draft in drafts if draft.layers and _exclude(state, draft)]
    for draft in drafts:
        state.run(draft)
    return drafts


def best(
    state: State, specs: Specs, visits: Iterable[Visit], role: str, *, like: Spec | None = None
) -> Spec | None:
    """The initializer that is right for most of these modules; None if no rule must reach them.

    Args:
        state: What there is.
        specs: The initializers.
        visits: The modules.
        role: Which of their tensors.
        like: What is taken if it is right for as many: that of the weights, which need not be said again.
    """
    counts: Counter[Spec] = Counter()
    for visit in visits:
        counts.update(options(state, specs, visit, role))
    if not counts:
        # Nothing says all tensors of a module: what says most of them.
        for visit in visits:
            for found in _explained(state, specs, visit, role):
                counts.update(found)
    again = like if like is not None and like.init.fills_bias else None
    return min(counts, key=lambda spec: (-counts[spec], spec is not again, spec.order), default=None)


def options(state: State, specs: Specs, visit: Visit, role: str) -> set[Spec]:
    """The initializers that are right for all the module's tensors of a role."""
    found = _explained(state, specs, visit, role)
    return set.intersection(*found) if found else set()


def _explained(state: State, specs: Specs, visit: Visit, role: str) -> list[set[Spec]]:
    """For each tensor of a role: the initializers that are right for it."""
    wanted = state.view.wanted
    return [
        set(specs.explain(cell, value))
        for cell in visit.cells or ()
        if cell.role == role and (value := wanted[cell.tensor]) is not None
    ]


def _sound(state: State, draft: Draft, labels: Labels) -> bool:
    """Whether the rule can be written, and says something."""
    if (draft.weight is None and draft.bias is None) or labels.of(draft.layers) is None:
        return False
    cls = draft.layers[0]
    return not any(visit.cells is None and issubclass(visit.cls, cls) for visit in state.view.visits)


def _worth(state: State, visits: Sequence[Visit]) -> bool:
    """Whether most modules of the class are meant at all."""
    wanted = state.view.wanted
    meant = sum(any(wanted[cell.tensor] is not None for cell in visit.cells or ()) for visit in visits)
    return 2 * meant >= len(visits)


def _merged(drafts: list[Draft], by_class: dict[type, list[Visit]]) -> list[Draft]:
    """One draft for the classes that have the same initializers; a class without biases fits any."""
    merged: list[Draft] = []
    for loose in (False, True):
        for draft in drafts:
            roles = {cell.role for visit in by_class[draft.layers[0]] for cell in visit.cells or ()}
            if (roles != {"weight", "bias"}) != loose:
                continue
            for other in merged:
                same = all(draft.spec(role) is other.spec(role) for role in roles)
                if same:
                    other.layers += draft.layers
                    break
            else:
                merged.append(draft)
    return merged


def _sorted(drafts: list[Draft], by_class: dict[type, list[Visit]]) -> list[Draft]:
    """Those of many modules first, but a base class before what derives from it, and parts before wholes."""
    drafts = sorted(drafts, key=lambda draft: -sum(len(by_class[cls]) for cls in draft.layers))
    order: list[Draft] = []
    left = list(drafts)
    while left:
        free = [
            draft
            for draft in left
            if not any(_before(each, draft, by_class) for each in left if each is not draft)
        ]
        taken = (free or left)[0]
        order.append(taken)
        left.remove(taken)
    return order


def _before(one: Draft, other: Draft, by_class: dict[type, list[Visit]]) -> bool:
    """Whether a class of ``other`` is a special case of one of ``one``, or sets tensors of a part of it."""
    if any(issubclass(cls, base) and cls is not base for cls in other.layers for base in one.layers):
        return True
    inner = {id(visit.module) for cls in one.layers for visit in by_class[cls]}
    return any(
        id(child) in inner
        for cls in other.layers
        for visit in by_class[cls][:1]
        if any("." in cell.name.removeprefix(f"{visit.name}.") for cell in visit.cells or ())
        for child in visit.module.modules()
        if child is not visit.module
    )


def _drop_classes(state: State, drafts: list[Draft], by_class: dict[type, list[Visit]]) -> None:
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
    return len(trial.wrong()) + len(trial.forbidden())


def _exclude(state: State, draft: Draft) -> bool:
    """Exclude what must not be reached; False if that takes more words than naming what is meant."""
    cells = [(cell, _is_out(state, cell, spec)) for _, cell, spec in reached(state.view, draft)]
    out = sum(1 << number for number, (_, is_out) in enumerate(cells) if is_out)
    if not out:
        return True
    index = NameIndex((cell.name, number) for number, (cell, _) in enumerate(cells))
    patterns = index.cover(out)
    modules = _modules_to_exclude(state, draft)
    if modules is not None and (patterns is None or len(modules) <= len(patterns)):
        patterns = modules
    if patterns is None or len(patterns) > _MOST_EXCLUDES:
        return False
    draft.excludes = patterns
    return True


def _is_out(state: State, cell: Cell, spec: Spec | None) -> bool:
    """Whether a rule must not reach a tensor: nobody writes it in the plan, or the rule would be an error."""
    if spec is None:
        return False
    kept = state.view.wanted[cell.tensor] is None and cell.tensor not in state.view.given
    return kept or spec.gives(cell.layout) is None


def _modules_to_exclude(state: State, draft: Draft) -> list[str] | None:
    """Patterns for the modules that are to be excluded whole; None where only some tensors are."""
    classes = set(draft.layers)
    out = neutral = 0
    for visit in state.view.visits:
        met = [
            _is_out(state, cell, draft.spec(cell.role))
            for cell in visit.cells or ()
            if draft.spec(cell.role) is not None and not classes.isdisjoint(visit.cls.__mro__)
        ]
        if not met:
            neutral |= 1 << visit.number
        elif all(met):
            out |= 1 << visit.number
        elif any(met):
            return None
    return state.view.module_names.cover(out, neutral=neutral)
