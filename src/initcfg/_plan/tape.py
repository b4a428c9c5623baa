"""The tape: every write of a plan in its order, and the user's code between them.

It is unrolled only when a plan is applied. A tensor needs the write that shows, and any that user
code must find in it; under torch's generator the others are drawn too, into scratch, since each
draw moves the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from initcfg._plan.assignment import Assignment, Scaling, Unused
from initcfg._plan.frozen import NOTHING
from initcfg._plan.stacks import BEFORE_ALL_RULES, TimedStack, is_alone, merge
from initcfg._plan.tracks import Strand, Track, Tracks
from initcfg._rules import WrittenAt
from initcfg.errors import ApplyError
from initcfg.values import Computed, Keep, Opaque, Originals, Value

if TYPE_CHECKING:
    from torch import nn

    from initcfg._model import Entry


class Write(NamedTuple):
    """A write in its order.

    Attributes:
        name: Canonical name of the tensor; None if it is none of the model's.
        final: Whether it reaches the tensor, or is drawn into scratch.
        rule: Path of the rule that asks for it; the constructor, if ``default``.
        initializer: Type and arguments of its initializer.
        scaling, tune: How the rule multiplied that, and the multipliers that go with it.
    """

    name: str | None
    value: Value
    final: bool
    rule: str
    initializer: Any
    shape: tuple[int, ...]
    dtype: str
    default: bool = False
    scaling: Scaling | None = None
    tune: Mapping[str, float | str] = NOTHING

    def named(self, name: str) -> Write:
        """The same write of another tensor."""
        return tuple.__new__(Write, (name, *self[1:]))


@dataclass(frozen=True)
class Call:
    """Code of the user's that runs as it is.

    Attributes:
        code: What it is, and where.
        rule: Path of the rule, for an initializer of the original's protocol.
        foreign: That initializer, and the attribute that an override names.
        library: For a method: the library that it is of, if that initializes in its constructors.
        instead: The rules in whose place it runs, should it not run them: each with the file and line.
    """

    module: str
    code: str
    rule: str | None = None
    foreign: Any = field(default=None, compare=False)
    library: str | None = None
    instead: tuple[tuple[Unused, WrittenAt | None], ...] = ()


@dataclass(frozen=True)
class Tape:
    """A track for each tensor, and the calls of user code with their places in the program."""

    tracks: Tracks
    calls: tuple[tuple[int, Call], ...] = ()
    # Whether a step that comes by a tensor twice writes it twice, as the original does.
    repeats: bool = False
    # Modules that were initialized before, and that stay so.
    done: frozenset[str] = frozenset()
    # The initializers that need a batch, by the path of their rule; in the order of the rules.
    batches: Mapping[str, Any] = field(default_factory=dict)
    # What is known of the roles of the whole model, for the parts that user code calls for.
    part_roles: Callable[[str], Any] | None = field(default=None, compare=False, repr=False)

    def unroll(self, *, draws: bool) -> list[Write | Call]:
        """The entries in order; with the draws that go into scratch, or without."""
        found: list[tuple[int, int, Write | Call]] = [(order, 0, call) for order, call in self.calls]
        # Of tensors that one stack alone reaches, those of one shape and type differ in their names only.
        alike: dict[tuple[Any, ...], tuple[int, Write]] = {}
        for track in self.tracks:
            name, shape, dtype, stacks = track
            if draws or name is None or not is_alone(stacks):
                found += self._unrolled(track, draws)
                continue
            time, stack = stacks[-1]
            known = alike.get(key := (id(stack), shape, dtype))
            if known is not None:
                order, write = known
                found.append((order, time, write.named(name)))
                continue
            writes = list(self._unrolled(track, draws))
            found += writes
            if len(writes) == 1 and not _lets_show(stack.top.value):
                alike[key] = writes[0][0], writes[0][2]
        found.sort(key=itemgetter(0, 1))
        return [entry[2] for entry in found]

    def shown(self) -> tuple[list[str], list[Write]]:
        """The writes that show, in order, where there are no calls; the names of their tensors beside them.

        Those that differ in their names alone are one object, with the name of the first.
        """
        found: list[tuple[int, int, str, Write]] = []
        alike: dict[tuple[Any, ...], Write] = {}
        # Of each pattern: attribute, order, time, whether that counts from the layer's, and write.
        known: dict[int, list[tuple[str, int, int, int, Write]] | None] = {}
        stamps = self.tracks.stamps
        for buffers in (False, True):
            for before, time, pattern in zip(stamps.befores, stamps.times, stamps.patterns, strict=True):
                strands = pattern[buffers]
                if not strands:
                    continue
                if id(strands) not in known:
                    known[id(strands)] = self._simple(before, strands, alike)
                simple = known[id(strands)]
                if simple is None:
                    for track in Tracks.of_layer(before, time, strands):
                        each = self._unrolled(track, draws=False)
                        found += [(order, at, track.name or "", write) for order, at, write in each]
                    continue
                for attribute, order, after, counted, write in simple:
                    found.append((order, time * counted + after, before + attribute, write))
        found.sort(key=itemgetter(0, 1))
        return [each[2] for each in found], [each[3] for each in found]

    def _simple(
        self, before: str, strands: Sequence[Strand], alike: dict[tuple[Any, ...], Write]
    ) -> list[tuple[str, int, int, int, Write]] | None:
        """What a pattern writes; None unless each tensor has one stack at most above its constructor's."""
        found: list[tuple[str, int, int, int, Write]] = []
        for attribute, shape, dtype, fixed, timed in strands:
            time, stack = timed[-1] if timed else fixed[-1]
            # What is alone here may be the second elsewhere, which makes no difference.
            key = id(stack), shape, dtype
            alone = len(fixed) + len(timed) == 1
            write = alike.get(key) if alone else None
            if write is None:
                stacks = fixed + tuple([TimedStack(*each) for each in timed])
                if not is_alone(stacks) or _lets_show(stack.top.value):
                    return None
                made = list(self._unrolled(Track(before + attribute, shape, dtype, stacks), draws=False))
                if not made:
                    continue
                write = alike.setdefault(key, made[0][2])
            found.append((attribute, stack.orders[-1], time, 1 if timed else 0, write))
        return found

    def _unrolled(self, track: Track, draws: bool) -> Iterator[tuple[int, int, Write]]:
        name, shape, dtype, stacks = track
        time, top = stacks[-1]
        if not draws and is_alone(stacks) and not _lets_show(top.top.value):
            merged = [(top.orders[-1], time, top.top)]
        else:
            merged = merge(stacks, repeats=self.repeats)
        for index, (order, time, write) in enumerate(merged):
            value, default = write.value, order == BEFORE_ALL_RULES
            if isinstance(value, (Opaque, Computed)) or (draws and default):
                # Under torch's generator the recorded operations themselves are the defaults.
                continue
            last = index + 1 == len(merged) or _lets_show(merged[index + 1][2].value)
            final = last and name is not None
            if final or (draws and value.random):
                told = (write.rule, write.initializer, shape, dtype, default, write.scaling, write.tune)
                yield order, time, Write(name, value, final, *told)


