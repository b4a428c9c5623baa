"""The planner: one walk over the module tree turns a program into a plan.

Down the tree goes a context: the steps that are active here, with a memory of which of them match
which class. Up come writes: (step, tensor, value). In the end the writes of each tensor are put in
the program's order; the last wins, the others are its shadowed ones. Nothing is read from a tensor
but its shape, and no random number is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from initcfg._model import Entry, Names, Target, child_items, original_targets, relative_name, targets
from initcfg._plan.assignment import Shadowed
from initcfg._plan.planner.context import Context, Steps
from initcfg._plan.stacks import Piece, Stack
from initcfg._rules import (
    Pattern,
    Program,
    Rule,
    Step,
    check_layer_names,
    location,
    show_cfg,
    unmatched,
)
from initcfg.errors import InitcfgError, OverrideTargetError, PlanError, TensorError
from initcfg.values import Keep, Layout, Opaque, dtype_problem


@dataclass(eq=False)
class Planned:
    """What the walk found.

    Attributes:
        pieces: By ``id`` of the tensor's entry: its stacks.
        outside: Writes to tensors that nobody keeps (the original computes them anew): shape, type, piece.
        notes: Remarks on rules.
        sequence: How many pieces were made: the time of the walk.
    """

    pieces: dict[int, list[Piece]] = field(default_factory=dict)
    outside: list[tuple[tuple[int, ...], torch.dtype, Piece]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sequence: int = 0


class Walk:
    """The walk over one model with one program.

    Args:
        model: The root.
        program: Its steps.
        names: Its tensors.
        compat: Write what the original writes, and no more.
    """

    def __init__(self, model: nn.Module, program: Program, names: Names, *, compat: bool) -> None:
        self.model = model
        self.program = program
        self.names = names
        self.compat = compat
        self.planned = Planned()
        self._targets: dict[int, list[Target]] = {}
        self._starts: dict[int, list[Step]] = {}
        self._stacks: dict[tuple[int, bool, Layout], Stack | None] = {}
        self._interned: dict[Steps, Steps] = {}
        self._within_limits: set[tuple[int, torch.dtype]] = set()
        self._kept: dict[int, Steps] = {}
        self._filtered: dict[int, bool] = {}
        self._writes: dict[tuple[int, bool, Layout], Shadowed] = {}
        self._pattern_hits: set[tuple[int, str]] = set()

    def run(self) -> Planned:
        """All writes, in the order of the walk.

        Raises:
            InitcfgError: A rule cannot be carried out; the error names it.
        """
        for step in self.program.steps:
            rule = step.rule
            if rule is not None:
                if rule.layers and not self.compat:
                    check_layer_names(rule.layers, self.model, **_context(rule))
                for initializer in (rule.weight, rule.bias):
                    for note in initializer.notes() if initializer is not None else ():
                        self.planned.notes.append(f"{rule.where}: {note}")
            if step.kind == "pretrained":
                continue
            if isinstance(step.target, nn.Module):
                self._check_in_model(step)
                self._starts.setdefault(id(step.target), []).append(step)
            else:
                self._write_parameter(step)
        self._visit(self.model, "", Context())
        for step in self.program.steps:
            if step.rule is not None:
                self._check_patterns(step)
        return self.planned

    # -- the walk --------------------------------------------------------------------------------

    def _visit(self, module: nn.Module, name: str, context: Context) -> None:
        starting = self._starts.get(id(module))
        if starting:
            context = self._start(starting, context)
        if context.pending:
            context = self._start_named(name, context)
        for child_name, child in child_items(module, name):
            self._visit(child, child_name, context)
        steps = context.matching(type(module))
        if steps:
            self._write_layer(module, name, steps)
        if context.tensor or context.opaque:
            self._write_tensors(module, name, context)

    def _start(self, steps: list[Step], context: Context) -> Context:
        # A shared module is walked again under its other names, but its own rules run once.
        fresh = [step for step in steps if not step.started]
        if not fresh:
            return context
        for step in fresh:
            step.started = True
        named = [step for step in fresh if step.rule is not None and step.rule.names]
        context = context.with_steps([step for step in fresh if step not in named])
        if named:
            context = Context((), context)
            context.add_pending(tuple(named))
        return context

    def _start_named(self, name: str, context: Context) -> Context:
        # Most names match nothing: one look at all patterns together tells.
        if not context.any_named(name):
            return context
        started: list[Step] = []
        for step in context.pending:
            assert step.rule is not None
            relative = relative_name(name, step.owner_name)
            if relative is None:
                continue
            for pattern in step.rule.names:
                if pattern.matches(relative):
                    self._pattern_hits.add((step.order, "name:" + pattern.text))
                    # Once active, a rule is not started again further down.
                    if step not in started and step.order not in context.active:
                        started.append(step)
        return context.with_steps(started) if started else context

    # -- writes ----------------------------------------------------------------------------------

    def _write_layer(self, module: nn.Module, name: str, steps: Steps) -> None:
        found = self._targets.get(id(module))
        if found is None:
            try:
                found = original_targets(module) if self.compat else targets(module)
            except InitcfgError as error:
                raise self._in_context(error, steps[0].rule, name or type(module).__name__) from None
            self._targets[id(module)] = found
        # Kept, so that its identity stands for it as long as the walk lasts.
        self._kept[id(steps)] = steps
        filtered = self._filtered.get(id(steps))
        if filtered is None:
            filtered = self._filtered[id(steps)] = _has_excludes(steps)
        for target in found:
            meant = steps
            if filtered:
                full = f"{name}.{target.attribute}" if name else target.attribute
                meant = self._intern(tuple(step for step in steps if not self._excluded(step, full)))
            if meant:
                self._write(meant, target, name, module, bias=target.role == "bias")

    def _write(self, steps: Steps, target: Target, prefix: str, module: nn.Module, *, bias: bool) -> None:
        """One tensor gets the stack of these steps."""
        tensor, layout = target.tensor, target.layout
        entry = self.names.entries.get(id(tensor))
        if entry is not None and entry.holder is not None:
            if entry.shape != layout.shape:
                layout = replace(layout, shape=entry.shape)
            if self.compat:
                # The original writes the computed weight, which nobody keeps.
                entry = None
        if entry is not None and entry.padding_index is not None and not self.compat:
            # Also when the rule comes by way of a layer that is tied to the embedding.
            layout = replace(layout, padding_index=entry.padding_index)
        if asking := _asking(steps, bias):
            layout = self._with_default(layout, target, prefix, module, asking)
        key = (id(steps), bias, layout)
        if key in self._stacks:
            stack = self._stacks[key]
        else:
            name = f"{prefix}.{target.attribute}" if prefix else target.attribute
            stack = self._stacks[key] = self._stack(steps, layout, name, bias=bias)
        if stack is not None:
            self._check_limits(
                stack, tensor.dtype, steps, f"{prefix}.{target.attribute}".lstrip("."), bias=bias
            )
            if entry is not None and entry.holder is not None:
                self._note_parametrized(entry)
            if entry is not None and entry.one_way is not None:
                raise self._in_context(_one_way(entry), self._last_rule(steps, bias), entry.name, entry.shape)
            self._add(entry, stack, tensor)

    def _with_default(
        self, layout: Layout, target: Target, prefix: str, module: nn.Module, rule: Rule
    ) -> Layout:
        """The layout, with what torch's own layer does."""
        from initcfg._rules.initializers import torch_default

        try:
            return replace(layout, default=torch_default(module, target.attribute, layout.shape))
        except InitcfgError as error:
            name = f"{prefix}.{target.attribute}" if prefix else target.attribute
            raise self._in_context(error, rule, name, layout.shape) from None

    def _note_parametrized(self, entry: Entry) -> None:
        assert entry.holder is not None
        chain = entry.holder[0].parametrizations[entry.holder[1]]  # type: ignore[index]
        kinds = [type(each).__name__ for each in chain]  # type: ignore[union-attr]
        # Of torch's own, only weight_norm gives back exactly what was written.
        if kinds != ["_WeightNorm"]:
            self.planned.notes.append(
                f"{entry.name} is written through {', '.join(kinds)}, which may make something else of it; "
                "the ledger says if it did"
            )

    def _check_limits(self, stack: Stack, dtype: torch.dtype, steps: Steps, name: str, *, bias: bool) -> None:
        """The value that shows must be one that the tensor's type can hold."""
        key = (id(stack), dtype)
        if key in self._within_limits:
            return
        found = dtype_problem(stack.top.value, dtype)
        if found is not None:
            error = TensorError(
                f"{stack.top.value} cannot be written: {found}.",
                fix="Correct the rule, or exclude the tensor.",
            )
            raise self._in_context(error, self._last_rule(steps, bias), name, stack.layout.shape)
        self._within_limits.add(key)

    def _last_rule(self, steps: Steps, bias: bool) -> Rule | None:
        rules = [step.rule for step in sorted(steps, key=lambda step: step.order)]
        return [rule for rule in rules if rule and (rule.bias if bias else rule.weight) is not None][-1]

    def _stack(self, steps: Steps, layout: Layout, name: str, *, bias: bool) -> Stack | None:
        orders: list[int] = []
        writes: list[Shadowed] = []
        last = layout
        for step in sorted(steps, key=lambda step: step.order):
            rule = step.rule
            assert rule is not None
            initializer = rule.bias if bias else rule.weight
            if initializer is None:
                continue
            layout_here = replace(layout, **rule.axes) if rule.axes else layout
            key = (step.order, bias, layout_here)
            write = self._writes.get(key)
            if write is None:
                try:
                    value = initializer.resolve(layout_here)
                except InitcfgError as error:
                    raise self._in_context(error, rule, name, layout.shape) from None
                except Exception as error:
                    wrong = PlanError(f"{initializer!r} has no value: {type(error).__name__}: {error}.")
                    raise self._in_context(wrong, rule, name, layout.shape) from error
                initializer_data = rule.initializer("bias" if bias else "weight")
                write = self._writes[key] = Shadowed(rule.where, value, initializer_data)
            step.used = True
            orders.append(step.order)
            writes.append(write)
            last = layout_here
        return Stack(tuple(orders), tuple(writes), last) if writes else None

    def _add(self, entry: Entry | None, stack: Stack, tensor: torch.Tensor) -> None:
        planned = self.planned
        planned.sequence += 1
        piece = (planned.sequence, stack)
        if entry is None:
            planned.outside.append((tuple(tensor.shape), tensor.dtype, piece))
        elif id(entry) in planned.pieces:
            planned.pieces[id(entry)].append(piece)
        else:
            planned.pieces[id(entry)] = [piece]

    def _intern(self, steps: Steps) -> Steps:
        """The one tuple that stands for all equal ones."""
        return self._interned.setdefault(steps, steps)

    def _write_tensors(self, module: nn.Module, name: str, context: Context) -> None:
        for step in context.opaque:
            where = rule_path(step)
            for tensor in module._parameters.values():
                if tensor is not None:
                    entry = self.names.entries[id(tensor)]
                    write = Shadowed(
                        where, Opaque(step.code, Keep()), step.rule and step.rule.initializer("weight")
                    )
                    self._add(entry, Stack((step.order,), (write,), Layout(entry.shape)), tensor)
        for step in context.tensor:
            rule = step.rule
            assert rule is not None
            if rule.layers and not rule.layers.matches(type(module)):
                continue
            if rule.params:
                self._write_matching(step, rule.params, "param:", module, name)
            if rule.buffers:
                self._write_matching(step, rule.buffers, "buffer:", module, name)

    def _write_matching(
        self, step: Step, patterns: tuple[Pattern, ...], key: str, module: nn.Module, prefix: str
    ) -> None:
        tensors = module._parameters if key == "param:" else module._buffers
        for attribute, tensor in tensors.items():
            if tensor is None:
                continue
            entry = self.names.entries[id(tensor)]
            full = entry.name if entry.holder else f"{prefix}.{attribute}" if prefix else attribute
            relative = relative_name(full, step.owner_name) or full
            hit = False
            for pattern in patterns:
                if pattern.matches(relative):
                    self._pattern_hits.add((step.order, key + pattern.text))
                    hit = True
            if hit and not self._excluded(step, full):
                target = Target(tensor, "weight", self._layout_of(module, tensor), attribute)
                self._write(self._intern((step,)), target, prefix, module, bias=False)

    def _layout_of(self, module: nn.Module, tensor: torch.Tensor) -> Layout:
        """The layout that the module's class gives a tensor, where it knows it."""
        try:
            known = targets(module)
        except TensorError:
            # Some other tensor of the module cannot be written; this one is named by itself.
            known = []
        for target in known:
            if target.tensor is tensor:
                return target.layout
        return Layout(tuple(tensor.shape))

    def _write_parameter(self, step: Step) -> None:
        """An override that names a bare parameter."""
        assert step.rule is not None and step.rule.override_name is not None
        layout = self._layout_of(step.owner, step.target)
        target = Target(step.target, "weight", layout, step.rule.override_name)
        self._write(self._intern((step,)), target, step.owner_name, step.owner, bias=False)

    # -- checks ----------------------------------------------------------------------------------

    def _excluded(self, step: Step, name: str) -> bool:
        assert step.rule is not None
        relative = relative_name(name, step.owner_name) or name
        hit = False
        for pattern in step.rule.excludes:
            parts = relative.split(".")
            if any(pattern.matches(".".join(parts[: i + 1])) for i in range(len(parts))):
                self._pattern_hits.add((step.order, "exclude:" + pattern.text))
                hit = True
        return hit

    def _check_in_model(self, step: Step) -> None:
        if id(step.target) not in self.names.modules:
            assert step.rule is not None
            raise OverrideTargetError(
                f"The override names {step.rule.override_name!r}, a module that is no part of this model.",
                fix="Register it as a submodule, or plan the whole model.",
                **_context(step.rule),
            )

    def _check_patterns(self, step: Step) -> None:
        rule = step.rule
        assert rule is not None
        for key, patterns in (
            ("name", rule.names),
            ("param", rule.params),
            ("buffer", rule.buffers),
            ("exclude", rule.excludes),
        ):
            for pattern in patterns:
                if (step.order, f"{key}:{pattern.text}") in self._pattern_hits:
                    continue
                if key == "exclude" and not step.used:
                    continue
                raise self._unmatched(step, key, pattern)

    def _unmatched(self, step: Step, key: str, pattern: Any) -> InitcfgError:
        candidates: list[str] = []
        if key in ("name", "exclude"):
            candidates += [name for name in self.names.modules.values() if name]
        if key in ("param", "exclude"):
            candidates += [name for entry in self.names.parameters for name in entry.names]
        if key == "buffer":
            candidates += [name for entry in self.names.buffers for name in entry.names]
        relative = [relative_name(name, step.owner_name) for name in candidates]
        error = unmatched(key, pattern, [name for name in relative if name], **_context(step.rule))  # type: ignore[arg-type]
        if key == "param":
            buffers = [relative_name(name, step.owner_name) for e in self.names.buffers for name in e.names]
            if any(name and pattern.matches(name) for name in buffers):
                error.fix = f"That names buffers: write buffer={pattern.text!r}."
        if key == "name":
            params = [relative_name(n, step.owner_name) for e in self.names.parameters for n in e.names]
            if any(name and pattern.matches(name) for name in params):
                error.fix = f"That names parameters, and name is for modules: write param={pattern.text!r}."
        return error

    def _in_context(
        self, error: InitcfgError, rule: Rule | None, name: str, shape: tuple[int, ...] | None = None
    ) -> InitcfgError:
        if rule is not None:
            error.rule, error.where = show_cfg(rule.cfg), location(rule.where, rule.written)
        error.parameter, error.shape = name, shape
        return error


def _has_excludes(steps: Steps) -> bool:
    return any(step.rule is not None and step.rule.excludes for step in steps)


def _asking(steps: Steps, bias: bool) -> Rule | None:
    """The last of the rules whose initializer asks what torch's own layer does."""
    for step in reversed(steps):
        initializer = None if step.rule is None else step.rule.bias if bias else step.rule.weight
        if initializer is not None and initializer.asks_default:
            return step.rule
    return None


def _one_way(entry: Entry) -> InitcfgError:
    return TensorError(
        f"This weight is computed by the parametrization {entry.one_way}, which has no right_inverse, so "
        "nothing can be written through it.",
        fix=f"Give {entry.one_way} a right_inverse, or exclude the weight from this rule.",
    )


def rule_path(step: Step) -> str:
    """Path of a step's rule, or of the method that it is."""
    if step.rule is not None:
        return step.rule.where
    return ".".join(filter(None, ("model", step.owner_name, "init_weights")))


def _context(rule: Rule) -> dict[str, Any]:
    return {"rule": show_cfg(rule.cfg), "where": location(rule.where, rule.written)}
