"""From recorded operations to a :class:`Formula`: the few that one tensor comes from, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from initcfg._record.recording import aten
from initcfg._record.recording.aten import is_allowed, name_of, without_out
from initcfg._record.recording.log import operands_in, tensor_at
from initcfg._record.recording.regions import Region
from initcfg._record.recording.storage import LogStep, Operand, Snapshot, TrackedStorage, Use
from initcfg._stream.writing import formula_problem
from initcfg.errors import PlanError
from initcfg.values import Constant, Formula, Parts, Value, dtype_name, to_json


class Limits(NamedTuple):
    """How long a program may be, and how many numbers it may hold that stand in the code."""

    bytes: int
    numbers: int


DESCRIPTIVE = Limits(900, 16)
"""A longer program describes nothing any more; with the names that it shares numbers with, 1 KB is full."""
RELATED = Limits(16_384, 1024)
"""Of what comes from random numbers: a longer one still says how tensors are related."""

Identity = tuple[int, ...]


class Unspeakable(Exception):
    """The operations cannot be written down; the message says why."""


class Leaf(NamedTuple):
    """Stands for the key of a random part, which is not known yet: what it comes from."""

    identity: Identity


@dataclass
class FormulaDraft:
    """A program whose random parts have no names yet.

    Attributes:
        instructions: See :class:`initcfg.values.Formula`; a key is a :class:`Leaf`.
        leaves: What its random parts come from, in order, with the number of independent parts of each.
        uses: The draws that it shows, each with its form.
    """

    instructions: list[list[Any]] = field(default_factory=list)
    leaves: dict[Identity, int] = field(default_factory=dict)
    uses: set[Use] = field(default_factory=set)

    def named(self, name: str, owners: dict[Identity, tuple[str, int]]) -> Formula:
        """The formula of the tensor ``name``."""
        out: list[list[Any]] = []
        for instruction in self.instructions:
            if isinstance(instruction[-1], Leaf):
                source, part = owners[instruction[-1].identity]
                instruction = [*instruction[:-1], part if source == name else [source, part]]
            out.append(instruction)
        return Formula(json.dumps(out, separators=(",", ":")))

    def alone(self) -> Formula:
        """The formula as if nothing else shared its numbers; raises Unspeakable if it is none."""
        try:
            return self.named("", assign_owners((), {"": self}))
        except PlanError as error:
            raise Unspeakable(error.problem.removesuffix(".")) from error


def assign_owners(
    direct: Iterable[tuple[Identity, str]], drafts: Mapping[str, FormulaDraft]
) -> dict[Identity, tuple[str, int]]:
    """For everything random: the name and the part that it is drawn under, the same wherever it is used."""
    owners = {identity: (name, 0) for identity, name in direct}
    for name in sorted(drafts, key=str.encode):
        part = 0
        for identity, count in drafts[name].leaves.items():
            if identity not in owners:
                owners[identity] = (name, part)
                part += count
    return owners


class Slicer:
    """Finds the operations that one region comes from, and writes them down.

    What was made of ``shared`` draws, which show in several forms, is not a name, but operations.
    """

    def __init__(self, shared: set[int]) -> None:
        self.draft = FormulaDraft()
        self._shared = shared
        self._found: dict[int, LogStep] = {}
        # By operation: what a storage held before it, so that what was done before that does not count.
        self._held: dict[tuple[TrackedStorage, int], Snapshot] = {}
        self._slots: dict[TrackedStorage, int] = {}
        self._leaf_slots: dict[tuple[Identity, tuple[int, ...], torch.dtype], int] = {}
        self._count = 0
        self._last = -1
        self._own: TrackedStorage | None = None
        self._made_by: dict[int, int] = {}
        self._laid_out: dict[int, Region] = {}
        self._numbers = 0

    def run(self, tracked: TrackedStorage, region: Region) -> FormulaDraft:
        """The draft of a region; raises Unspeakable."""
        self._own = tracked
        self._need(tracked, math.inf)
        self._last = max(self._found, default=-1)
        for index in sorted(self._found):
            self._emit(self._found[index])
        self._base(tracked)
        self.draft.instructions.append(["result", self._ref(tracked, region)])
        self._lay_out()
        limits = RELATED if self.draft.leaves else DESCRIPTIVE
        if self._numbers > limits.numbers:
            raise Unspeakable(
                f"it comes from {self._numbers:,} numbers that no operation of torch's computed "
                "(NumPy, or a list)"
            )
        alone = self.draft.alone()
        if len(alone.program) > limits.bytes:
            raise Unspeakable(f"it takes {len(self.draft.instructions)} operations to say")
        problem = formula_problem(alone, region.sizes, dtype_name(region.dtype))
        if problem is not None:
            raise Unspeakable(problem)
        return self.draft

    def _lay_out(self) -> None:
        """Say how the memory of those slots lies of which views are taken, right after they are made."""
        for slot in sorted(self._laid_out, reverse=True):
            sizes, strides, _, _ = self._laid_out[slot]
            instruction = ["layout", f"${slot}", list(sizes), list(strides)]
            self.draft.instructions.insert(self._made_by[slot] + 1, instruction)

    def _need(self, tracked: TrackedStorage, limit: float) -> None:
        todo = [(tracked, limit)]
        while todo:
            tracked, limit = todo.pop()
            if limit < tracked.settled:
                raise Unspeakable("it comes from what it held while the code ran")
            if tracked.exposed and tracked.exposed_at <= limit:
                raise Unspeakable(
                    "it comes from memory that was handed out (numpy(), data_ptr() or apply_())"
                )
            for step in reversed(tracked.writers):
                if step.index >= limit:
                    continue
                if step.index in self._found or step.index < tracked.settled:
                    break
                self._found[step.index] = step
                if len(self._found) > 400:
                    raise Unspeakable("it takes more than 400 operations to say")
                for operand in operands_in((step.args, step.kwargs)):
                    if operand.tracked not in step.writes and self._known(operand.known) is None:
                        todo.append((operand.tracked, step.index))
                todo += [(other, step.index) for other in step.writes if other is not tracked]
                if step.overwrites:
                    break
                held = None if step.before is None else step.before.get(id(tracked))
                if (before := self._known(held)) is not None:
                    self._held[tracked, step.index] = before
                    break

    def _known(self, known: Snapshot | None) -> Snapshot | None:
        return None if known is None or known.is_shared(self._shared) else known

    def _emit(self, step: LogStep) -> None:
        if step.hidden is not None:
            raise Unspeakable(step.hidden)
        if any(operand.turned for operand in operands_in((step.args, step.kwargs))):
            raise Unspeakable("it works on a conjugated or negated tensor")
        if step.fill is not None:
            target, storage = step.target, step.target.tracked
            if step.overwrites and target.region == storage.whole and storage not in self._slots:
                self._slots[storage] = self._value(step.fill, target.region)
                return
            self._base(storage, step)
            self._add(["fill", self._ref(storage, target.region), *self._filling(step.fill)], 0)
            return
        func = step.func
        if not isinstance(func, torch._ops.OpOverload) or func.namespace != "aten":
            name = getattr(func, "__name__", func)
            raise Unspeakable(step.reason or f"{name} is no operation of torch's own")
        if step.index == self._last and self._is_another(step):
            return
        made = {out.tracked for out in step.outs if out is not None}
        for tracked in step.writes:
            if tracked not in made:
                self._base(tracked, step)
        into = step.kwargs.get("out")
        name = name_of(func) if into is None else without_out(func)
        if name is None or not is_allowed(name):
            raise Unspeakable(f"{name or name_of(func)} is no operation of formulas")
        instruction: list[Any] = [name, *(self._argument(item, step) for item in step.args)]
        kwargs = {
            key: self._argument(item, step)
            for key, item in step.kwargs.items()
            if item is not None and key not in ("device", "layout", "pin_memory", "non_blocking", "out")
        }
        if kwargs:
            instruction.append(kwargs)
        if step.draws:
            # Numbers are drawn in the order of the memory.
            for operand in operands_in((step.args, step.kwargs)):
                if operand.tracked in self._slots:
                    self._need_layout(operand.tracked)
            instruction = ["draw", *instruction, self._leaf((id(step),), 1)]
        if into is not None:
            others = operands_in((step.args, {**step.kwargs, "out": None}))
            if not aten.pointwise(func) and any(each.tracked is into.tracked for each in others):
                raise Unspeakable(f"{name} writes over what it reads")
            # Another tensor is given for the result: it is made, and copied there.
            made = self._add(instruction, 1)
            self._add(["copy_", self._ref(into.tracked, into.region), f"${made}"], 0)
            return
        self._add(instruction, len(step.outs))
        for place, out in enumerate(step.outs):
            if out is not None:
                self._slots[out.tracked] = self._count - len(step.outs) + place

    def _is_another(self, step: LogStep) -> bool:
        """Whether the last operation copies a whole tensor into a new one: the other is the result."""
        if step.func is not torch.ops.aten.copy_.default or not step.overwrites:
            return False
        target, source = step.args[0], step.args[1]
        if not (isinstance(target, Operand) and isinstance(source, Operand)) or self._known(source.known):
            return False
        same = source.region._replace(offset=0) == target.region._replace(offset=0) == target.tracked.whole
        if not same or target.tracked in self._slots or source.region != source.tracked.whole:
            return False
        self._base(source.tracked)
        self._slots[target.tracked] = self._slots[source.tracked]
        return True

    def _base(self, tracked: TrackedStorage, step: LogStep | None = None) -> None:
        """Give a storage its slot, with what it held before the operation that counts first.

        A buffer that is used again has several such operations, and a slot from each on.
        """
        held = None if step is None else self._held.get((tracked, step.index))
        if held is None and tracked in self._slots:
            return
        if held is not None:
            slot = self._value(held, tracked.whole)
        elif tracked.before:
            if tracked is not self._own:
                raise Unspeakable("it comes from what another tensor held before")
            slot = self._add(["initial"], 1)
        elif tracked.data is not None:
            slot = self._data(tensor_at(tracked.data.clone().untyped_storage(), tracked.whole))
        else:
            sizes, strides, _, dtype = tracked.whole
            slot = self._add(["empty", list(sizes), list(strides), dtype_name(dtype)], 1)
        self._slots[tracked] = slot

    def _data(self, numbers: torch.Tensor) -> int:
        self._numbers = max(self._numbers, numbers.numel())
        if numbers.numel() > RELATED.numbers or numbers.is_complex():
            raise Unspeakable(
                f"it comes from {numbers.numel():,} numbers that no operation of torch's computed "
                "(NumPy, or a list)"
            )
        flat = [_plain(number) for number in numbers.flatten().tolist()]
        return self._add(["data", list(numbers.shape), dtype_name(numbers.dtype), flat], 1)

    def _value(self, known: Snapshot, region: Region) -> int:
        if not region.contiguous:
            raise Unspeakable("it is laid out in another order than its index")
        return self._add(["value", list(region.sizes), dtype_name(region.dtype), *self._filling(known)], 1)

    def _filling(self, known: Snapshot) -> list[Any]:
        """A value, and its key where it is random."""
        if isinstance(known.value, Constant):
            return [_plain(known.value.val)]
        if not known.value.random:
            return [to_json(known.value)]
        self.draft.uses |= known.uses
        leaf = self._leaf(tuple(map(id, known.sources)), part_count(known.value))
        return [to_json(known.value), leaf]

    def _leaf(self, identity: Identity, parts: int) -> Leaf:
        self.draft.leaves.setdefault(identity, parts)
        return Leaf(identity)

    def _argument(self, item: Any, step: LogStep) -> Any:
        if isinstance(item, Operand):
            known = self._known(item.known)
            if item.tracked not in step.writes and known is not None:
                return f"${self._leaf_slot(item, known)}"
            self._base(item.tracked)
            return self._ref(item.tracked, item.region)
        if isinstance(item, (list, tuple)):
            return [self._argument(each, step) for each in item]
        if isinstance(item, (torch.dtype, torch.memory_format)):
            return str(item)
        if item is None or isinstance(item, (bool, int, str)):
            return item
        if isinstance(item, float):
            return _plain(item)
        if isinstance(item, (torch.device, torch.layout)):
            return None
        raise Unspeakable(f"one of its operations takes a {type(item).__name__}")

    def _leaf_slot(self, operand: Operand, known: Snapshot) -> int:
        place = (tuple(map(id, known.sources)), operand.region.sizes, operand.region.dtype)
        if place not in self._leaf_slots:
            sizes = operand.region.sizes
            strides = tuple(math.prod(max(size, 1) for size in sizes[dim + 1 :]) for dim in range(len(sizes)))
            self._leaf_slots[place] = self._value(known, Region(sizes, strides, 0, operand.region.dtype))
        return self._leaf_slots[place]

    def _ref(self, tracked: TrackedStorage, region: Region) -> str:
        slot = f"${self._slots[tracked]}"
        whole = tracked.whole
        if region == whole:
            return slot
        if not region.elements:
            region = region._replace(offset=whole.offset)
        size = region.dtype.itemsize
        offset, rest = divmod(region.offset * size - whole.offset * whole.dtype.itemsize, size)
        stop = offset + region.span[1] - region.offset
        if not whole.dense or rest or offset < 0 or stop * size > whole.elements * whole.dtype.itemsize:
            raise Unspeakable("it looks at memory of which only a part is known")
        self._need_layout(tracked)
        sizes, strides = (",".join(map(str, each)) for each in (region.sizes, region.strides))
        as_type = "" if region.dtype == whole.dtype else f":{dtype_name(region.dtype)}"
        return f"{slot}:{sizes}:{strides}:{offset}{as_type}"

    def _need_layout(self, tracked: TrackedStorage) -> None:
        """Its memory must lie as it was recorded: the operation may lay its result out in another way."""
        slot = self._slots[tracked]
        kind = self.draft.instructions[self._made_by[slot]][0]
        if kind not in ("value", "empty") and not (kind == "data" and tracked.whole.contiguous):
            self._laid_out[slot] = tracked.whole

    def _add(self, instruction: list[Any], slots: int) -> int:
        for slot in range(self._count, self._count + slots):
            self._made_by[slot] = len(self.draft.instructions)
        self.draft.instructions.append(instruction)
        self._count += slots
        return self._count - 1


def part_count(value: Value) -> int:
    """The number of independent parts of a value."""
    return sum(map(part_count, value.values)) if isinstance(value, Parts) else 1


def _plain(number: Any) -> Any:
    return {"float": repr(number)} if isinstance(number, float) and not math.isfinite(number) else number
