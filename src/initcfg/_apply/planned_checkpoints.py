"""The checkpoints of a plan while it is carried out: opened and checked first, then read one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from initcfg._apply.finite import non_finite
from initcfg._apply.hooked_loads import Around, HookedLoads
from initcfg._apply.mapped_loads import MappedLoads
from initcfg._apply.read_ahead import Read, ReadAhead
from initcfg._apply.source_digests import SourceDigests
from initcfg._apply.unchanged_sources import LoadedTypes, check_digest, check_files
from initcfg._checkpoints import InMemory, Lora, OpenedCheckpoint, Stored, open_source
from initcfg._model import Entry, Names, local_blocks
from initcfg._plan import Assignment, Load, Loaded, Plan, has_kind
from initcfg._stream.writing import (
    Draw,
    carried_out,
    lost_in_cast,
    narrowed,
    result_shape,
    same_bits,
    split_views,
    thread_count,
)
from initcfg.errors import (
    ApplyError,
    CheckpointError,
    CheckpointNameError,
    InitcfgError,
    log,
    plural,
)
from initcfg.values import (
    AdaptationStep,
    Adapted,
    FromCheckpoint,
    Hooked,
    Opaque,
    Originals,
    dtype_name,
    steps_text,
)

_SHOWN = 5


class PlannedCheckpoints:
    """The checkpoints that a plan's values name.

    ``assign``: False maps what the plan's rules say, True all that can be; None copies everything.
    ``waits``: The digests of large files are read when somebody asks for them.
    """

    def __init__(self, loads: Iterable[Load], *, assign: bool | None = None, waits: bool = True) -> None:
        self.mapping = MappedLoads(assign)
        # Where code that draws random numbers runs, by the name of its module.
        self.around_code: Around = lambda module: contextlib.nullcontext()
        self._digests = SourceDigests(waits=waits)
        self._begin(loads)

    def _begin(self, loads: Iterable[Load]) -> None:
        self._loads: dict[str, Load] = {}
        self._ambiguous: set[str] = set()
        self._seen: dict[str, list[Load]] = {}
        for load in loads:
            self._seen.setdefault(load.source, []).append(load)
            before = self._loads.setdefault(load.source, load)
            if before.given is not load.given:
                # Code that is given different things under one name; each of its calls checks its own.
                self._ambiguous.add(load.source)
        self._opened: dict[str, OpenedCheckpoint] = {}
        self._hooked: HookedLoads | None = None
        self._ahead: ReadAhead | None = None

    @contextlib.contextmanager
    def of_part(self, plan: Plan, names: Names) -> Iterator[None]:
        """Within this, they are those of a plan that user code called for; checked first."""
        outer = self._loads, self._seen, self._ambiguous, self._opened, self._hooked
        self._begin(plan.loads)
        try:
            self.check(plan, names)
            yield
        finally:
            self.close()
            self._loads, self._seen, self._ambiguous, self._opened, self._hooked = outer

    def check(self, plan: Plan, names: Names) -> None:
        """All that can be foreseen: sources, digests, keys, shapes; under ``finite``, the numbers too."""
        for load in self._loads.values():
            if not (load.problem and load.checkpoint is None):
                self._open(load.source)
            if load.problem:
                raise CheckpointNameError(load.problem, where=load.rule, fix="Correct it, and plan again.")
        self.mapping.prepare(names, self._loads.values())
        self._hooked = HookedLoads(plan, names)
        self._hooked.check(self._open)
        entries = names.by_name
        for load in self._loads.values():
            for name, keys in load.tied if load.source not in self._ambiguous else ():
                if name in entries:
                    self._check_tied(load, name, keys, entries[name].tensor.dtype)
        bad: list[str] = []
        types = LoadedTypes()
        reads = has_kind(plan, FromCheckpoint) or has_kind(plan, Opaque)
        for item in (*plan.parameters.values(), *plan.buffers.values()) if reads else ():
            value = item.value.over if isinstance(item.value, Opaque) else item.value
            if not isinstance(value, FromCheckpoint) or value.source in self._ambiguous:
                continue
            load = self._loads.get(value.source)
            count = 0
            for each, tensor in each_stored(value, entries[item.name]):
                self._check_shape(item, each, tensor.shape)
                if load is not None:
                    types.note(load, item, each, tensor, self._open(value.source))
                if load is not None and item.name in load.narrowed:
                    self._check_cast(item, each, tensor, compat=plan.compat is not None)
                count += self._not_finite(item, each) if load is not None and load.finite else 0
            if count:
                bad.append(f"{item.name} ({plural(count, 'number')})")
        types.check(self._loads.values())
        # Once more: by now each of several shards is open.
        for source, opened in self._opened.items():
            check_files(self._seen.get(source, ()), replace(opened, state=None))
        if bad:
            first = ", ".join(bad[:_SHOWN]) + (f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")
            raise CheckpointError(
                f"{plural(len(bad), 'tensor')} that would be loaded hold NaN or infinity, and finite=True "
                f"does not allow that: {first}.",
                fix="Give a sound checkpoint, exclude them, or leave out finite=True.",
            )

    def _check_tied(self, load: Load, name: str, keys: Sequence[str], dtype: torch.dtype) -> None:
        """The keys of one tensor must hold the same, or it would be chance which of them is loaded."""
        first, *others = (self._open(load.source).tensors[key] for key in keys)
        for key, other in zip(keys[1:], others, strict=True):
            # Most often both are one place in the file.
            if other == first or _alike(first.read(), other.read(), dtype):
                continue
            raise CheckpointError(
                f"{load.source!r} holds two different tensors, {keys[0]!r} and {key!r}, for {name!r}, which "
                "is one tensor under both names here.",
                where=load.rule,
                parameter=name,
                fix="Exclude one of the two names, or give the model two tensors: there, they are not tied.",
            )

    def _check_shape(self, item: Assignment, value: FromCheckpoint, shape: Sequence[int]) -> None:
        try:
            with self._reading(value) as opened:
                if isinstance(value, Hooked):
                    shapes = [self._by_hooks().shape(value)]
                else:
                    shapes = [tuple(opened.info(key).shape) for key in value.keys]
                    _check_numbers(opened, value.keys)
                made = result_shape(shapes, steps_of(value))
                _check_equal(opened, value, made, shape)
        except InitcfgError as error:
            error.where, error.parameter = item.rule, item.name
            raise

    def _check_cast(
        self, item: Assignment, value: FromCheckpoint, tensor: torch.Tensor, *, compat: bool
    ) -> None:
        """What lies on this rank of a tensor must hold the numbers that come from the checkpoint."""
        opened = self._open(value.source)
        steps = steps_of(value)
        if value.random:
            pieces = self._tensors(value, opened)
        elif steps or isinstance(value, Hooked):
            whole = carried_out(self._tensors(value, opened), steps, torch.randn)
            pieces = [narrowed(whole, block.offsets, piece.shape) for piece, block in local_blocks(tensor)]
        else:
            blocks = local_blocks(tensor)
            pieces = [opened.read_block(value.key, block.offsets, piece.shape) for piece, block in blocks]
        for piece in pieces:
            lost = lost_in_cast(piece, tensor.dtype)
            if lost.numbers:
                more = f" and {plural(lost.numbers - 1, 'other number')}" if lost.numbers > 1 else ""
                told = (
                    f"{opened.name!r} has {value.key!r} as {dtype_name(piece.dtype)}, and {item.name!r} is "
                    f"{item.dtype} here, which does not hold {lost.first}{more}"
                )
                if compat:
                    log("%s: %s: copied as the original does.", item.rule, told)
                    return
                raise CheckpointError(
                    f"{told}: such a cast must be asked for.",
                    where=item.rule,
                    parameter=item.name,
                    shape=item.shape,
                    fix=f"Exclude it, or ask for the cast, if it is meant: adapt={{{item.name!r}: 'dtype'}}.",
                )

    def _not_finite(self, item: Assignment, value: FromCheckpoint) -> int:
        target = getattr(torch, item.dtype)
        for tensor in self._tensors(value, self._open(value.source)):
            # What the type here cannot hold becomes infinite, too.
            floating = target.is_floating_point and tensor.is_floating_point()
            if count := non_finite(tensor.to(target) if floating else tensor):
                return count
        return 0

    def read_ahead(self, wanted: Iterable[Read]) -> None:
        """Begin to read these tensors, which share no memory; :meth:`load` waits for each of them."""
        plain = [each for each in wanted if _is_plain(each.value)]
        if thread_count() == 1 or len(plain) < 2:
            return
        for source in dict.fromkeys(each.value.source for each in plain):
            self._open(source)
        self._ahead = ReadAhead(plain, lambda tensor, value: self._load(tensor, value, torch.randn))

    def stop(self) -> list[str]:
        """Read no further ahead: the names of those that this was done for in vain."""
        ahead, self._ahead = self._ahead, None
        return [] if ahead is None else ahead.stop()

    def load(self, tensor: torch.Tensor, value: FromCheckpoint, name: str, draw: Draw) -> Loaded:
        """Read a value into a tensor, converted once.

        Where the value has new rows by covariance, ``draw`` gives their normal numbers.
        """
        read = None if self._ahead is None else self._ahead.result(name, value)
        return self._load(tensor, value, draw) if read is None else read

    def _load(self, tensor: torch.Tensor, value: FromCheckpoint, draw: Draw) -> Loaded:
        pieces = local_blocks(tensor)
        by_hooks = isinstance(value, Hooked)
        views, steps = ((), steps_of(value)) if by_hooks else split_views(steps_of(value))
        with self._reading(value) as opened:
            if steps or by_hooks:
                read = self._tensors(value, opened, views)
                stored: Stored = InMemory(carried_out(read, steps, draw))
                there = dtype_name(read[0].dtype)
            else:
                stored = viewed(opened.tensors[value.key], views)
                there = stored.info.dtype
            _check_equal(opened, value, stored.info.shape, tensor.shape)
            adapted = _adapted(opened, value, steps_of(value), self._hook_text(value))
            loaded = Loaded(value.source, value.keys, there, adapted, opened.sha256)
            if self.mapping.wants(self._loads.get(value.source)):
                why = "it is computed" if steps or by_hooks else self.mapping.put(tensor, stored)
                if why is None:
                    torch.autograd.graph.increment_version(tensor)
                    return replace(loaded, non_finite=None, mapped=True)
                loaded = replace(loaded, copied=why)
            for piece, block in pieces:
                stored.read_into(piece, block.offsets)
            torch.autograd.graph.increment_version(tensor)
            return replace(loaded, non_finite=sum(non_finite(piece) for piece, _ in pieces))

    def _tensors(
        self, value: FromCheckpoint, opened: OpenedCheckpoint, views: Sequence[AdaptationStep] = ()
    ) -> list[torch.Tensor]:
        """The tensors that a value is made from; of each, what the views leave of it."""
        if isinstance(value, Hooked):
            return [self._by_hooks().tensor(value, opened, self.around_code)]
        return [viewed(opened.tensors[key], views).read() for key in value.keys]

    def _by_hooks(self) -> HookedLoads:
        assert self._hooked is not None
        return self._hooked

    def _hook_text(self, value: FromCheckpoint) -> str:
        return self._by_hooks().text(value) if isinstance(value, Hooked) else ""

    def stored(self, value: FromCheckpoint, shape: tuple[int, ...]) -> tuple[Stored, Loaded]:
        """The tensor that a value names, which can be read piece by piece.

        Its account comes with it, in which the numbers that are not finite have not been counted.
        """
        with self._reading(value) as opened:
            found = opened.tensors[value.key]
            _check_equal(opened, value, found.info.shape, shape)
            adapted = _adapted(opened, value, (), "")
            return found, Loaded(value.source, value.keys, found.info.dtype, adapted, opened.sha256)

    @contextlib.contextmanager
    def _reading(self, value: FromCheckpoint) -> Iterator[OpenedCheckpoint]:
        opened = self._open(value.source)
        try:
            yield opened
        except KeyError as error:
            raise CheckpointError(
                f"The checkpoint {opened.name!r} has no tensor {error.args[0]!r} any more.", fix="Plan again."
            ) from None

    def _open(self, source: str) -> OpenedCheckpoint:
        if source not in self._opened:
            load = self._loads.get(source)
            opened = open_source(source) if load is None else _open_planned(load)
            self._opened[source] = opened
            check_files(self._seen.get(source, ()), opened)
            # Whoever maps a file does not want it read; but if it must be the one that was planned with.
            unread = self.mapping.wants(load) and (load is None or load.sha256 is None)
            self._digests.begin(source, opened, large=not unread)
            if load is not None and load.sha256 is not None and opened.sha256 is None:
                check_digest(load, self._digests.of(source))
        return self._opened[source]

    def digest(self, source: str) -> str | None:
        """The digest of a checkpoint as it is now; None if it is in memory, or another rank says it."""
        self._open(source)
        return self._digests.of(source)

    def digested(self, loads: Iterable[Load]) -> tuple[Load, ...]:
        """Accounts of checkpoints that were opened here, with what their files are, or will say they are."""
        found: list[Load] = []
        for load in loads:
            told = self._digests.told(load)
            if told is not None and load.sha256 is None and load.source not in self._ambiguous:
                load = replace(load, sha256=told, undigested=told)
            found.append(load)
        return tuple(found)

    def close(self) -> None:
        """Let go of the files, and of what hooks made of them."""
        self.stop()
        self._hooked = None
        for opened in self._opened.values():
            opened.close()
        self._opened.clear()


def _alike(first: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether two tensors hold the same, in some type; of those without numbers nobody knows."""
    return same_bits(first.to(dtype), other.to(dtype))


