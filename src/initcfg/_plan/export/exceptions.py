"""Exceptions: what the rules by class leave wrong, by the names of modules and of tensors."""

from __future__ import annotations

from functools import partial

from initcfg._plan.export.cells import Cell, Visit
from initcfg._plan.export.classes import best, options
from initcfg._plan.export.drafts import Draft, Labels, State, kind
from initcfg._plan.export.specs import Spec, Specs


def exception_drafts(state: State, specs: Specs, labels: Labels) -> list[Draft]:
    """Drafts after which nothing is wrong, carried out on ``state``."""
    return [*_by_module(state, specs, labels), *_by_tensor(state, specs)]


# -- modules -------------------------------------------------------------------------------------


def _by_module(state: State, specs: Specs, labels: Labels) -> list[Draft]:
    drafts: list[Draft] = []
    seen: set[Spec] = set()
    while True:
        groups: dict[Spec, list[Visit]] = {}
        for visit in state.view.visits:
            if any(cell.role == "weight" and _is_wrong(state, cell.tensor) for cell in visit.cells or ()):
                for spec in options(state, specs, visit, "weight") - seen:
                    groups.setdefault(spec, []).append(visit)
        for weight in sorted(groups, key=lambda spec: (-len(groups[spec]), spec.order)):
            draft = _module_draft(state, specs, labels, weight, groups[weight])
            if draft is None:
                seen.add(weight)
                continue
            before = len(state.wrong())
            state.run(draft)
            drafts.append(draft)
            if len(state.wrong()) == before:
                seen.add(weight)
            break
        else:
            return drafts


def _is_wrong(state: State, number: int) -> bool:
    return state.view.wanted[number] is not None and not state.right(number)


def _module_draft(
    state: State, specs: Specs, labels: Labels, weight: Spec, visits: list[Visit]
) -> Draft | None:
    """A rule with ``name`` for these modules; None where one with ``param`` says it as shortly."""
    bias = best(state, specs, visits, "bias", like=weight)
    if bias is not None:
        fitting = [
            visit for visit in visits if bias in options(state, specs, visit, "bias") or not _has_bias(visit)
        ]
        visits = fitting or visits
    cells = [cell for visit in visits for cell in visit.cells or ()]
    tensors = {cell.tensor for cell in cells if cell.role == "weight" and _is_wrong(state, cell.tensor)}
    mends_biases = any(cell.role == "bias" and _is_wrong(state, cell.tensor) for cell in cells)
    # With param it is plainer, unless the biases need a rule too, or a name says it with fewer patterns.
    alone = _tensor_patterns(state, weight, tensors)
    shortest = len(alone) + mends_biases if alone is not None else None
    if shortest == 1:
        return None
    found = _by_name(state, labels, weight, bias, visits)
    return None if found is None or (shortest is not None and shortest <= len(found.names)) else found


def _by_name(
    state: State, labels: Labels, weight: Spec, bias: Spec | None, visits: list[Visit]
) -> Draft | None:
    layers = list(dict.fromkeys(kind(visit) for visit in visits))
    choices: list[Draft] = []
    for classes in ([], layers):
        if labels.of(classes) is None:
            continue
        draft = Draft(weight, bias, classes)
        allowed, neutral = _harmless(state, draft)
        # Of some modules only one tensor is meant.
        wanted = sum(1 << visit.number for visit in visits) & allowed
        draft.names = state.view.module_names.cover(wanted, partial(int, allowed), neutral) or []
        if draft.names:
            choices.append(draft)
    # A class says more than numbers that begin at one.
    return min(choices, key=lambda draft: (len(draft.names), "[1-9]" in "".join(draft.names)), default=None)


def _has_bias(visit: Visit) -> bool:
    return any(cell.role == "bias" for cell in visit.cells or ())


def _harmless(state: State, draft: Draft) -> tuple[int, int]:
    """The modules that the draft may reach, and those that it does nothing to."""
    allowed = neutral = 0
    classes = set(draft.layers)
    for visit in state.view.visits:
        if classes and classes.isdisjoint(visit.cls.__mro__):
            neutral |= 1 << visit.number
        elif visit.cells is None:
            continue
        elif not any(draft.spec(cell.role) for cell in visit.cells):
            neutral |= 1 << visit.number
        elif all(_may_get(state, cell, draft.spec(cell.role)) for cell in visit.cells):
            allowed |= 1 << visit.number
    return allowed, neutral


def _may_get(state: State, cell: Cell, spec: Spec | None) -> bool:
    """Whether writing this does no harm: it is right, or what is there is wrong anyway."""
    if spec is None:
        return True
    wanted = state.view.wanted[cell.tensor]
    given = spec.gives(cell.layout)
    if given is None or wanted is None:
        return given is not None and cell.tensor in state.view.given
    return given == wanted or not state.right(cell.tensor)


# -- tensors -------------------------------------------------------------------------------------


def _by_tensor(state: State, specs: Specs) -> list[Draft]:
    view = state.view
    drafts: list[Draft] = []
    left = set(state.wrong())
    explained = {number: _explained(state, specs, number) for number in left}
    while left:
        groups: dict[Spec, set[int]] = {}
        for number in sorted(left):
            for spec in explained[number]:
                groups.setdefault(spec, set()).add(number)
        # The largest group first; of equal ones, that of the tensor that comes first.
        spec = min(groups, key=lambda spec: (-len(groups[spec]), min(groups[spec]), spec.order))
        tensors = groups[spec]
        draft = Draft(
            spec,
            params=_tensor_patterns(state, spec, {n for n in tensors if not view.is_buffer(n)}) or [],
            buffers=_tensor_patterns(state, spec, {n for n in tensors if view.is_buffer(n)}) or [],
        )
        if draft.params or draft.buffers:
            drafts.append(draft)
            state.run(draft)
        # What no pattern reaches alone is found by the check.
        left = {number for number in left if number not in tensors}
    return drafts


def _explained(state: State, specs: Specs, number: int) -> set[Spec]:
    wanted = state.view.wanted[number]
    assert wanted is not None
    common: set[Spec] | None = None
    for cell in state.view.single.get(number, ()):
        found = set(specs.explain(cell, wanted))
        common = found if common is None else common & found
    return common or {specs.as_value(wanted)}


def _tensor_patterns(state: State, spec: Spec, tensors: set[int]) -> list[str] | None:
    """Patterns for these tensors, which do no harm to others."""
    if not tensors:
        return None
    view = state.view
    buffers = view.is_buffer(min(tensors))
    index = view.buffer_names if buffers else view.parameter_names
    wanted = sum(1 << number for number in tensors)

    def allowed() -> int:
        return sum(
            1 << number
            for number, cells in view.single.items()
            if view.is_buffer(number) == buffers and all(_may_get(state, cell, spec) for cell in cells)
        )

    return index.cover(wanted, allowed)