def _lets_show(value: Value) -> bool:
    """Whether what was written before may be seen through a value."""
    return isinstance(value, Opaque) or (isinstance(value, Originals) and value.in_part)


class Recorded(Protocol):
    """The code of a traced plan, which can be done again."""

    @property
    def model(self) -> nn.Module:
        """The model of the trace, never written."""
        ...

    def replay(self, entries: dict[str, Entry]) -> list[str]:
        """Fill a model from torch's generator, as the code would; the names of what was written."""
        ...

    def opaque(
        self, names: Collection[str], entries: Mapping[str, Entry], written: Collection[str], seed: int
    ) -> None:
        """Fill those written of the tensors of these names, which only the code itself can fill, together."""
        ...


def writes_of(assignments: Iterable[Assignment]) -> list[Write | Call]:
    """The writes of a plan that was read from JSON: the values that show."""
    found: list[Write | Call] = []
    for item in assignments:
        if isinstance(item.value, Opaque):
            raise ApplyError("A plan with user code in it cannot be applied from JSON.")
        if isinstance(item.value, (Keep, Computed)):
            continue
        default = item.rule is None
        shown = item.default if default and item.default else item
        shows = [shown]
        below = [*filter(None, (item.default,)), *item.shadowed]
        while below and _lets_show(shows[0].value) and not default:
            shows.insert(0, below.pop())
        found += [
            Write(
                item.name,
                each.value,
                True,
                each.rule or "",
                each.initializer,
                item.shape,
                item.dtype,
                default,
                each.scaling,
                each.tune,
            )
            for each in shows
            if not isinstance(each.value, (Keep, Computed, Opaque))
        ]
    return found