def viewed(stored: Stored, views: Sequence[AdaptationStep]) -> Stored:
    """What some steps that only narrow or turn a tensor leave of it, before it is read."""
    return stored.viewed(lambda whole: carried_out([whole], views)) if views else stored


def _adapted(
    opened: OpenedCheckpoint, value: FromCheckpoint, steps: Sequence[AdaptationStep], by_hooks: str
) -> str | None:
    """What was done to the tensors of a value, in words."""
    merged = dict.fromkeys(opened.merged[key] for key in value.keys if key in opened.merged)
    return ", ".join([*merged, *filter(None, (by_hooks, steps_text(tuple(steps))))]) or None


def steps_of(value: FromCheckpoint) -> tuple[AdaptationStep, ...]:
    """What is done to the tensors of a value."""
    return value.steps if isinstance(value, Adapted) else ()


def _is_plain(value: FromCheckpoint) -> bool:
    """Whether a value is read as it lies in the file: without arithmetic, or code of the model's own."""
    return not isinstance(value, (Hooked, Originals)) and not split_views(steps_of(value))[1]


def each_stored(value: FromCheckpoint, entry: Entry) -> list[tuple[FromCheckpoint, torch.Tensor]]:
    """The tensors that are stored of one, each with what it is loaded from."""
    if not isinstance(value, Originals):
        return [(value, entry.tensor)]
    if len(value.values) != len(entry.originals):
        raise ApplyError(
            f"{entry.name!r} is stored in {plural(max(len(entry.originals), 1), 'tensor')} here, and the "
            f"plan says what {len(value.values)} get.",
            fix="Plan the model again.",
        )
    pairs = zip(value.values, entry.originals, strict=True)
    return [(each, tensor) for each, tensor in pairs if isinstance(each, FromCheckpoint)]


