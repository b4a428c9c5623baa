"""The planner's walk: once over the module tree, each rule writes what it reaches.

Down the tree goes a context: the steps that are active here, with a memory of which of them match
which class. Up come writes: (step, tensor, value). In the end the writes of each tensor are put in
the program's order; the last wins, the others are its shadowed ones. Nothing is read from a tensor
but its shape, and no random number is drawn. All that is found out stands in the walk: model and
program are as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter, itemgetter

import torch
from torch import nn

from initcfg._model import (
    LAZY,
    RUN_ONE_BATCH,
    Entry,
    Holding,
    Likeness,
    Names,
    Node,
    Target,
    buffers_of,
    declares_layouts,
    parameters_of,
    relative_name,
)
from initcfg._plan.assignment import Shadowed
from initcfg._plan.planner.context import Context, Steps
from initcfg._plan.planner.hits import PatternHits
from initcfg._plan.planner.numbers import NOTHING_GIVEN, Known, ModelNumbers, RoleRequest, check_roles
from initcfg._plan.planner.reach import Reach, name_in
from initcfg._plan.planner.writes import (
    asking_of,
    in_context,
    initializer_of,
    last_rule,
    limits,
    one_way,
    parametrized_remarks,
    write_of,
)
from initcfg._plan.stacks import Row, Stack, Stacks
from initcfg._rules import Program, Rule, Step, check_layer_names
from initcfg._rules.initializers import torch_default
from initcfg.errors import (
    InitcfgError,
    LazyParameterError,
    OverrideTargetError,
)
from initcfg.values import Keep, Layout, Opaque

Told = tuple[tuple[int, Known], ...]
"""For a tensor: by the place of a step that scales, the numbers that it asks for."""

# By the identity of a layout, which is kept beside, slot and type.
_Alike = dict[tuple[int, str, torch.dtype], tuple[Layout, Stack | None]]
_NOT_ASKED: Row = ((-1, Stack((), (), Layout(()))),)


class RuleWalk:
    """The walk over one model with one program.

    Attributes:
        compat: Write what the original writes, and no more.
        stacks: What was written.
        notes: Remarks on rules.
        used: Places in the program of the steps that write anything.
        tunes: By tensor: multipliers that a rule gives it which leaves its value, and the place of that rule.
    """

    def __init__(
        self,
        model: nn.Module,
        program: Program,
        names: Names,
        *,
        compat: bool,
        roles: RoleRequest = NOTHING_GIVEN,
    ) -> None:
        self.model = model
        self.program = program
        self.names = names
        self.compat = compat
        self.stacks = Stacks(len(names.holdings))
        self.notes: list[str] = []
        self.used: set[int] = set()
        # Tensors that a rule's function has to be run on, and whether each is a bias: by step and module.
        self.functions: dict[tuple[int, str], dict[str, bool]] = {}
        self.tunes: dict[str, tuple[int, Mapping[str, float | str]]] = {}
        self.numbers = ModelNumbers(model, roles)
        self._reach = Reach(names, compat=compat)
        self._hits = PatternHits(names)
        self._starting: dict[int, list[Step]] = {}
        self._started: set[int] = set()
        self._excluding = {step for step in program.steps if step.rule is not None and step.rule.excludes}
        self._scaling = {
            step for step in program.steps if step.rule is not None and step.rule.scales(step.rule.filler)
        }
        # What was made once serves all tensors that are alike. Steps stand by the identity of their tuple.
        self._interned: dict[Steps, Steps] = {}
        self._asking: dict[tuple[int, bool], Rule | None] = {}
        self._alike: dict[int, _Alike | None] = {}
        self._targets_of: dict[int, list[tuple[int, Target]] | None] = {}
        self._rows: dict[tuple[int, int], Row | None] = {}
        # Of equal layouts one is kept, and its identity stands for it.
        self._layouts: dict[Layout, Layout] = {}
        self._made: dict[tuple[int, bool, int, Told], Stack | None] = {}
        self._writes: dict[tuple[int, bool, int, Known], Shadowed] = {}
        self._within_limits: set[tuple[int, torch.dtype]] = set()

    def run(self) -> None:
        """Go over the model."""
        for step in self.program.steps:
            rule = step.rule
            if rule is not None:
                if rule.layers and not self.compat and rule.scheme is None:
                    check_layer_names(rule.layers, self.model, rule)
                for initializer in (rule.weight, rule.bias):
                    notes = initializer.notes() if initializer is not None else ()
                    self.notes += [f"{rule.where}: {note}" for note in notes]
            if step.kind == "pretrained":
                continue
            if not isinstance(step.target, nn.Module):
                # An override that names a bare parameter.
                assert rule is not None and rule.override_name is not None
                target = self._reach.single(step.owner, rule.override_name, step.target)
                self._write(self._intern((step,)), target, step.owner_name, step.owner, bias=False)
            elif step.kind == "rule" and not step.whole and rule is not None and not rule.selects:
                # It holds overrides, which are steps of their own.
                continue
            elif id(step.target) in self.names.modules:
                self._starting.setdefault(id(step.target), []).append(step)
            else:
                assert rule is not None
                raise OverrideTargetError(
                    f"The override names {rule.override_name!r}, a module that is not a part of this model.",
                    fix="Register it as a submodule, or plan the whole model.",
                    rule=str(rule),
                    where=rule.place,
                )
        for idle in self.program.idle:
            # A rule that does not run is to be right all the same.
            if idle.rule is not None and idle.rule.layers and not self.compat and idle.rule.scheme is None:
                check_layer_names(idle.rule.layers, self.model, idle.rule)
        root = Context()
        self._go(self.names.tree, root)
        root.close()
        self._hits.check(self.program, self.used)
        check_roles(self.program, self.numbers, type(self.model).__name__)

    def _go(self, node: Node, context: Context) -> None:
        """See :func:`walk_modules`."""
        module, name, children, _ = node
        if id(module) in self._starting:
            context = self._enter(node, context)
        elif context.pending:
            context = context.named(name, self._start_named)
        for child in children:
            self._go(child, context)
        self._leave(node, context)

    def _enter(self, node: Node, context: Context) -> Context:
        # A shared module is walked again under its other names, but its own rules run once.
        fresh = [step for step in self._starting[id(node.module)] if step.order not in self._started]
        self._started.update(step.order for step in fresh)
        named = [step for step in fresh if step.rule is not None and step.rule.names]
        context = context.with_steps([step for step in fresh if step not in named]) if fresh else context
        if named:
            context = context.with_pending(named)
        return self._start_named(node.name, context) if context.pending else context

    def _start_named(self, name: str, context: Context) -> Context:
        started = [
            step
            for step in context.pending
            if (relative := relative_name(name, step.owner_name)) is not None
            and self._hits.matches(step, "name", relative)
            # Once active, a rule is not started again further down.
            and step.order not in context.active
        ]
        return context.with_steps(started) if started else context

    def _leave(self, node: Node, context: Context) -> None:
        module, name, _, holding = node
        if self.names.lazy:
            self._check_lazy_layer(module, name, context)
        if holding is not None and (like := holding.like) is not None:
            row = context.rows.get(like, _NOT_ASKED)
            if row is _NOT_ASKED:
                row = context.rows[like] = self._row_of(holding, like, name, context.matching(like.cls))
            if row:
                self.stacks.add_layer(holding, row)
            elif row is None:
                self._write_layer(module, name, context.matching(like.cls))
        elif steps := context.matching(type(module)):
            self._write_layer(module, name, steps)
        for step in context.opaque:
            self._write_opaque(step, module)
        for step in context.tensor:
            self._write_matching(step, module, name)

    def _row_of(self, holding: Holding, like: Likeness, name: str, steps: Steps) -> Row | None:
        """What these steps write to all layers that are alike; None where more than that decides."""
        if not steps:
            return ()
        key = id(steps), id(like)
        if key not in self._rows:
            apart = self._alike_of(steps) is None
            self._rows[key] = None if apart else self._row(holding, like, name, steps)
        return self._rows[key]

    def _row(self, holding: Holding, like: Likeness, name: str, steps: Steps) -> Row | None:
        """What these steps write to a layer; None where more than its likeness decides."""
        module = holding.module
        if id(like) not in self._targets_of:
            places = {id(tensor): place for place, tensor in enumerate(holding.tensors)}
            targets = [(places.get(id(each.tensor), -1), each) for each in self._targets(module, name, steps)]
            apart = declares_layouts(like.cls) or any(place < 0 for place, _ in targets)
            self._targets_of[id(like)] = None if apart else targets
        targets = self._targets_of[id(like)]
        if targets is None:
            return None
        row: list[tuple[int, Stack]] = []
        for place, target in targets:
            stack = self._stack_for(steps, target, None, name, module, bias=target.slot == "bias")
            if stack is not None:
                if stack.has_code:
                    return None
                row.append((place, stack))
        return tuple(row)

    def _targets(self, module: nn.Module, name: str, steps: Steps) -> list[Target]:
        try:
            return self._reach.targets(module)
        except InitcfgError as error:
            raise in_context(error, steps[0].rule, name or type(module).__name__) from None

    def _write_layer(self, module: nn.Module, name: str, steps: Steps) -> None:
        alike, entries = self._alike_of(steps), self.names.entries
        for target in self._targets(module, name, steps):
            tensor, slot, layout, _ = target
            entry = entries.get(id(tensor))
            key = None
            if alike is not None and entry is not None and entry.holder is entry.padding_index is None:
                key = id(layout), slot, tensor.dtype
                if (known := alike.get(key)) is not None:
                    if known[1] is not None:
                        self.stacks.add(entry, known[1])
                    continue
            meant = self._not_excluded(steps, name_in(name, target.attribute))
            stack = self._write(meant, target, name, module, bias=slot == "bias") if meant else None
            if alike is not None and key is not None and not (stack and stack.has_code):
                alike[key] = layout, stack

    def _alike_of(self, steps: Steps) -> _Alike | None:
        """What these steps wrote, where nothing but layout, slot and type of a tensor decides on it."""
        if id(steps) not in self._alike:
            asking = asking_of(steps, True) or asking_of(steps, False)
            apart = asking or not (self._excluding.isdisjoint(steps) and self._scaling.isdisjoint(steps))
            self._alike[id(steps)] = None if apart else {}
        return self._alike[id(steps)]

    def _check_lazy_layer(self, module: nn.Module, name: str, context: Context) -> None:
        """A rule by layer must not mean a lazy layer, nor the class that it becomes with the first batch."""
        held, becomes = parameters_of(module), getattr(module, "cls_to_become", None)
        for slot in ("weight", "bias"):
            if id(held.get(slot)) in self.names.lazy:
                for cls in filter(None, (type(module), None if self.compat else becomes)):
                    for step in self._not_excluded(context.matching(cls), name_in(name, slot)):
                        self._check_lazy(held[slot], step.rule)

    def _not_excluded(self, steps: Steps, full: str) -> Steps:
        """Those of the steps that do not exclude the tensor of this name."""
        if self._excluding.isdisjoint(steps):
            return steps
        kept = (step for step in steps if step not in self._excluding or not self._hits.excluded(step, full))
        return self._intern(tuple(kept))

    def _write_opaque(self, step: Step, module: nn.Module) -> None:
        """The user's code may write every parameter."""
        path = ".".join(filter(None, ("model", step.owner_name, "init_weights")))
        initializer = None
        if step.rule is not None:
            path, initializer = step.rule.where, step.rule.initializer("weight")
        write = Shadowed(path, Opaque(step.code, Keep()), initializer)
        for tensor in parameters_of(module).values():
            if tensor is not None and id(tensor) not in self.names.lazy:
                entry = self.names.of(tensor)
                self.stacks.add(entry, Stack((step.order,), (write,), Layout(entry.shape)))

    def _write_matching(self, step: Step, module: nn.Module, prefix: str) -> None:
        """A rule by ``param`` or ``buffer`` writes the tensors that match."""
        rule = step.rule
        assert rule is not None
        if rule.layers and not rule.layers.matches(type(module)):
            return
        for key, patterns, tensors in (
            ("param", rule.params or rule.roles, parameters_of(module)),
            ("buffer", rule.buffers, buffers_of(module)),
        ):
            for attribute, tensor in tensors.items() if patterns else ():
                if tensor is None:
                    continue
                entry = None if id(tensor) in self.names.lazy else self.names.of(tensor)
                full = entry.name if entry is not None and entry.holder else name_in(prefix, attribute)
                relative = relative_name(full, step.owner_name) or full
                if self._means(step, rule, key, relative, full) and not self._hits.excluded(step, full):
                    self._check_lazy(tensor, rule)
                    target = self._reach.single(module, attribute, tensor)
                    self._write(self._intern((step,)), target, prefix, module, bias=False)

    def _means(self, step: Step, rule: Rule, key: str, relative: str, full: str) -> bool:
        """Whether a rule that selects one by one means this tensor: by its name, and by its role."""
        if (rule.buffers if key == "buffer" else rule.params) and not self._hits.matches(step, key, relative):
            return False
        if not rule.roles:
            return True
        role = self.numbers.role_of(full)
        return role is not None and any(
            pattern.matches(each) for pattern in rule.roles for each in role.roles
        )

    def _check_lazy(self, tensor: torch.Tensor | None, rule: Rule | None) -> None:
        """A tensor of a lazy layer has no shape yet, so no rule can mean it."""
        name = self.names.lazy.get(id(tensor))
        if name is not None:
            raise in_context(LazyParameterError(LAZY, fix=RUN_ONE_BATCH), rule, name)

    def _intern(self, steps: Steps) -> Steps:
        """The one tuple that stands for all equal ones."""
        return self._interned.setdefault(steps, steps)

    def _write(
        self, steps: Steps, target: Target, prefix: str, module: nn.Module, *, bias: bool
    ) -> Stack | None:
        """One tensor gets the stack of these steps."""
        entry = self.names.entries.get(id(target.tensor))
        stack = self._stack_for(steps, target, entry, prefix, module, bias=bias)
        if stack is None:
            return None
        if entry is None or (entry.holder is not None and self.compat):
            # The original writes the computed weight, which is not kept.
            self.stacks.add_outside(target.tensor, stack)
            return stack
        if entry.holder is not None:
            self.notes += parametrized_remarks(entry.name, *entry.holder)
        if entry.one_way is not None:
            raise in_context(one_way(entry.one_way), last_rule(steps, bias), entry.name, entry.shape)
        self.stacks.add(entry, stack)
        for order, write in zip(stack.orders, stack.writes, strict=True):
            if isinstance(write.value, Opaque):
                # A function whose writes are no value: it runs on this tensor when the plan is applied.
                self.functions.setdefault((order, self.names.modules[id(module)]), {})[target.attribute] = (
                    bias
                )
        return stack

    def _stack_for(
        self,
        steps: Steps,
        target: Target,
        entry: Entry | None,
        prefix: str,
        module: nn.Module,
        *,
        bias: bool,
    ) -> Stack | None:
        """What these steps write to a tensor; None if nothing."""
        tensor = target.tensor
        layout = self._reach.layout(target, entry)
        means = (id(steps), bias)
        if means not in self._asking:
            self._asking[means] = asking_of(steps, bias)
        if asking := self._asking[means]:
            try:
                default = torch_default(module, target.attribute, layout.shape)
            except InitcfgError as error:
                name = name_in(prefix, target.attribute)
                raise in_context(error, asking, name, layout.shape) from None
            layout = replace(layout, default=default)
        name = name_in(prefix, target.attribute)
        told = () if self._scaling.isdisjoint(steps) else self._told(steps, entry, layout, name, bias=bias)
        if told and entry is not None:
            self._tune(entry, dict(told), steps)
        layout = self._layouts.setdefault(layout, layout)
        key = (*means, id(layout), told)
        if key not in self._made:
            self._made[key] = self._stack(steps, layout, name, told, bias=bias)
        stack = self._made[key]
        if stack is not None and (id(stack), tensor.dtype) not in self._within_limits:
            self.notes += limits(stack, tensor.dtype, steps, name, bias=bias, compat=self.compat)
            self._within_limits.add((id(stack), tensor.dtype))
        return stack

    def _told(self, steps: Steps, entry: Entry | None, layout: Layout, name: str, *, bias: bool) -> Told:
        """The numbers of this tensor that its rules ask for."""
        told: list[tuple[int, Known]] = []
        for step in steps:
            rule = step.rule
            if rule is not None and rule.scales(initializer_of(rule, bias)):
                here = replace(layout, **rule.axes) if rule.axes else layout
                full = name if entry is None else entry.name
                try:
                    told.append((step.order, self.numbers.known(step, rule, full, here)))
                except InitcfgError as error:
                    raise in_context(error, rule, full, layout.shape) from None
        return tuple(told)

    def _tune(self, entry: Entry, told: Mapping[int, Known], steps: Steps) -> None:
        """Keep what rules say that write nothing, but for multipliers; the last one wins."""
        for step in steps:
            rule = step.rule
            if rule is not None and rule.filler is None and rule.tunes:
                try:
                    tune = rule.tuned(dict(told[step.order]))
                except InitcfgError as error:
                    raise in_context(error, rule, entry.name, entry.shape) from None
                self.used.add(step.order)
                self.tunes[entry.name] = max(
                    self.tunes.get(entry.name, (-1, {})), (step.order, tune), key=itemgetter(0)
                )

    def _stack(self, steps: Steps, layout: Layout, name: str, told: Told, *, bias: bool) -> Stack | None:
        orders: list[int] = []
        writes: list[Shadowed] = []
        layout_here = layout
        numbers = dict(told)
        for step in sorted(steps, key=attrgetter("order")):
            rule, initializer = step.rule, initializer_of(step.rule, bias)
            if rule is None or initializer is None:
                continue
            layout_here = layout
            if rule.axes:
                layout_here = replace(layout, **rule.axes)
                layout_here = self._layouts.setdefault(layout_here, layout_here)
            key = (step.order, bias, id(layout_here), numbers.get(step.order, ()))
            if key not in self._writes:
                self._writes[key] = write_of(rule, initializer, layout_here, dict(key[3]), name, bias=bias)
            self.used.add(step.order)
            orders.append(step.order)
            writes.append(self._writes[key])
        return Stack(tuple(orders), tuple(writes), layout_here) if writes else None
