"""Making: the numbers of the items of an outline, any piece of any tensor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from initcfg._apply.apply import apply_plan
from initcfg._apply.loading import Sources
from initcfg._apply.run import Run
from initcfg._apply.streaming.items import Item, Outline, key_name, state_of
from initcfg._apply.streaming.pieces import Piece, pieces
from initcfg._apply.user_code import reset_is_init
from initcfg._checkpoints.formats import non_finite
from initcfg._model import Entry
from initcfg._plan import Ledger, Loaded, Plan, Recorded, Write, Written
from initcfg._stream.writing import Block, StreamWriter
from initcfg.errors import CheckpointError
from initcfg.values import FromCheckpoint, Opaque, dtype_name

# Elements at a time.
_SURVEYED = 1 << 22


class Maker:
    """Makes the tensors of an outline.

    Args:
        plan: The plan, in the model's own types.
        model: The model. What must be taken from its memory is written there; else it is left alone.
        outline: What is to be stored.
        seed: The seed.
        rng: ``"stream"`` or ``"torch"``.
    """

    def __init__(
        self, plan: Plan, model: nn.Module, outline: Outline, seed: int, rng: str = "stream"
    ) -> None:
        self._plan = plan
        self._model = model
        self._outline = outline
        self._seed = seed
        self._rng = rng
        self._writer = StreamWriter(seed)
        self._state: dict[str, torch.Tensor] = {}
        self._ledger: Ledger | None = None
        self._whole: tuple[str, torch.Tensor] | None = None
        self._loaded: dict[str, tuple[FromCheckpoint, torch.dtype, int]] = {}
        self._run: _Sparing | None = None
        if outline.in_memory is None:
            self._run = _Sparing(plan, model, seed)
            self._run.check_sources()

    def prepare(self, items: list[Item]) -> None:
        """Write what some of the items need into the model's memory.

        Raises:
            ApplyError: It failed.
            CheckpointError: A checkpoint cannot be read.
        """
        if self._run is None:
            self._ledger = apply_plan(self._plan, self._model, seed=self._seed, rng=self._rng)
        else:
            resident = any(item.way == "resident" for item in items)
            names = {item.name for item in self._outline.items if item.way == "resident"}
            self._run.write(names if resident else set())
            self._ledger = self._run.ledger()
        self._state = state_of(self._model)

    def put(self, into: torch.Tensor, item: Item, piece: Piece) -> None:
        """Fill memory with a piece of an item; of what is streamed, at the latest by :meth:`flush`.

        Args:
            into: Where to: contiguous, of the item's type and the piece's shape.
            item: The item.
            piece: Where in it.

        Raises:
            CheckpointError: A checkpoint cannot be read.
        """
        if item.way == "streamed":
            block = None if piece.sizes == item.shape else Block(item.shape, piece.offsets)
            self._writer.add(into, item.value, key_name(item), block=block)
            return
        whole = self.whole(item)
        for dim, (offset, size) in enumerate(zip(piece.offsets, piece.sizes, strict=True)):
            whole = whole.narrow(dim, offset, size)
        with torch.no_grad():
            into.copy_(whole)
        if item.way == "loaded":
            assert isinstance(item.value, FromCheckpoint)
            before = self._loaded.get(item.name)
            bad = non_finite(into) + (0 if before is None else before[2])
            self._loaded[item.name] = item.value, whole.dtype, bad

    def survey(self, items: Iterable[Item]) -> None:
        """Read what an earlier run has stored of checkpoints, for the account alone."""
        for item in items:
            if item.way == "loaded":
                for piece in pieces(item.shape, _SURVEYED):
                    self.put(torch.empty(piece.sizes, dtype=item.dtype), item, piece)
            elif item.way == "whole" and isinstance(item.value, FromCheckpoint):
                self.whole(item)

    def flush(self) -> None:
        """Do what was queued."""
        self._writer.flush()

    def whole(self, item: Item) -> torch.Tensor:
        """An item that is not made piece by piece, in some type. The one before is let go."""
        if item.way == "resident":
            return self._state[item.key].detach()
        if self._whole is None or self._whole[0] != item.key:
            self._whole = None
            self._whole = item.key, self._made(item)
        return self._whole[1]

    def release(self) -> None:
        """Let go of what was made whole."""
        self._whole = None

    def close(self) -> None:
        """Let go of everything; what was pending in the model is so again."""
        self.release()
        self._state.clear()
        if self._run is not None:
            self._run.close()
            self._run.back_to_pending()

    def accounts(self, items: list[Item]) -> dict[str, Written]:
        """What the ledger says of items that were made here, by name."""
        assert self._ledger is not None
        found: dict[str, Written] = {}
        for item in items:
            entry = self._ledger.entries.get(item.name)
            if entry is None:
                continue
            loaded = self._loaded.get(item.name)
            if self._run is not None and loaded is not None:
                entry = replace(entry, loaded=self._run.sources.account(*loaded))
            elif self._run is not None and item.way == "whole":
                entry = replace(entry, loaded=self._run.loaded_of(item.name))
            found[item.name] = entry
        return found

    def ledger(self, accounts: dict[str, Written]) -> Ledger:
        """The ledger of the whole, with the types that were stored.

        Args:
            accounts: What :meth:`accounts` said, here and elsewhere.
        """
        assert self._ledger is not None
        entries: dict[str, Written] = {}
        stored = {item.name: dtype_name(item.dtype) for item in self._outline.items}
        for name, entry in self._ledger.entries.items():
            planned = self._outline.plan.parameters.get(name) or self._outline.plan.buffers.get(name)
            dtype = stored.get(name) or (entry.dtype if planned is None else planned.dtype)
            entries[name] = replace(accounts.get(name, entry), dtype=dtype)
        return replace(self._ledger, entries=entries, plan_digest=self._outline.plan.digest)

    def _made(self, item: Item) -> torch.Tensor:
        if item.way == "loaded":
            assert isinstance(item.value, FromCheckpoint) and self._run is not None
            found = self._run.sources.stored(item.value)
            if tuple(found.shape) != item.shape:
                raise CheckpointError(
                    f"The checkpoint gives the shape {tuple(found.shape)} for {item.value.key!r}.",
                    parameter=item.name,
                    shape=item.shape,
                    fix="Plan again.",
                )
            return found
        made = torch.empty(item.shape, dtype=item.dtype)
        if isinstance(item.value, FromCheckpoint):
            assert self._run is not None
            self._run.load(made, item.value, item.name)
        else:
            self._writer.add(made, item.value, key_name(item))
            self._writer.flush()
        return made


class _Sparing(Run):
    """A run that writes of the model only what must be in its memory, and gives account of everything."""

    def __init__(self, plan: Plan, model: nn.Module, seed: int) -> None:
        super().__init__(plan, model, "stream", checked=False)
        self.seed = seed
        self.writer = StreamWriter(seed)
        self._wanted: set[str] = set()

    @property
    def sources(self) -> Sources:
        """The checkpoints."""
        return self._sources

    def check_sources(self) -> None:
        """All that can be foreseen of the checkpoints."""
        self._sources.check(self.plan, self.entries)

    def write(self, names: set[str]) -> None:
        """Write the tensors of these names."""
        self._wanted = names
        try:
            self.execute()
        except BaseException:
            self.back_to_pending()
            raise
        reset_is_init(self.model)

    def load(self, tensor: torch.Tensor, value: FromCheckpoint, name: str) -> None:
        """Read a value from its checkpoint, made to fit."""
        self._loaded[name] = self._sources.load(tensor, value, self._normal(name))

    def loaded_of(self, name: str) -> Loaded | None:
        """What was read for a tensor; None if nothing was."""
        return self._loaded.get(name)

    def _write(self, write: Write, entries: dict[str, Entry]) -> None:
        if write.name is None or not write.final:
            return
        if write.name in self._wanted:
            super()._write(write, entries)
        else:
            self._note_write(write, entries[write.name], write.name)

    def _run_opaque(self, record: Recorded) -> None:
        items = [*self.plan.parameters.values(), *self.plan.buffers.values()]
        opaque = [item for item in items if isinstance(item.value, Opaque)]
        wanted = [item.name for item in opaque if item.name in self._wanted]
        if wanted and self.seed is not None:
            record.opaque(wanted, self.entries, self.seed)
        for item in opaque:
            self._note_traced(item)
