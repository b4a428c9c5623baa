"""What rules can reach in a model: modules in the order of the walk, their tensors, what each is to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import nn

from initcfg._model import Names, Target, child_items, named_tensors, targets
from initcfg._plan.assignment import Assignment
from initcfg._plan.export.patterns import NameIndex
from initcfg._plan.plan import Plan
from initcfg._rules.initializers import torch_default
from initcfg.errors import InitcfgError, PlanError
from initcfg.values import Computed, Keep, Layout, Opaque, Value


@dataclass(frozen=True, eq=False)
class Cell:
    """A tensor as one module shows it to a rule.

    Attributes:
        tensor: Number of the tensor.
        role: ``"weight"`` or ``"bias"``.
        layout: What an initializer is given, with what torch's own layer does, where that is known.
        name: Qualified name within the module.
    """

    tensor: int
    role: str
    layout: Layout
    name: str


@dataclass(eq=False)
class Visit:
    """A module where the walk comes by.

    Attributes:
        number: Place in the list of visits.
        name: Canonical name on this way.
        module: The module.
        cells: What a rule that means the module writes; None if such a rule is an error.
        within: The visits at and below this one, as a range.
    """

    number: int
    name: str
    module: nn.Module
    cells: list[Cell] | None
    within: range = range(0)

    @property
    def cls(self) -> type[nn.Module]:
        """Class of the module."""
        return type(self.module)


@dataclass(eq=False)
class View:
    """A model and its plan, as the search for rules sees them.

    Attributes:
        model: The root.
        names: Its tensors.
        assignments: By number of the tensor; None for a buffer that the plan does not assign.
        wanted: By number: the value that rules must give; None if they must not reach it.
        visits: The modules, each before those below it.
        order: Numbers of the visits in the order in which the walk writes.
        single: By number: the cells by which ``param`` or ``buffer`` write the tensor.
        given: Tensors that are not looked at: a checkpoint fills them over all else.
    """

    model: nn.Module
    names: Names
    assignments: list[Assignment | None]
    wanted: list[Value | None]
    visits: list[Visit] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    single: dict[int, list[Cell]] = field(default_factory=dict)
    given: frozenset[int] = frozenset()

    @cached_property
    def parameter_names(self) -> NameIndex:
        """What ``param`` matches."""
        return NameIndex(
            (cell.name, number)
            for number, cells in self.single.items()
            if not self.is_buffer(number)
            for cell in cells
        )

    @cached_property
    def buffer_names(self) -> NameIndex:
        """What ``buffer`` matches."""
        return NameIndex(
            (cell.name, number)
            for number, cells in self.single.items()
            if self.is_buffer(number)
            for cell in cells
        )

    @cached_property
    def module_names(self) -> NameIndex:
        """What ``name`` matches, with all that is below."""
        return NameIndex(((visit.name, visit.number) for visit in self.visits), below=True)

    def is_buffer(self, number: int) -> bool:
        """Whether a tensor is a buffer."""
        return self._entries[number].buffer

    def canonical(self, number: int) -> str:
        """Name of a tensor in the plan."""
        return self._entries[number].name

    @cached_property
    def _entries(self) -> list[Any]:
        return [*self.names.parameters, *self.names.buffers]


def view_of(plan: Plan, model: nn.Module) -> View:
    """The model as the plan sees it.

    Raises:
        PlanError: The plan is for another model.
    """
    names = named_tensors(model)
    assignments: list[Assignment | None] = []
    for entry in names.parameters:
        found = plan.parameters.get(entry.name)
        if found is None:
            raise PlanError(
                "The plan does not know this parameter of the model.", parameter=entry.name, shape=entry.shape
            )
        assignments.append(found)
    assignments += [plan.buffers.get(entry.name) for entry in names.buffers]
    entries = [*names.parameters, *names.buffers]
    for entry, found in zip(entries, assignments, strict=True):
        if found is not None and found.shape != entry.shape:
            raise PlanError(
                f"The plan has the shape {found.shape} for this parameter.",
                parameter=entry.name,
                shape=entry.shape,
            )
    missing = {*plan.parameters, *plan.buffers} - {entry.name for entry in entries}
    if missing:
        raise PlanError("The model has no such tensor.", parameter=min(missing))
    wanted = [None if item is None else _wanted(item.value) for item in assignments]
    view = View(model, names, assignments, wanted)
    _Walk(view, entries).visit(model, "")
    return view


def _wanted(value: Value) -> Value | None:
    """What rules must give: nothing where no rule did, or where only code says what."""
    return None if isinstance(value, (Keep, Computed, Opaque)) else value


class _Walk:
    """The planner's walk, noting what could be written."""

    def __init__(self, view: View, entries: list[Any]) -> None:
        self.view = view
        self.numbers = {id(tensor): number for number, entry in enumerate(entries) for tensor in entry.stored}
        self.entries = entries
        self.targets: dict[int, list[Target] | None] = {}
        self.defaults: dict[tuple[int, str], Value | None] = {}

    def visit(self, module: nn.Module, name: str) -> None:
        view = self.view
        number = len(view.visits)
        found = self._targets(module)
        cells = None if found is None else [self._cell(module, name, target) for target in found]
        if cells is not None and any(self.entries[cell.tensor].one_way for cell in cells):
            cells = None
        visit = Visit(number, name, module, cells)
        view.visits.append(visit)
        for child_name, child in child_items(module, name):
            self.visit(child, child_name)
        visit.within = range(number, len(view.visits))
        view.order.append(number)
        self._note_single(module, name, found or [])

    def _targets(self, module: nn.Module) -> list[Target] | None:
        if id(module) not in self.targets:
            try:
                self.targets[id(module)] = targets(module)
            except InitcfgError:
                self.targets[id(module)] = None
        return self.targets[id(module)]

    def _cell(self, module: nn.Module, prefix: str, target: Target) -> Cell:
        number = self.numbers[id(target.tensor)]
        entry, layout = self.entries[number], target.layout
        meaning: dict[str, Any] = {}
        if entry.holder is not None and entry.shape != layout.shape:
            meaning["shape"] = entry.shape
        if entry.padding_index is not None:
            meaning["padding_index"] = entry.padding_index
        default = self._default(module, target.attribute, meaning.get("shape", layout.shape))
        if default is not None:
            meaning["default"] = default
        name = f"{prefix}.{target.attribute}" if prefix else target.attribute
        return Cell(number, target.role, replace(layout, **meaning) if meaning else layout, name)

    def _default(self, module: nn.Module, attribute: str, shape: tuple[int, ...]) -> Value | None:
        key = (id(module), attribute)
        if key not in self.defaults:
            try:
                self.defaults[key] = torch_default(module, attribute, shape)
            except (InitcfgError, AttributeError, IndexError):
                self.defaults[key] = None
        return self.defaults[key]

    def _note_single(self, module: nn.Module, prefix: str, found: list[Target]) -> None:
        known: Mapping[int, Target] = {id(target.tensor): target for target in found}
        for attribute, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is None:
                continue
            number = self.numbers[id(tensor)]
            entry = self.entries[number]
            layout = known[id(tensor)].layout if id(tensor) in known else Layout(tuple(tensor.shape))
            cell = self._cell(module, prefix, Target(tensor, "weight", layout, attribute))
            if entry.holder is not None:
                cell = replace(cell, name=entry.name)
            self.view.single.setdefault(number, []).append(cell)
