"""Storages whose content is known without looking, and the recorded operations that would make it real."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import _disable_current_modes

from initcfg._record.recording.layers import Layer, shown_in, value_of, value_of_known
from initcfg._record.recording.regions import Region
from initcfg.values import Value

OWN_GENERATOR = "it draws from a generator of its own"
"""Why doing an operation again gives other numbers, though torch's generator is as it was."""

Use = tuple[int, tuple[int, ...]]
"""A draw, and what it became a part of, by ``id``; nothing for a piece of it."""


class Snapshot(NamedTuple):
    """What a tensor holds at some time, by name.

    Attributes:
        value: The value.
        sources: What its numbers come from; tensors with the very same sources are copies.
        drawn: What was drawn for each of these.
        partial: Whether it is a part of what the sources name.
    """

    value: Value
    sources: tuple[object, ...]
    drawn: tuple[Any, ...] = ()
    partial: bool = False

    @property
    def uses(self) -> set[Use]:
        """Which draws it shows, and in what form."""
        whole = tuple(map(id, self.sources))
        return {
            # One draw that shows in two places shows in two forms.
            (id(root), () if self.partial else (*whole, place) if place else whole)
            for place, root in enumerate(self.drawn)
            if root.random
        }

    def is_shared(self, shared: set[int]) -> bool:
        """Whether its name hides that a draw that it shows is shown elsewhere in another form."""
        return any(root in shared and form != (root,) for root, form in self.uses)


@dataclass(eq=False, slots=True)
class TrackedStorage:
    """One storage.

    Attributes:
        storage: The memory; held, so that its address is not given to another. None once nobody else
            has it.
        whole: The region of the tensor that it was made for.
        layers: What was written, first to last, as far as it has names.
        writers: The recorded operations that write it, in order.
        waiting: Those that touch it and are not done, by index.
        exposed: Whether its address was given out, so that it may change unseen.
        exposed_at: Before which of the operations that was.
        poisoned: Whether nobody had written it then, and it was filled with a mark.
        held: For a tensor that was made elsewhere: its content when it was met, of a number its bytes.
        fresh: Of such a one: whether it was made just now, from a list or from NumPy.
        made: Of such a one: which code made it.
        outside: Of such a one: whether others than torch may write its memory, such as a NumPy array.
        left: Of memory that was handed out: the bytes that it held when it was last looked at.
        before: Whether the recorded code found it, with a content of its own.
        original: Where that content is, as long as it was not fetched.
        settled: Before which of the operations it held what it is to begin with; 0 for before all.
    """

    storage: torch.UntypedStorage | None
    whole: Region
    layers: list[Layer] = field(default_factory=list)
    writers: list[LogStep] = field(default_factory=list)
    waiting: dict[int, LogStep] = field(default_factory=dict)
    exposed: bool = False
    exposed_at: int = 0
    poisoned: bool = False
    held: torch.Tensor | bytes | None = None
    fresh: bool = False
    made: Layer | None = None
    outside: bool = False
    left: torch.Tensor | None = None
    before: bool = False
    original: torch.UntypedStorage | None = None
    settled: int = 0

    @property
    def foreign(self) -> bool:
        """Whether it was made elsewhere."""
        return self.held is not None

    @property
    def handed_out(self) -> bool:
        """Whether it may change without an operation: then it is looked at, wherever it is used."""
        return self.exposed or self.outside

    @property
    def data(self) -> torch.Tensor | None:
        """For a tensor that was made elsewhere: the bytes of its content when it was met."""
        if isinstance(self.held, bytes):
            self.held = _as_tensor(self.held)
        return self.held

    @property
    def lazy(self) -> bool:
        """Whether its memory does not hold yet what it should."""
        return self.original is not None or self.pending

    @property
    def pending(self) -> bool:
        """Whether operations that write it were recorded and not done."""
        return bool(self.waiting) and any(self in step.writes for step in self.waiting.values())

    @property
    def abandoned(self) -> bool:
        """Whether nobody holds the memory any more, but the records of it."""
        return self.storage is None or torch._C._storage_Use_Count(self.storage._cdata) <= 1

    def fetch(self) -> None:
        """Fetch the numbers of a tensor that was there before."""
        if self.original is not None and self.storage is not None:
            self.storage.copy_(self.original)
            self.original = None

    def write(self, layer: Layer) -> None:
        """Put a layer on top; those that it covers are forgotten."""
        if not self.layers or (len(self.layers) == 1 and layer.region == self.layers[0].region):
            # So it is nearly always.
            self.layers = [layer]
            return
        left = [below for below in self.layers if not layer.region.covers(below.region)]
        left.append(layer)
        self.layers = left

    def snapshot(self, region: Region, *, exact: bool = True) -> Snapshot | None:
        """What a region holds, if that has a name; if ``exact``, with the very numbers of that name.

        If not, a piece of something random is random in the same way, with numbers of its own.
        """
        if not self.layers:
            return None
        if len(self.layers) == 1 and self.layers[0].region == region:
            # So it is nearly always.
            only = self.layers[0]
            named = value_of_known(only.known)
            return None if named is None else Snapshot(named, (only.known,), (only.root,))
        value = value_of(self.layers, region)
        if value is None:
            return None
        shown, based = shown_in(self.layers, region)
        same = region == (shown[0].region if based else self.whole)
        drawn = tuple(layer.root for layer in shown)
        found = Snapshot(value, tuple(layer.known for layer in shown), drawn, value.random and not same)
        return None if exact and found.partial else found


