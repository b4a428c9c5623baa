"""Orthogonal matrices of a plan, collected while it is carried out, and made by all ranks at its end."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed

from initcfg._apply.collective.dealing import PANEL, deal, split
from initcfg._apply.collective.exchange import Exchange, Piece
from initcfg._apply.collective.wanted import Wanted, wanted_matrices
from initcfg._apply.ranks import Agreement
from initcfg._model import HeldBlock, blocks_of_ranks, is_sharded
from initcfg._stream.bits import Keys, kernel
from initcfg._stream.writing import (
    Inside,
    Matrix,
    Share,
    fill_matrices,
    make_columns_among,
    make_matrices,
    thread_count,
)
from initcfg.values import Value


class Together:
    """The matrices that the ranks of an agreement make for each other.

    Args:
        agreement: Of all ranks that hold parts of the model.
        replicas: Ranks that may all hold the same tensors, where these are no DTensors.
        seed: The seed of the stream.
    """

    def __init__(self, agreement: Agreement, replicas: Sequence[int], seed: int) -> None:
        self._agreement = agreement
        self._replicas = tuple(replicas) if len(replicas) > 1 else ()
        self._key = Keys(seed)
        # By the set of ranks, and where their process group wants memory.
        self._wanted: dict[tuple[tuple[int, ...], str], list[Wanted]] = {}
        # Where there is one already.
        self._groups: dict[tuple[int, ...], Any] = {}
        self._shares: dict[Matrix, list[Share]] = {}
        self._tensors: list[torch.Tensor] = []

    def takes(self, tensor: Any, value: Value, name: str) -> bool:
        """Whether the orthogonal matrices of a tensor will be made together: the same on all of its ranks."""
        if is_sharded(tensor):
            held, device = blocks_of_ranks(tensor), tensor.device_mesh.device_type
            if tensor.device_mesh.get_coordinate() is None:
                return False
            if tensor.device_mesh.ndim == 1:
                group = tensor.device_mesh.get_group()
                self._groups.setdefault(
                    tuple(sorted(torch.distributed.get_process_group_ranks(group))), group
                )
        else:
            whole = HeldBlock((0,) * tensor.dim(), tuple(tensor.shape))
            held, device = {rank: (whole,) for rank in self._replicas}, tensor.device.type
        if held is None or len(held) < 2:
            return False
        double = tensor.dtype == torch.float64
        found = wanted_matrices(value, tuple(tensor.shape), name, double, held, self._key)
        self._wanted.setdefault((tuple(sorted(held)), device), []).extend(found)
        return bool(found)

    def add(self, tensor: torch.Tensor, shares: Sequence[Share]) -> None:
        """What this rank wants of the matrices of a tensor that is taken."""
        self._tensors.append(tensor)
        for share in shares:
            self._shares.setdefault(share.matrix, []).append(share)

    def make(self, tell: Callable[[int], None]) -> None:
        """Make all that was taken; every rank calls this at the same place."""
        wanted, shares, tensors = self._wanted, self._shares, self._tensors
        self._wanted, self._shares, self._tensors = {}, {}, []
        # One order on all ranks, so that no two sets wait for each other.
        for ranks, device in sorted(wanted, key=lambda each: (-len(each[0]), each)):
            rank = torch.distributed.get_rank()
            own, group = wanted[ranks, device], self._groups.get(ranks)
            exchange = Exchange(self._agreement, ranks, rank, device, group)
            said = exchange.meet((_digest(own, group), exchange.possible()))
            if len({digest for digest, _ in said.values()}) == 1 and all(each for _, each in said.values()):
                exchange.begin()
                _Session(exchange, shares, tell).make(own)
                continue
            # They do not mean the same, so each does its own.
            found = dict.fromkeys(each.matrix for each in own)
            make_matrices([share for each in found for share in shares.get(each, ())], thread_count(), tell)
        torch.autograd.graph.increment_version(tensors)


def _digest(wanted: Sequence[Wanted], group: Any) -> str:
    """Of what one rank means to be wanted by all, and of the process group."""
    told: list[Any] = [getattr(group, "group_name", None)]
    for matrix, blocks in ((each.matrix, each.blocks) for each in wanted):
        form = matrix.form
        numbers = (matrix.key, matrix.base, matrix.double, form.gain.hex(), form.axes, form.sizes, form.order)
        told.append((*numbers, form.strides, sorted(blocks.items())))
    return hashlib.sha256(repr(told).encode()).hexdigest()


class _Session:
    """What the ranks of one set do."""

    def __init__(
        self, exchange: Exchange, shares: dict[Matrix, list[Share]], tell: Callable[[int], None]
    ) -> None:
        self._exchange = exchange
        self._shares = shares
        self._tell = tell
        self._threads = thread_count()

    def make(self, wanted: list[Wanted]) -> None:
        ranks = self._exchange.ranks
        panels = all(self._exchange.meet(kernel.available()).values())
        dealt, together = split(wanted, len(ranks), panels)
        for each in together:
            self._by_panels(each)
        hands = deal(dealt, ranks)
        for step in range(max(map(len, hands.values()), default=0)):
            self._by_hands({rank: hand[step] for rank, hand in hands.items() if step < len(hand)})

    def _by_hands(self, hands: dict[int, list[Wanted]]) -> None:
        """Each rank makes its own, and sends to the others what they hold."""
        rank = self._exchange.rank
        own = hands.get(rank, [])
        places = [np.empty(each.matrix.form.sizes, _type(each.matrix)) for each in own]
        reaches = [each.matrix.form.reach(list(itertools.chain(*each.blocks.values()))) for each in own]
        fill_matrices([each.matrix for each in own], places, reaches, self._threads)
        # In one list on all ranks: those of each rank follow on each other.
        flat = [(maker, each) for maker, hand in hands.items() for each in hand]
        first = next((at for at, (maker, _) in enumerate(flat) if maker == rank), 0)
        pieces = [
            piece
            for index, (maker, each) in enumerate(flat)
            for piece in _pieces(maker, index, each, each.matrix.form.sizes)
        ]
        self._deliver(pieces, [each.matrix for _, each in flat], lambda index: places[index - first])

    def _by_panels(self, wanted: Wanted) -> None:
        """All work on one matrix, a panel each, and send to the others what they hold."""
        matrix, ranks = wanted.matrix, self._exchange.ranks
        made = np.empty(matrix.form.sizes, _type(matrix))
        at = ranks.index(self._exchange.rank)
        make_columns_among(matrix, made, self._threads, at, len(ranks), self._exchange.everywhere)
        axis = matrix.form.orthogonal_axes[0]
        pieces: list[Piece] = []
        for number, start in enumerate(range(0, matrix.form.count, PANEL)):
            panel = [(0, size) for size in matrix.form.sizes]
            panel[axis] = start, min(start + PANEL, matrix.form.count)
            pieces += _pieces(ranks[number % len(ranks)], 0, wanted, matrix.form.sizes, tuple(panel))
        self._deliver(pieces, [matrix], lambda _: made)

    def _deliver(
        self,
        pieces: Sequence[Piece],
        matrices: Sequence[Matrix],
        place: Callable[[int], npt.NDArray[Any]],
    ) -> None:
        rank = self._exchange.rank

        def taken(piece: Piece) -> npt.NDArray[Any]:
            return place(piece.number)[tuple(slice(*each) for each in piece.inside)]

        def give(piece: Piece, found: npt.NDArray[np.uint8]) -> None:
            matrix = matrices[piece.number]
            numbers = np.require(found, requirements="C").view(_type(matrix))
            sizes = [last - first for first, last in piece.inside]
            self._give(matrix, piece.inside, np.require(numbers.reshape(sizes), requirements="A"))

        for piece in pieces:
            if piece.source == piece.target == rank:
                self._give(matrices[piece.number], piece.inside, taken(piece))
        self._exchange.send([each for each in pieces if each.source != each.target], taken, give)

    def _give(self, matrix: Matrix, inside: Inside, made: npt.NDArray[Any]) -> None:
        for share in self._shares.get(matrix, ()):
            common = _common(inside, share.inside)
            if common is None:
                continue
            there = tuple(
                slice(first - start, last - start)
                for (first, last), (start, _) in zip(common, share.inside, strict=True)
            )
            here = tuple(
                slice(first - start, last - start)
                for (first, last), (start, _) in zip(common, inside, strict=True)
            )
            with torch.no_grad():
                share.into[there].copy_(torch.from_numpy(made[here]))
            self._tell(math.prod(last - first for first, last in common))


def _pieces(
    maker: int, index: int, wanted: Wanted, sizes: Sequence[int], of: Inside | None = None
) -> list[Piece]:
    """What the maker of a matrix, or of a block ``of`` it, has for each rank that holds some of that."""
    size = np.dtype(_type(wanted.matrix)).itemsize
    found: list[Piece] = []
    for rank in sorted(wanted.blocks):
        for block in wanted.blocks[rank]:
            common = block if of is None else _common(block, of)
            if common is not None:
                count = math.prod(last - first for first, last in common)
                found.append(Piece(maker, rank, index, common, count * size))
    return found


def _common(one: Inside, other: Inside) -> Inside | None:
    found = tuple(
        (max(first, start), min(last, stop)) for (first, last), (start, stop) in zip(one, other, strict=True)
    )
    return None if any(first >= last for first, last in found) else found


def _type(matrix: Matrix) -> type[np.floating[Any]]:
    return np.float64 if matrix.double else np.float32
