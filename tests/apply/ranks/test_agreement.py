"""Ranks agree on what they write: as threads with a store, for all that is logic."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch.distributed
from rank_threads import agree, message, run
from torch.distributed import FileStore, HashStore, PrefixStore, TCPStore

from initcfg._apply.ranks.agreement import Agreement
from initcfg._apply.ranks.disagreement import ranks_text

pytestmark = pytest.mark.usefixtures("quick_heartbeat", "no_thread_is_left")

# -- agreeing ------------------------------------------------------------------------------------


@pytest.fixture(params=["hash", "file", "tcp", "prefix"])
def any_store(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    if request.param == "file":
        return FileStore(str(tmp_path / "store"), 3)
    if request.param == "hash":
        return HashStore()
    tcp = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return tcp if request.param == "tcp" else PrefixStore("a", PrefixStore("b", tcp))


def test_on_any_store(any_store: Any) -> None:
    for seed in (3, 2**64 - 1, -5):
        assert run(3, lambda rank, seed=seed: agree(any_store, rank, 3, seed=seed)) == [seed] * 3
    outcomes = run(3, lambda rank: agree(any_store, rank, 3, seed=rank // 2))
    assert message(outcomes) == "The ranks do not agree on the seed: ranks 0 and 1 have 0, rank 2 has 1."
    assert run(3, lambda rank: agree(any_store, rank, 3, seed=None, draw=rank + 5)) == [5] * 3


def test_without_a_seed_all_draw_and_the_first_one_counts() -> None:
    store, drew = HashStore(), [0, 0, 0]

    def one(rank: int) -> int:
        def draw() -> int:
            drew[rank] += 1
            return 100 + rank

        # The set's first rank, which is not its least.
        with Agreement([(2, 0, 1)], store=store, rank=rank, timeout=50) as agreement:
            return agreement.on({}, seed=None, draw=draw)

    assert run(3, one) == [102] * 3
    assert drew == [1, 1, 1]


def test_a_seed_given_draws_nothing() -> None:
    def draw() -> int:
        raise AssertionError

    with Agreement() as agreement:
        assert agreement.on({}, seed=0, draw=draw) == 0


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ((0, 1), "rank 0 has 0, rank 1 has 1"),
        ((0, 0, 0, 1, 0), "ranks 0-2 and 4 have 0, rank 3 has 1"),
        ((0, 0, None), "ranks 0 and 1 have 0, rank 2 has none"),
        ((None, 0, None), "ranks 0 and 2 have none, rank 1 has 0"),
        (tuple(range(6)), "rank 0 has 0, rank 1 has 1, rank 2 has 2, rank 3 has 3 and 2 more"),
    ],
)
def test_another_seed(seeds: tuple[int | None, ...], told: str) -> None:
    store, world = HashStore(), len(seeds)
    outcomes = run(world, lambda rank: agree(store, rank, world, seed=seeds[rank]))
    assert message(outcomes) == f"The ranks do not agree on the seed: {told}."
    assert outcomes[0].fix == "Give every rank the same seed, or none."


def test_another_version_and_all_else_that_differs() -> None:
    store = HashStore()

    def one(rank: int, **more: Any) -> int:
        facts = {"initcfg": f"0.{rank + 1}.0", "stream": "1", "rng": "stream" if rank else "torch"}
        return agree(store, rank, 2, facts=facts, **more)

    outcomes = run(2, lambda rank: one(rank, seed=rank))
    assert message(outcomes) == (
        "The ranks do not agree on the version of initcfg: rank 0 has 0.1.0, rank 1 has 0.2.0; "
        "nor on rng: rank 0 has torch, rank 1 has stream; nor on the seed: rank 0 has 0, rank 1 has 1."
    )
    assert outcomes[1].fix == (
        "Install the same version of initcfg on every rank. Give every rank the same rng. "
        "Give every rank the same seed, or none."
    )


def test_a_fact_that_only_one_has() -> None:
    store = HashStore()
    facts = [{"plan": "p"}, {"plan": "p", "dtype": "bf16"}]
    outcomes = run(2, lambda rank: agree(store, rank, 2, facts=facts[rank]))
    assert message(outcomes) == "The ranks do not agree on dtype: rank 0 has none, rank 1 has bf16."


A = {"a": "1", "b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ([A, {**A, "c": "x"}], "rank 1's differs in 1 tensor: c"),
        ([A, {"a": "x", "b": "2"}], "rank 1's differs in 2 tensors: a, c (only rank 0 has it)"),
        ([A, {**A, "d": "4"}], "rank 1's differs in 1 tensor: d (only rank 1 has it)"),
        ([A, A], "rank 1's differs, though in no tensor"),
        ([A, {name: "x" for name in "abcdefgh"}], "rank 1's differs in 8 tensors: a, b, c, "
         "d (only rank 1 has it), e (only rank 1 has it) and 3 more"),
        ([A, A, {**A, "b": "x"}, {**A, "b": "x"}],
         "that of ranks 2 and 3 differs from rank 0's in 1 tensor: b"),
        ([A, {**A, "a": "x"}, {**A, "b": "x"}], "rank 1's differs from rank 0's in 1 tensor: a; "
         "rank 2's differs from rank 0's in 1 tensor: b"),
    ],
)  # fmt: skip
def test_another_plan(details: list[dict[str, str]], told: str) -> None:
    store, world, asked = HashStore(), len(details), []

    def one(rank: int) -> None:
        def digests() -> dict[str, str]:
            asked.append(rank)
            return details[rank]

        # Where no tensor differs, something else does.
        plan = f"{details[rank]}" + (f"{rank}" if details == [A, A] else "")
        with Agreement([range(world)], store=store, rank=rank, timeout=50) as agreement:
            agreement.on({"plan": plan}, seed=0, draw=lambda: 0, details=digests)

    outcomes = run(world, one)
    assert message(outcomes) == f"The ranks do not agree on the plan: {told}."
    assert outcomes[0].fix == "Build the same model and give the same rules on every rank."
    # One of each group, and each once.
    assert len(asked) == len({f"{each}" for each in details}) + (details == [A, A])


def test_another_plan_without_details_shows_short_digests() -> None:
    store = HashStore()
    outcomes = run(2, lambda rank: agree(store, rank, 2, facts={"plan": str(rank) * 64}))
    told = f"rank 0 has {'0' * 12}, rank 1 has {'1' * 12}"
    assert message(outcomes) == f"The ranks do not agree on the plan: {told}."


def test_many_plans() -> None:
    store = HashStore()
    outcomes = run(8, lambda rank: agree(store, rank, 8, facts={"plan": f"{rank}"}, details={"w": f"{rank}"}))
    assert message(outcomes).endswith("rank 4's differs from rank 0's in 1 tensor: w and 3 more.")


def test_details_are_not_asked_for_where_only_the_seed_differs() -> None:
    store = HashStore()

    def details() -> dict[str, str]:
        raise AssertionError

    def one(rank: int) -> None:
        with Agreement([(0, 1)], store=store, rank=rank, timeout=50) as agreement:
            agreement.on({"plan": "p"}, seed=rank, draw=lambda: 0, details=details)

    assert "the seed" in message(run(2, one))


def test_an_agreement_after_another_and_twice_in_one() -> None:
    store = HashStore()

    def one(rank: int) -> list[int]:
        out = []
        for number in range(5):
            out.append(agree(store, rank, 3, seed=None, draw=number * 10 + rank))
            with Agreement([(0, 1, 2)], store=store, rank=rank, timeout=50) as agreement:
                out += [agreement.on({}, seed=None, draw=lambda n=n: n + rank) for n in (100, 200)]
        return out

    expected = [each for number in range(5) for each in (number * 10, 100, 200)]
    assert run(3, one) == [expected] * 3


# -- nobody to agree with ------------------------------------------------------------------------


class Untouched:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.mark.parametrize("sets", [[], [(0,)], [(0,), (3,)], [(1, 1)]])
def test_sets_of_one_exchange_nothing(sets: list[tuple[int, ...]]) -> None:
    before = threading.active_count()
    with Agreement(sets, store=Untouched(), rank=0) as agreement:  # type: ignore[arg-type]
        assert agreement.on({"plan": "p"}, seed=None, draw=lambda: 5) == 5
        assert threading.active_count() == before
        agreement.check()
    with pytest.raises(KeyError), Agreement(sets) as agreement:
        raise KeyError


def test_without_a_process_group_nothing_is_exchanged() -> None:
    with Agreement([(0, 1)]) as agreement:
        assert agreement.on({}, seed=None, draw=lambda: 5) == 5


def test_a_fake_process_group_exchanges_nothing() -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=3, world_size=1024)
    try:
        with Agreement([tuple(range(1024))]) as agreement:
            assert agreement.on({}, seed=9, draw=lambda: 5) == 9
    finally:
        torch.distributed.destroy_process_group()


# -- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranks", "text"),
    [
        ([3], "rank 3"),
        ([1, 0], "ranks 0 and 1"),
        ([0, 1, 2], "ranks 0-2"),
        ([0, 1, 2, 4], "ranks 0-2 and 4"),
        ([0, 2, 4, 5, 7, 8, 9], "ranks 0, 2, 4, 5 and 7-9"),
        (range(256), "ranks 0-255"),
    ],
)
def test_ranks_in_few_words(ranks: Any, text: str) -> None:
    assert ranks_text(ranks) == text
