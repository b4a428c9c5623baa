"""Making: the numbers of the items of an outline, any piece of any tensor.

Pieces are blocks that are runs of a tensor's row-major order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from initcfg._apply.apply import apply_plan, carry_out
from initcfg._apply.execution import Execution
from initcfg._apply.filling import StreamFiller
from initcfg._apply.finite import non_finite
from initcfg._apply.load_warnings import warn_of_loads
from initcfg._apply.planned_checkpoints import PlannedCheckpoints
from initcfg._apply.streaming.items import Item, Outline, state_of
from initcfg._apply.user_code import reset_is_init
from initcfg._checkpoints import Stored
from initcfg._model import named_tensors
from initcfg._plan import Ledger, Loaded, Plan, Written
from initcfg._record import recall_defaults
from initcfg._stream.writing import Block, narrowed
from initcfg.errors import ApplyError
from initcfg.values import FromCheckpoint, dtype_name

# Elements at a time.
_SURVEYED = 1 << 22


class Piece(NamedTuple):
    """A block of a tensor that is one run of its elements: where it begins, and its shape."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.sizes)


def pieces(shape: Sequence[int], most: int, room: Callable[[], int] | None = None) -> Iterator[Piece]:
    """A tensor in pieces of at most ``most`` elements, in order.

    ``room`` is asked how many are left where the next one goes; if that is a fourth of ``most``, it fills
    these.

    Example:
        >>> from initcfg._apply.streaming.making import pieces
        >>> for piece in pieces((3, 4), 8):
        ...     print(piece)
        Piece(offsets=(0, 0), sizes=(2, 4))
        Piece(offsets=(2, 0), sizes=(1, 4))
    """
    if 0 in shape:
        return
    if not shape:
        yield Piece((), ())
        return
    # The first dimension of which at least one row fits is cut; of those before it, each index is apart.
    cut = next(dim for dim in range(len(shape)) if math.prod(shape[dim + 1 :]) <= most)
    inner = tuple(shape[cut + 1 :])
    row = math.prod(inner)
    rows = most // row
    for before in itertools.product(*map(range, shape[:cut])):
        first = 0
        while first < shape[cut]:
            left = 0 if room is None else room()
            fitting = min(left // row, rows) if 4 * left >= most else 0
            sizes = (*(1 for _ in before), min(fitting or rows, shape[cut] - first), *inner)
            yield Piece((*before, first, *(0 for _ in inner)), sizes)
            first += sizes[cut]


class Maker:
    """Makes the tensors of an outline, by the plan in the model's own types.

    What must be taken from the model's memory is written there; else it is left alone. ``applied``: the
    ledger of a model that has been written already.
    """

    def __init__(
        self,
        plan: Plan,
        model: nn.Module,
        outline: Outline,
        seed: int,
        rng: str = "stream",
        applied: Ledger | None = None,
    ) -> None:
        self._plan = plan
        self._model = model
        self._outline = outline
        self._seed = seed
        self._rng = rng
        self._checkpoints = PlannedCheckpoints(plan.loads, waits=False)
        self._filler = StreamFiller(self._checkpoints, seed)
        self._execution: Execution | None = None
        self._ledger = applied
        self._state: dict[str, torch.Tensor] = {}
        self._whole: tuple[str, torch.Tensor] | None = None
        self._loaded: dict[str, Loaded] = {}
        if outline.in_memory is None:
            self._checkpoints.check(plan, named_tensors(model))
            warn_of_loads(plan.loads)

    def prepare(self, items: list[Item]) -> None:
        """Write what some of the items need into the model's memory."""
        if self._ledger is not None:
            pass
        elif self._outline.in_memory is not None:
            self._ledger = apply_plan(self._plan, self._model, seed=self._seed, rng=self._rng)
        else:
            # What is taken from the model's memory is written, if needed; the ledger is of everything.
            needed = any(item.way == "resident" for item in items)
            only = {item.name for item in self._outline.items if needed and item.way == "resident"}
            recall_defaults(self._model.modules())
            execution = Execution(self._plan, self._model, self._checkpoints, self._filler, only=only)
            self._execution = execution
            carry_out(execution, self._seed)
            reset_is_init(execution)
            self._ledger = execution.ledger("stream", self._seed)
        self._state, _ = state_of(self._model)
        for item in items:
            there = self._state.get(item.key)
            if there is None or (tuple(there.shape) != item.shape and item.way == "resident"):
                raise ApplyError(
                    f"The model's own code has changed {item.key!r}, which was to be stored with the shape "
                    f"{item.shape}, and planning did not foresee it.",
                    parameter=item.name,
                    fix="Initialize the model in memory, and save that.",
                )

    def put(self, into: torch.Tensor, item: Item, piece: Piece) -> None:
        """Fill memory with a piece of an item; of what is streamed, at the latest by :meth:`flush`.

        The memory is contiguous, of the item's type and the piece's shape.
        """
        if item.way == "streamed":
            block = None if piece.sizes == item.shape else Block(item.shape, piece.offsets)
            self._filler.writer.add(into, item.value, item.name, block=block)
            return
        stored = self._stored(item)
        with torch.no_grad():
            if stored is not None and stored.in_pieces:
                stored.read_into(into, piece.offsets)
            else:
                into.copy_(narrowed(self.whole(item), piece.offsets, piece.sizes))
        if item.way == "loaded":
            loaded = self._loaded[item.name]
            self._loaded[item.name] = replace(loaded, non_finite=(loaded.non_finite or 0) + non_finite(into))

    def survey(self, items: Iterable[Item]) -> None:
        """Read what an earlier run has stored of checkpoints, for the account alone."""
        for item in items:
            if item.way == "loaded":
                for piece in pieces(item.shape, _SURVEYED):
                    self.put(torch.empty(piece.sizes, dtype=item.dtype, device="cpu"), item, piece)
            elif item.way == "whole" and isinstance(item.value, FromCheckpoint):
                self.whole(item)

    def flush(self) -> None:
        """Do what was queued."""
        self._filler.flush()

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
        self._checkpoints.close()
        if self._execution is not None:
            self._execution.back_to_pending()

    def accounts(self, items: list[Item]) -> dict[str, Written]:
        """What the ledger says of items that were made here, by name."""
        assert self._ledger is not None
        entries = self._ledger.entries
        names = [item.name for item in items if item.name in entries]
        return {n: replace(entries[n], loaded=self._loaded.get(n, entries[n].loaded)) for n in names}

    def ledger(self, accounts: dict[str, Written]) -> Ledger:
        """The ledger of the whole, from what :meth:`accounts` said here and elsewhere."""
        assert self._ledger is not None
        plan = self._outline.plan
        dtypes = {name: item.dtype for name, item in (*plan.parameters.items(), *plan.buffers.items())}
        dtypes.update((item.name, dtype_name(item.dtype)) for item in self._outline.items)
        entries = {
            name: replace(accounts.get(name, entry), dtype=dtypes.get(name, entry.dtype))
            for name, entry in self._ledger.entries.items()
        }
        loads = self._checkpoints.digested(self._ledger.loads)
        return replace(self._ledger, entries=entries, plan_digest=plan.digest, loads=loads)

    def _stored(self, item: Item) -> Stored | None:
        """What an item is of a checkpoint, if it is copied from one as it is."""
        if item.way != "loaded" or not isinstance(item.value, FromCheckpoint):
            return None
        found, loaded = self._checkpoints.stored(item.value, item.shape)
        self._loaded.setdefault(item.name, loaded)
        return found

    def _made(self, item: Item) -> torch.Tensor:
        if (stored := self._stored(item)) is not None:
            return stored.read()
        made = torch.empty(item.shape, dtype=item.dtype, device="cpu")
        loaded = self._filler.fill(made, item.value, item.name)
        self._filler.flush()
        if loaded is not None:
            self._loaded[item.name] = loaded
        return made
