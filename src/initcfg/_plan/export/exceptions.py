"""Exceptions: what the rules by class leave wrong, by the names of modules and of tensors."""

from __future__ import annotations

from functools import partial

from initcfg._plan.export.cells import Cell, Visit
from initcfg._plan.export.classes import best, options
from initcfg._plan.export.drafts import Draft, State
from initcfg._plan.export.specs import Spec


def exception_drafts(state: State) -> list[Draft]:
    """Drafts after which nothing is wrong, carried out on ``state``."""
    return [*_by_module(state), *_by_tensor(state)]


def _by_module(state: State) -> list[Draft]:
    drafts: list[Draft] = []
    seen: set[Spec] = set()
    while True:
        groups: dict[Spec, list[Visit]] = {}
        for visit in state.view.visits:
            if _wrong_cells(state, [visit], "weight"):
                for spec in options(state, visit, "weight") - seen:
                    groups.setdefault(spec, []).append(visit)
        for weight in sorted(groups, key=lambda spec: (-len(groups[spec]), spec.order)):
            draft = _module_draft(state, weight, groups[weight])
            before = len(state.wrong())
            if draft is not None:
                state.run(draft)
                drafts.append(draft)
            if len(state.wrong()) == before:
                seen.add(weight)
            if draft is not None:
                break
        else:
            return drafts


def _wrong_cells(state: State, visits: list[Visit], slot: str) -> list[Cell]:
    cells = [cell for visit in visits for cell in visit.cells or () if cell.slot == slot]
    return [cell for cell in cells if state.is_wrong(cell.tensor)]


def _module_draft(state: State, weight: Spec, visits: list[Visit]) -> Draft | None:
    """A rule with ``name`` for these modules; None where one with ``param`` says it as shortly."""
    bias = best(state, visits, "bias", like=weight)
    if bias is not None:
        fitting = [
            visit
            for visit in visits
            if bias in options(state, visit, "bias") or all(cell.slot != "bias" for cell in visit.cells or ())
        ]
        visits = fitting or visits
    # With param it is plainer, unless the biases need a rule too, or a name says it with fewer patterns.
    alone = _tensor_patterns(state, weight, {cell.tensor for cell in _wrong_cells(state, visits, "weight")})
    mends_biases = bool(_wrong_cells(state, visits, "bias"))
    shortest = None if alone is None else len(alone) + mends_biases
    found = None if shortest == 1 else _by_name(state, weight, bias, visits)
    return None if found is None or (shortest is not None and shortest <= len(found.names)) else found


def _by_name(state: State, weight: Spec, bias: Spec | None, visits: list[Visit]) -> Draft | None:
    layers = list(dict.fromkeys(visit.kind for visit in visits))
    choices: list[Draft] = []
    for classes in ([], layers):
        if state.view.labels.of(classes) is None:
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


def _harmless(state: State, draft: Draft) -> tuple[int, int]:
    """The modules that the draft may reach, and those that it does nothing to."""
    allowed = neutral = 0
    for visit in state.view.visits:
        bit = 1 << visit.number
        if not draft.means(visit):
            neutral |= bit
        elif visit.cells is None:
            continue
        elif not any(draft.spec(cell.slot) for cell in visit.cells):
            neutral |= bit
        elif all(_may_get(state, cell, draft.spec(cell.slot)) for cell in visit.cells):
            allowed |= bit
    return allowed, neutral


def _may_get(state: State, cell: Cell, spec: Spec | None) -> bool:
    """Whether writing this does no harm: it is right, or what is there is wrong anyway."""
    if spec is None:
        return True
    wanted = state.view.wanted[cell.tensor]
    given = spec.gives(cell.layout)
    if given is None or wanted is None:
        return given is not None and cell.tensor in state.view.given
    return given == wanted or state.is_wrong(cell.tensor)


def _by_tensor(state: State) -> list[Draft]:
    drafts: list[Draft] = []
    left = set(state.wrong())
    explained = {number: _explained(state, number) for number in left}
    while left:
        groups: dict[Spec, set[int]] = {}
        for number in sorted(left):
            for spec in explained[number]:
                groups.setdefault(spec, set()).add(number)
        # The largest group first; of equal ones, that of the tensor that comes first.
        spec = min(groups, key=lambda spec: (-len(groups[spec]), min(groups[spec]), spec.order))
        buffers = {number for number in groups[spec] if state.view.is_buffer(number)}
        draft = Draft(
            spec,
            params=_tensor_patterns(state, spec, groups[spec] - buffers) or [],
            buffers=_tensor_patterns(state, spec, buffers) or [],
        )
        if draft.params or draft.buffers:
            drafts.append(draft)
            state.run(draft)
        # What no pattern reaches alone is found by the check.
        left -= groups[spec]
    return drafts


def _explained(state: State, number: int) -> set[Spec]:
    """The initializers that are right for a tensor, whichever of its modules shows it."""
    wanted, specs = state.view.wanted[number], state.view.specs
    assert wanted is not None
    found = [set(specs.explain(cell.layout, wanted)) for cell in state.view.single.get(number, ())]
    return (set.intersection(*found) if found else set()) or {specs.as_value(wanted)}


def _tensor_patterns(state: State, spec: Spec, tensors: set[int]) -> list[str] | None:
    """Patterns for these tensors, which do no harm to others."""
    if not tensors:
        return None
    view = state.view
    buffers = view.is_buffer(min(tensors))

    def allowed() -> int:
        return sum(
            1 << number
            for number, cells in view.single.items()
            if view.is_buffer(number) == buffers and all(_may_get(state, cell, spec) for cell in cells)
        )

    index = view.buffer_names if buffers else view.parameter_names
    return index.cover(sum(1 << number for number in tensors), allowed)
