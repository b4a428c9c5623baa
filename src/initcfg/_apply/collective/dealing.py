"""Who makes which matrix: whole ones to each rank while there are enough, what is left to all, by panels."""

from __future__ import annotations

from collections.abc import Sequence

from initcfg._apply.collective.wanted import Wanted
from initcfg._stream.writing import Matrix, batches

PANEL = 48
"""Columns that one rank makes of a matrix on which all work."""

# A matrix of fewer panels than this for each rank is not worth the messages.
_PANELS_EACH = 8
# All work on what is left after whole rounds only if it is less than this part of a round.
_REST = 0.5


def work_of(matrix: Matrix) -> float:
    """Multiplications, up to a factor: to factor a matrix of n columns of length m, and to make Q of it."""
    form = matrix.form
    count, length = form.count, form.elements / max(form.count, 1)
    return count * count * (length - count / 3)


def split(wanted: Sequence[Wanted], ranks: int, panels: bool) -> tuple[list[Wanted], list[Wanted]]:
    """What is dealt out whole, and what all ranks make together, if they can work by ``panels``."""
    by_size = sorted(wanted, key=lambda each: -work_of(each.matrix))
    large = [each for each in by_size if panels and _worth_panels(each.matrix, ranks)]
    rest = len(large) % ranks
    if not rest or rest > _REST * ranks:
        return by_size, []
    # The largest are what leaves others waiting.
    together = large[:rest]
    chosen = set(map(id, together))
    return [each for each in by_size if id(each) not in chosen], together


def _worth_panels(matrix: Matrix, ranks: int) -> bool:
    form = matrix.form
    return len(form.orthogonal_axes) == 1 and form.count >= PANEL * _PANELS_EACH * ranks


def deal(wanted: Sequence[Wanted], ranks: Sequence[int]) -> dict[int, list[list[Wanted]]]:
    """What each rank makes, in batches; the largest first, each to whom has least, or holds it."""
    dealt: dict[int, list[Wanted]] = {rank: [] for rank in ranks}
    loads = dict.fromkeys(ranks, 0.0)
    for each in wanted:
        least = min(loads.values())
        idle = [rank for rank in ranks if loads[rank] == least]
        rank = next((rank for rank in idle if rank in each.blocks), idle[0])
        dealt[rank].append(each)
        loads[rank] += work_of(each.matrix)
    return {rank: _batched(each) for rank, each in dealt.items()}


def _batched(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    left = iter(wanted)
    return [[next(left) for _ in batch] for batch in batches([each.matrix for each in wanted])]
