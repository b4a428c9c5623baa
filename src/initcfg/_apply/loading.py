"""The checkpoints of a plan while it is carried out: opened and checked first, then read one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch

from initcfg._checkpoints import OpenedCheckpoint, open_source
from initcfg._checkpoints.formats import non_finite
from initcfg._model import Entry, local_blocks
from initcfg._plan import Assignment, Load, Loaded, Plan
from initcfg._stream.writing import Draw, carried_out, narrowed, result_shape
from initcfg.errors import ApplyError, CheckpointError, PlanError, plural
from initcfg.values import Adapted, FromCheckpoint, Opaque, dtype_name, steps_text

_SHOWN = 5


class Sources:
    """The checkpoints that a plan's values name.

    Args:
        loads: The plan's accounts of them.
    """

    def __init__(self, loads: Iterable[Load]) -> None:
        self._loads: dict[str, Load] = {}
        self._ambiguous: set[str] = set()
        for load in loads:
            before = self._loads.setdefault(load.source, load)
            if before.given is not load.given:
                # Code that is given different things under one name; each of its calls checks its own.
                self._ambiguous.add(load.source)
        self._opened: dict[str, OpenedCheckpoint] = {}

    def check(self, plan: Plan, entries: Mapping[str, Entry]) -> None:
        """All that can be foreseen: sources, digests, keys, shapes; under ``finite``, the numbers too.

        Raises:
            CheckpointError: A checkpoint cannot be read, or is not what was planned with.
        """
        for load in self._loads.values():
            if not (load.problem and load.checkpoint is None):
                self._open(load.source)
            if load.problem:
                raise CheckpointError(load.problem, where=load.rule, fix="Correct it, and plan again.")
        bad: list[str] = []
        for item, value in _wanted(plan):
            if value.source in self._ambiguous:
                continue
            self._check_shape(item, value, tuple(entries[item.name].tensor.shape))
            load = self._loads.get(value.source)
            if load is not None and load.finite:
                bad += self._not_finite(item, value)
        if bad:
            first = ", ".join(bad[:_SHOWN]) + (f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")
            raise CheckpointError(
                f"{plural(len(bad), 'tensor')} that would be loaded hold NaN or infinity, and finite=True "
                f"does not allow that: {first}.",
                fix="Give a sound checkpoint, exclude them, or leave out finite=True.",
            )

    def _check_shape(self, item: Assignment, value: FromCheckpoint, shape: tuple[int, ...]) -> None:
        opened = self._open(value.source)
        try:
            shapes = [tuple(opened.info(key).shape) for key in value.keys]
        except KeyError as error:
            raise CheckpointError(
                f"The checkpoint {opened.name!r} has no tensor {error.args[0]!r} any more.",
                where=item.rule,
                parameter=item.name,
                fix="Plan again.",
            ) from None
        made = shapes[0]
        if isinstance(value, Adapted):
            try:
                made = result_shape(shapes, value.steps)
            except PlanError as error:
                error.where, error.parameter = item.rule, item.name
                raise
        if made != shape:
            raise CheckpointError(
                f"The checkpoint {opened.name!r} gives this tensor the shape {made}: it is not the one that "
                "was planned with.",
                where=item.rule,
                parameter=item.name,
                shape=shape,
                fix="Plan again.",
            )

    def _not_finite(self, item: Assignment, value: FromCheckpoint) -> list[str]:
        target = getattr(torch, item.dtype)
        for key in value.keys:
            tensor = self._open(value.source).read(key)
            if target.is_floating_point and tensor.is_floating_point() and target != tensor.dtype:
                # What the type here cannot hold becomes infinite, too.
                tensor = tensor.to(target)
            count = non_finite(tensor)
            if count:
                return [f"{item.name} ({plural(count, 'number')})"]
        return []

    def load(self, tensor: torch.Tensor, value: FromCheckpoint, draw: Draw) -> Loaded:
        """Read a value into a tensor, converted once.

        Args:
            tensor: Where to.
            value: What.
            draw: Gives normal numbers, for new rows by covariance.

        Raises:
            CheckpointError: It cannot be read, or has another shape.
        """
        pieces = local_blocks(tensor)
        opened = self._open(value.source)
        steps = value.steps if isinstance(value, Adapted) else ()
        try:
            dtype = opened.info(value.key).dtype
            whole = carried_out([opened.read(key) for key in value.keys], steps, draw) if steps else None
            shape = opened.info(value.key).shape if whole is None else tuple(whole.shape)
            if shape != tuple(tensor.shape):
                raise CheckpointError(
                    f"The checkpoint {opened.name!r} gives the shape {shape} for {value.key!r}.",
                    shape=tuple(tensor.shape),
                    fix="Plan again.",
                )
            for piece, block in pieces:
                piece.copy_(
                    opened.read_block(value.key, block.offsets, piece.shape)
                    if whole is None
                    else narrowed(whole, block.offsets, piece.shape)
                )
        except KeyError as error:
            raise CheckpointError(
                f"The checkpoint {opened.name!r} has no tensor {error.args[0]!r}."
            ) from None
        return Loaded(
            value.source,
            value.keys,
            dtype,
            steps_text(steps) or None,
            opened.sha256,
            sum(non_finite(piece) for piece, _ in pieces),
        )

    def stored(self, value: FromCheckpoint) -> torch.Tensor:
        """The tensor that a value names, as it lies in its checkpoint; a long one is mapped from the file.

        Raises:
            CheckpointError: It cannot be read.
        """
        opened = self._open(value.source)
        try:
            return opened.read(value.key)
        except KeyError as error:
            raise CheckpointError(
                f"The checkpoint {opened.name!r} has no tensor {error.args[0]!r}."
            ) from None

    def account(self, value: FromCheckpoint, dtype: torch.dtype, bad: int) -> Loaded:
        """The account of a tensor that was read by :meth:`stored`; ``bad`` of its numbers are not finite."""
        name = dtype_name(dtype)
        return Loaded(value.source, value.keys, name, None, self._open(value.source).sha256, bad)

    def _open(self, source: str) -> OpenedCheckpoint:
        opened = self._opened.get(source)
        if opened is not None:
            return opened
        load = self._loads.get(source)
        if load is None:
            opened = open_source(source)
        elif load.given is None and load.checkpoint is None:
            raise ApplyError(
                f"The plan loads {source}, and a plan that was read from JSON does not carry that.",
                where=load.rule,
                fix="Plan the model again where the state_dict is, or save it and give its path.",
            )
        else:
            opened = open_source(
                load.checkpoint if load.given is None else load.given,
                sha256=load.expected,
                offline=load.offline,
                part=load.part,
                name=load.checkpoint or source,
            )
            if load.sha256 and opened.sha256 and load.sha256 != opened.sha256:
                raise CheckpointError(
                    f"The checkpoint {source!r} is another file than when the plan was made: its SHA-256 is "
                    f"{opened.sha256}, and was {load.sha256}.",
                    where=load.rule,
                    fix="Plan again.",
                )
        self._opened[source] = opened
        return opened

    def close(self) -> None:
        """Let go of the files."""
        for opened in self._opened.values():
            opened.close()
        self._opened.clear()


def _wanted(plan: Plan) -> Iterator[tuple[Assignment, FromCheckpoint]]:
    """The values that are read."""
    for item in [*plan.parameters.values(), *plan.buffers.values()]:
        value = item.value.over if isinstance(item.value, Opaque) else item.value
        if isinstance(value, FromCheckpoint):
            yield item, value
