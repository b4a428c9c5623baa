"""What ranks send each other: blocks of matrices to those who hold them, and panels to all.

Each step begins when every rank has said that it has come so far, so one that failed keeps nobody waiting;
and who waits for a message looks whether another has failed meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed

from initcfg._apply.ranks import Agreement
from initcfg._stream.writing import Inside, as_array
from initcfg.errors import ApplyError

# Bytes that a rank sends, or is sent, at a time.
_AT_ONCE = 1 << 26


class Piece(NamedTuple):
    """A block of a matrix, the ``number``-th of some, on its way from one rank to another."""

    source: int
    target: int
    number: int
    inside: Inside
    bytes: int


class Exchange:
    """Messages between the ranks of a set, in step; ``device`` is where the process group wants memory."""

    def __init__(
        self, agreement: Agreement, ranks: Sequence[int], rank: int, device: str, group: Any = None
    ) -> None:
        self._agreement = agreement
        self.ranks = sorted(ranks)
        self.rank = rank
        self._device = torch.device(device)
        self._group = group

    def possible(self) -> bool:
        """Whether the process group takes memory of the device: NCCL's takes none of the CPU."""
        group: Any = self._group or torch.distributed.group.WORLD
        try:
            group._get_backend(self._device)
        except RuntimeError:
            return False
        return True

    def begin(self) -> None:
        """Make sure of a process group; every rank calls this."""
        if self._group is None:
            self._group = _group_of(tuple(self.ranks))

    def meet(self, said: Any = None) -> dict[int, Any]:
        """What each rank says, once all have come here; the error of the first that failed, if one has."""
        return self._agreement.tell(self.ranks, said)

    def everywhere(self, numbers: npt.NDArray[np.float64], root: int) -> None:
        """Fill the array with what the ``root``-th rank has there; of an empty one, meet."""
        if numbers.size == 0:
            self.meet()
            return
        there = torch.from_numpy(numbers)
        sent = there.to(self._device)
        source = self.ranks[root]
        work = torch.distributed.broadcast(sent, source, group=self._group, async_op=True)
        self._finish(work)
        if source != self.rank and sent.data_ptr() != there.data_ptr():
            there.copy_(sent)

    def send(
        self,
        pieces: Sequence[Piece],
        taken: Callable[[Piece], npt.NDArray[Any]],
        give: Callable[[Piece, npt.NDArray[np.uint8]], None],
    ) -> None:
        """Send pieces, of which all ranks have the same list: ``taken`` here, to be given there, as bytes."""
        for portion in _portions(pieces):
            self._send(portion, taken, give)

    def _send(
        self,
        pieces: Sequence[Piece],
        taken: Callable[[Piece], npt.NDArray[Any]],
        give: Callable[[Piece, npt.NDArray[np.uint8]], None],
    ) -> None:
        out = [[each for each in pieces if each[:2] == (self.rank, other)] for other in self.ranks]
        into = [[each for each in pieces if each[:2] == (other, self.rank)] for other in self.ranks]
        sizes = (
            [sum(each.bytes for each in one) for one in out],
            [sum(each.bytes for each in one) for one in into],
        )
        sent = np.empty(sum(sizes[0]), np.uint8)
        at = 0
        for piece in (piece for one in out for piece in one):
            sent[at : at + piece.bytes] = np.ascontiguousarray(taken(piece)).reshape(-1).view(np.uint8)
            at += piece.bytes
        got = torch.empty(sum(sizes[1]), dtype=torch.uint8, device=self._device)
        # All have their memory.
        self.meet()
        there = torch.from_numpy(sent).to(self._device)
        work = torch.distributed.all_to_all_single(
            got, there, sizes[1], sizes[0], group=self._group, async_op=True
        )
        self._finish(work)
        found, at = as_array(got.cpu()), 0
        for piece in (piece for one in into for piece in one):
            give(piece, found[at : at + piece.bytes])
            at += piece.bytes

    def _finish(self, work: Any) -> None:
        """Wait for a message; an error if another rank fails meanwhile."""
        waited = 0
        while not work.is_completed():
            self._agreement.check()
            waited += 1
            time.sleep(1e-5 if waited < 200 else 1e-3)
        try:
            work.wait()
        except RuntimeError as error:
            first = (str(error).splitlines() or [""])[0]
            raise ApplyError(
                f"The ranks {self.ranks} could not send each other orthogonal matrices: {first}",
                fix="Look whether a rank has ended. Without collective=True, nothing is sent.",
            ) from error


# By their ranks, for as long as there is the default one. A second group of the same ranks would find what
# the first left in the store.
_groups: dict[tuple[int, ...], tuple[Any, Any]] = {}


def _group_of(ranks: tuple[int, ...]) -> Any:
    """The process group of all ranks, or one of these."""
    distributed = torch.distributed
    world = distributed.group.WORLD
    if list(ranks) == sorted(distributed.get_process_group_ranks(world)):
        return world
    found = _groups.get(ranks)
    if found is None or found[0] is not world:
        made = distributed.new_group(list(ranks), use_local_synchronization=True)
        found = _groups[ranks] = world, made
    return found[1]


def _portions(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """As many pieces at a time as no rank sends, or is sent, too much."""
    portion: list[Piece] = []
    sent: dict[tuple[str, int], int] = {}
    for piece in pieces:
        ends = ("from", piece.source), ("to", piece.target)
        if portion and any(sent.get(end, 0) + piece.bytes > _AT_ONCE for end in ends):
            yield portion
            portion, sent = [], {}
        portion.append(piece)
        for end in ends:
            sent[end] = sent.get(end, 0) + piece.bytes
    if portion:
        yield portion
