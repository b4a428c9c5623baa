"""Ranks agree in several sets at once: the seed and the failures go through all of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_threads import message, run, sets_of
from torch.distributed import HashStore

from initcfg._apply.ranks.agreement import Agreement

pytestmark = pytest.mark.usefixtures("quick_heartbeat", "no_thread_is_left")


@pytest.mark.parametrize(
    ("sets", "seeds"),
    [
        ([(0, 2), (1, 3), (0, 1, 2, 3)], [0] * 4),
        ([(3, 1), (2, 0), (1, 0, 3, 2)], [1] * 4),
        # Rows and columns of a mesh: the seed goes from the first row down the columns.
        ([(0, 1), (2, 3), (0, 2), (1, 3)], [0] * 4),
        ([(0, 1), (2, 3), (1, 3)], [0] * 4),
        ([(0, 1), (2, 3)], [0, 0, 2, 2]),
    ],
)
def test_several_sets(sets: list[tuple[int, ...]], seeds: list[int]) -> None:
    store = HashStore()

    def one(rank: int) -> int:
        mine = sets_of(rank, sets)
        # In whatever order they are given.
        with Agreement(mine[rank % 2 :] + mine[: rank % 2], store=store, rank=rank, timeout=50) as agreement:
            return agreement.on({"plan": "p"}, seed=None, draw=lambda: rank)

    for _ in range(3):
        assert run(4, one) == seeds


def test_seeds_drawn_in_sets_that_meet_too_late() -> None:
    store, sets = HashStore(), [(0, 1, 2), (3, 4, 5), (2, 3)]

    def one(rank: int) -> int:
        with Agreement(sets_of(rank, sets), store=store, rank=rank, timeout=50) as agreement:
            return agreement.on({}, seed=None, draw=lambda: rank)

    outcomes = run(6, one)
    assert message(outcomes) == "The ranks do not agree on the seed: rank 2 has 0, rank 3 has 3."
    assert outcomes[0].fix == "Each was drawn in another set of ranks: give all the same seed."


def test_a_failure_reaches_ranks_of_other_sets() -> None:
    store, sets = HashStore(), [(0, 1), (1, 2), (2, 3)]

    def one(rank: int) -> None:
        with Agreement(sets_of(rank, sets), store=store, rank=rank, timeout=50) as agreement:
            agreement.on({}, seed=0, draw=lambda: 0)
            if rank == 0:
                raise OSError("disk full")

    outcomes = run(4, one)
    assert message(outcomes, but=0) == "Rank 0 failed, so all stop: OSError: disk full"


CHAIN = [(rank, rank + 1) for rank in range(6)]
GRID = [tuple(range(row, row + 3)) for row in (0, 3, 6)] + [
    (column, column + 3, column + 6) for column in (0, 1, 2)
]
STAR = [(0, rank) for rank in range(1, 5)]


@pytest.mark.parametrize("sets", [CHAIN, GRID, STAR, [*CHAIN, (6, 0)], [(0, 1, 2), (2, 3), (3, 4, 5)]])
@pytest.mark.parametrize("late", [0.0, 0.2])
def test_nobody_is_done_before_a_rank_that_others_connect_with_it(sets, late: float) -> None:
    world = 1 + max(rank for ranks in sets for rank in ranks)
    failing = world - 1

    def one(rank: int, number: int) -> int:
        with Agreement(sets_of(rank, sets), store=store, rank=rank, timeout=50) as agreement:
            seed = agreement.on({}, seed=number, draw=lambda: 0)
            if rank == failing:
                time.sleep(late)
                if number == 1:
                    raise OSError("disk full")
        return seed

    store = HashStore()
    # A round that ends well, one that fails, and again one that ends well.
    for number in (0, 1, 2):
        outcomes = run(world, lambda rank, number=number: one(rank, number))
        if number == 1:
            told = f"Rank {failing} failed, so all stop: OSError: disk full"
            assert message(outcomes, but=failing) == told
        else:
            assert outcomes == [number] * world


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_sets_that_hang_together_end_together(data) -> None:
    world = data.draw(st.integers(2, 7))
    # Each rank with an earlier one, so that they hang together; and others.
    sets = [(data.draw(st.integers(0, rank - 1)), rank) for rank in range(1, world)]
    sets += data.draw(
        st.lists(st.sets(st.integers(0, world - 1), min_size=2).map(sorted).map(tuple), max_size=3)
    )
    failing = data.draw(st.integers(0, world - 1))
    store = HashStore()

    def one(rank: int) -> None:
        with Agreement(sets_of(rank, sets), store=store, rank=rank, timeout=50) as agreement:
            agreement.on({}, seed=0, draw=lambda: 0)
            if rank == failing:
                raise OSError("disk full")

    outcomes = run(world, one)
    assert message(outcomes, but=failing) == f"Rank {failing} failed, so all stop: OSError: disk full"


@pytest.mark.parametrize("failing", [1, 3])
def test_a_failure_before_all_sets_have_met_is_not_heard_of_again(failing: int) -> None:
    # Rank 2 comes late, when rank 0 has heard of the failure already and is gone.
    store, sets = HashStore(), [(3, 0, 2, 1), (2, 0), (1, 2)]

    def one(rank: int, number: int) -> int:
        time.sleep(0.3 if rank == 2 and number == 0 else 0.0)
        with Agreement(sets_of(rank, sets), store=store, rank=rank, timeout=50) as agreement:
            if rank == failing and number == 0:
                raise OSError("disk full")
            return agreement.on({}, seed=number, draw=lambda: 0)

    outcomes = run(4, lambda rank: one(rank, 0))
    told = f"Rank {failing} failed, so all stop: OSError: disk full"
    assert message(outcomes, but=failing) == told
    for number in (1, 2, 3):
        assert run(4, lambda rank, number=number: one(rank, number)) == [number] * 4


def test_this_rank_must_be_in_every_set() -> None:
    with pytest.raises(ValueError, match="rank 2 is not in every set"):
        Agreement([(0, 1)], store=HashStore(), rank=2)