def _check_numbers(opened: OpenedCheckpoint, keys: Sequence[str]) -> None:
    in_memory = (key for key in keys if not opened.files)
    bare = next((key for key in in_memory if opened.read(key).is_meta), None)
    if bare is not None:
        raise CheckpointError(
            f"{bare!r} of {opened.name!r} is on the meta device: it has no numbers.",
            fix="Give a state_dict that has some.",
        )


def _check_equal(
    opened: OpenedCheckpoint, value: FromCheckpoint, found: Sequence[int], shape: Sequence[int]
) -> None:
    if tuple(found) != tuple(shape):
        raise CheckpointError(
            f"The checkpoint {opened.name!r} gives the shape {tuple(found)} for {value.key!r}: it is not the "
            "one that was planned with.",
            shape=shape,
            fix="Plan again.",
        )


def _open_planned(load: Load) -> OpenedCheckpoint:
    if load.given is None and load.checkpoint is None:
        raise ApplyError(
            f"The plan loads {load.source}, and a plan that was read from JSON does not carry that.",
            where=load.rule,
            fix="Plan the model again where the state_dict is, or save it and give its path.",
        )
    lora = None
    if load.lora is not None:
        base, alpha = load.lora
        lora = Lora(base if load.given_base is None else load.given_base, alpha, weaker=True)
    opened = open_source(
        load.checkpoint if load.given is None else load.given,
        sha256=load.expected,
        offline=load.offline,
        part=load.part,
        name=load.checkpoint or load.source,
        lora=lora,
    )
    check_digest(load, opened.sha256)
    return opened
