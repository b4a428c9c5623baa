"""What rules can reach in a model, and by which class: modules in the order of the walk, their tensors."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import nn

from initcfg._model import Entry, Names, Node, Target, buffers_of, children_of, named_tensors, parameters_of
from initcfg._plan.assignment import Assignment
from initcfg._plan.export.patterns import NameIndex
from initcfg._plan.export.specs import Specs
from initcfg._plan.plan import Plan
from initcfg._plan.planner import Reach, name_in, walk_modules
from initcfg._rules import dotted
from initcfg._rules.initializers import torch_default
from initcfg.errors import InitcfgError, PlanError
from initcfg.values import Computed, Keep, Layout, Opaque, Value


@dataclass(frozen=True, eq=False)
class Cell:
    """A tensor, by its number, as one module shows it to a rule."""

    tensor: int
    slot: str
    # What an initializer is given, with what torch's own layer does, where that is known.
    layout: Layout
    name: str


@dataclass(frozen=True, eq=False)
class Visit:
    """A module where the walk comes by, with its canonical name on this way."""

    number: int
    name: str
    module: nn.Module
    # What a rule that means the module writes; None if such a rule is an error.
    cells: list[Cell] | None

    @property
    def cls(self) -> type[nn.Module]:
        return type(self.module)

    @property
    def kind(self) -> type:
        """The class by which rules know the module."""
        made = "parametrizations" in children_of(self.module) and self.cls.__name__.startswith("Parametrized")
        return self.cls.__mro__[1] if made else self.cls


class Labels:
    """The names by which rules can mean the classes of a model, those of its modules that hold tensors."""

    def __init__(self, classes: Iterable[type]) -> None:
        self._classes = set(classes)
        # By name and by path: the classes that a rule means by it, those derived from it too.
        self._meant: defaultdict[str, set[type]] = defaultdict(set)
        for cls in self._classes:
            for base in cls.__mro__[:-1]:
                self._meant[base.__name__].add(cls)
                self._meant[dotted(base)].add(cls)

    def of(self, layers: Iterable[type]) -> list[str] | None:
        """Names that together mean these classes, and what derives from them; None if there are none."""
        meant = self._derived(layers)
        found: dict[str, set[type]] = {}
        for cls in layers:
            name, path = cls.__name__, dotted(cls)
            if self._meant.get(name, meant) <= meant:
                found[name] = self._meant.get(name, set())
            elif self._meant.get(path) == self._derived([cls]):
                found[f"torch.nn.{name}" if getattr(nn, name, None) is cls else path] = self._meant[path]
            else:
                return None
        for name in list(found):
            if found[name] <= set().union(*(each for other, each in found.items() if other != name)):
                del found[name]
        return list(found)

    def _derived(self, layers: Iterable[type]) -> set[type]:
        bases = tuple(layers)
        return {cls for cls in self._classes if issubclass(cls, bases)}


@dataclass(eq=False)
class View:
    """A model and its plan, as the search for rules sees them.

    Attributes:
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
    def labels(self) -> Labels:
        return Labels(visit.kind for visit in self.visits if visit.cells != [])

    @cached_property
    def specs(self) -> Specs:
        """The initializers that may be of use: those that rules name, then those of constructors."""
        items = [item for item in self.assignments if item is not None]
        defaults = [item.default.initializer for item in items if item.default is not None]
        return Specs([*(item.initializer for item in items), *defaults])

    @cached_property
    def parameter_names(self) -> NameIndex:
        return self._index(buffers=False)

    @cached_property
    def buffer_names(self) -> NameIndex:
        return self._index(buffers=True)

    @cached_property
    def module_names(self) -> NameIndex:
        """What ``name`` matches, with all that is below."""
        return NameIndex(((visit.name, visit.number) for visit in self.visits), below=True)

    def _index(self, *, buffers: bool) -> NameIndex:
        numbers = [number for number in self.single if self.is_buffer(number) == buffers]
        return NameIndex((cell.name, number) for number in numbers for cell in self.single[number])

    def is_buffer(self, number: int) -> bool:
        return self._entries[number].buffer

    def canonical(self, number: int) -> str:
        """Name of a tensor in the plan."""
        return self._entries[number].name

    @cached_property
    def _entries(self) -> list[Entry]:
        return [*self.names.parameters, *self.names.buffers]


def view_of(plan: Plan, model: nn.Module) -> View:
    """The model as the plan sees it."""
    names = named_tensors(model)
    entries = [*names.parameters, *names.buffers]
    assignments: list[Assignment | None] = []
    for entry in entries:
        found = (plan.buffers if entry.buffer else plan.parameters).get(entry.name)
        problem = "" if found or entry.buffer else "The plan does not know this parameter of the model."
        if found is not None and found.shape != entry.shape:
            problem = f"The plan has the shape {found.shape} for this parameter."
        if problem:
            raise PlanError(problem, parameter=entry.name, shape=entry.shape)
        assignments.append(found)
    missing = {*plan.parameters, *plan.buffers} - {entry.name for entry in entries}
    if missing:
        raise PlanError("The model has no such tensor.", parameter=min(missing))
    # Nothing where no rule gave a value, or where only code says what.
    wanted = [
        None if item is None or isinstance(item.value, (Keep, Computed, Opaque)) else item.value
        for item in assignments
    ]
    view = View(model, names, assignments, wanted)
    notes = _VisitRecorder(view, entries)
    walk_modules(names.tree, None, notes.enter, notes.leave)
    return view


class _VisitRecorder:
    """Notes on the planner's walk what could be written."""

    def __init__(self, view: View, entries: list[Entry]) -> None:
        self._view = view
        self._entries = entries
        self._numbers = {
            id(tensor): number for number, entry in enumerate(entries) for tensor in entry.stored
        }
        self._reach = Reach(view.names, compat=False)

    def enter(self, node: Node, _: Visit | None) -> Visit:
        module, name = node.module, node.name
        try:
            cells = [self._cell(module, name, target) for target in self._reach.targets(module)]
        except InitcfgError:
            cells = None
        if cells is not None and any(self._entries[cell.tensor].one_way for cell in cells):
            cells = None
        visit = Visit(len(self._view.visits), name, module, cells)
        self._view.visits.append(visit)
        return visit

    def leave(self, node: Node, visit: Visit | None) -> None:
        module, name = node.module, node.name
        assert visit is not None
        self._view.order.append(visit.number)
        for attribute, tensor in [*parameters_of(module).items(), *buffers_of(module).items()]:
            if tensor is not None and id(tensor) in self._numbers:
                cell = self._cell(module, name, self._reach.single(module, attribute, tensor))
                entry = self._entries[cell.tensor]
                if entry.holder is not None:
                    cell = replace(cell, name=entry.name)
                self._view.single.setdefault(cell.tensor, []).append(cell)

    def _cell(self, module: nn.Module, prefix: str, target: Target) -> Cell:
        number = self._numbers[id(target.tensor)]
        layout = self._reach.layout(target, self._entries[number])
        with contextlib.suppress(InitcfgError, AttributeError, IndexError):
            layout = replace(layout, default=torch_default(module, target.attribute, layout.shape))
        return Cell(number, target.slot, layout, name_in(prefix, target.attribute))