def _as_tensor(content: bytes) -> torch.Tensor:
    with _disable_current_modes():
        made = torch.empty(len(content), dtype=torch.uint8, device="cpu")
        ctypes.memmove(torch._C.TensorBase.data_ptr(made), content, len(content))
    return made


@dataclass(eq=False, slots=True)
class Operand:
    """A tensor in a recorded operation: where it lies, and what it held at that time, if that had a name.

    ``turned`` is whether it shows its memory conjugated, and whether negated; None of nearly all.
    It does not change; a frozen dataclass takes four times as long to make.
    """

    tracked: TrackedStorage
    region: Region
    known: Snapshot | None = None
    turned: tuple[bool, bool] | None = None


@dataclass(eq=False, slots=True)
class LogStep:
    """A recorded operation.

    Attributes:
        index: Its place in the order.
        func: The operation: an ATen overload, or a sampler of ours.
        args: Its arguments, with operands in place of tensors.
        kwargs: Likewise.
        reads: The storages of the operands.
        writes: The storages that it writes.
        outs: For each tensor that it returns: where that lies. None for one that is not a plain tensor.
        draws: Whether it draws random numbers.
        value: What it fills its target with, if that has a name.
        before: By ``id`` of a storage that is written in part, or changed: what it held before.
        overwrites: Whether nothing of what was there before shows.
        done: Whether it was done.
        seen: Where code looked at numbers that this operation drew.
        reason: Why no operations of torch's say what it does.
        hidden: Why doing it again would not give the same; None if it would.
    """

    index: int
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    reads: Sequence[TrackedStorage]
    writes: Sequence[TrackedStorage]
    outs: Sequence[Operand | None] = ()
    draws: bool = False
    value: Value | None = None
    before: Mapping[int, Snapshot | None] | None = None
    overwrites: bool = False
    done: bool = False
    seen: str | None = None
    hidden: str | None = None
    reason: str | None = None

    @property
    def fill(self) -> Snapshot | None:
        """What its target holds then, if that has a name."""
        value = self.value
        return None if value is None else Snapshot(value, (value,), (value,))

    @property
    def target(self) -> Operand:
        """Where it fills: what it is given, or makes."""
        made = self.outs[0] if self.outs else None
        return made or self.args[0]

    @property
    def random(self) -> bool:
        """Whether it draws random numbers, itself or to fill something with a value."""
        return self.draws or (self.value is not None and self.value.random)

    @property
    def moves(self) -> bool:
        """Whether it draws from torch's generator."""
        return self.random and self.hidden is not OWN_GENERATOR

    @property
    def draw(self) -> tuple[str, int]:
        """What its random numbers are told by: those of draws that are repeated are the same."""
        return ("step", self.index) if self.value is None else ("value", id(self.value))
