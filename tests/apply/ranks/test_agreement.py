"""Ranks agree on what they write, and fail together: as threads with a store, for all that is logic."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch.distributed
from torch.distributed import FileStore, HashStore, PrefixStore, TCPStore

from initcfg._apply.ranks import agreement as agreement_module
from initcfg._apply.ranks import heartbeat
from initcfg._apply.ranks.agreement import Agreement
from initcfg._apply.ranks.disagreement import ranks_text
from initcfg._apply.ranks.rounds import Round
from initcfg.errors import AgreementError, ApplyError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.05)
    monkeypatch.setattr(heartbeat, "SILENCE", 20.0)
    monkeypatch.setattr(agreement_module, "_LINGER", 0.5)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for _ in range(100):
        left = [thread for thread in threading.enumerate() if thread.name == "initcfg-heartbeat"]
        if not left:
            return
        time.sleep(0.02)
    raise AssertionError(f"{len(left)} threads still run")


def run(world: int, function: Callable[[int], Any]) -> list[Any]:
    """What ``function(rank)`` returns or raises on each rank, all at once."""
    out: list[Any] = [None] * world

    def one(rank: int) -> None:
        try:
            out[rank] = function(rank)
        except BaseException as error:
            out[rank] = error

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it hangs"
    return out


def agree(
    store: Any,
    rank: int,
    world: int,
    *,
    seed: int | None = 0,
    facts: Mapping[str, str] | None = None,
    details: Mapping[str, str] | None = None,
    draw: int = 7,
    timeout: float = 50.0,
) -> int:
    """One agreement of all ranks."""
    with Agreement([tuple(range(world))], timeout=timeout, store=store, rank=rank) as agreement:
        return agreement.on(
            facts or {"plan": "p"},
            seed=seed,
            draw=lambda: draw,
            details=None if details is None else lambda: details,
        )


def message(outcomes: list[Any], *, but: int | None = None) -> str:
    """The one message of all ranks (but one)."""
    errors = [each for rank, each in enumerate(outcomes) if rank != but]
    assert all(type(each) is AgreementError for each in errors), errors
    assert len({str(each) for each in errors}) == 1, errors
    assert all(each.fix for each in errors) or "failed, so all stop" in errors[0].problem
    return errors[0].problem


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


# -- several sets --------------------------------------------------------------------------------


def sets_of(rank: int, sets: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [each for each in sets if rank in each]


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


# -- a rank that fails ---------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("agreed", [False, True])
def test_a_rank_that_fails(failing: int, agreed: bool) -> None:
    store, own = HashStore(), ApplyError("No space.", fix="Free some.")

    def one(rank: int) -> None:
        with Agreement([(0, 1, 2)], store=store, rank=rank, timeout=50) as agreement:
            if rank == failing and not agreed:
                raise own
            agreement.on({}, seed=0, draw=lambda: 0)
            if rank == failing:
                raise own

    start = time.monotonic()
    outcomes = run(3, one)
    assert outcomes[failing] is own
    told = f"Rank {failing} failed, so all stop: No space.\n  fix:          Free some."
    assert message(outcomes, but=failing) == told
    assert str(outcomes[failing - 1]) == told
    assert time.monotonic() - start < 25
    # The next time all is well.
    assert run(3, lambda rank: agree(store, rank, 3, seed=4)) == [4] * 3


def test_who_comes_late_hears_why_the_others_failed() -> None:
    store = HashStore()

    def one(rank: int) -> None:
        time.sleep(1.0 if rank == 1 else 0.0)
        with Agreement([(0, 1)], store=store, rank=rank, timeout=50):
            if rank == 0:
                raise KeyError("x")

    outcomes = run(2, one)
    assert type(outcomes[0]) is KeyError
    assert message(outcomes, but=0) == "Rank 0 failed, so all stop: KeyError: 'x'"
    assert outcomes[1].fix == "Look at what rank 0 itself says."


def test_who_writes_for_long_can_ask() -> None:
    store, steps = HashStore(), [0, 0]

    def one(rank: int) -> None:
        with Agreement([(0, 1)], store=store, rank=rank, timeout=50) as agreement:
            agreement.on({}, seed=0, draw=lambda: 0)
            agreement.check()
            for _ in range(500):
                if rank == 1:
                    raise MemoryError
                time.sleep(0.01)
                steps[rank] += 1
                agreement.check()

    outcomes = run(2, one)
    assert message(outcomes, but=1) == "Rank 1 failed, so all stop: MemoryError"
    assert steps[0] < 100


def test_an_error_of_the_agreement_cannot_be_swallowed() -> None:
    store = HashStore()

    def one(rank: int) -> None:
        agreement = Agreement([(0, 1)], store=store, rank=rank, timeout=50)
        with agreement, contextlib.suppress(AgreementError):
            agreement.on({}, seed=rank, draw=lambda: 0)

    assert "on the seed" in message(run(2, one))


def test_writing_may_take_longer_than_the_time_limit() -> None:
    store = HashStore()

    def one(rank: int) -> str:
        with Agreement([(0, 1)], store=store, rank=rank, timeout=0.3) as agreement:
            agreement.on({}, seed=0, draw=lambda: 0)
            time.sleep(1.5 if rank else 0.0)
        return "written"

    assert run(2, one) == ["written"] * 2


def test_ctrl_c_while_waiting() -> None:
    store, main = HashStore(), threading.main_thread()
    other: list[Any] = []

    def follow() -> None:
        try:
            agree(store, 1, 3)
        except AgreementError as error:
            other.append(error.problem)

    def interrupt() -> None:
        time.sleep(0.4)
        assert main.ident is not None
        signal.pthread_kill(main.ident, signal.SIGINT)

    threads = [threading.Thread(target=each, daemon=True) for each in (follow, interrupt)]
    for thread in threads:
        thread.start()
    with pytest.raises(KeyboardInterrupt):
        agree(store, 0, 3)
    for thread in threads:
        thread.join(5)
    assert other == ["Rank 0 failed, so all stop: KeyboardInterrupt"]


# -- a rank that does not come -------------------------------------------------------------------


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_rank_that_never_comes_and_then_all_do(failing: int) -> None:
    store, sets = HashStore(), [(0, 1, 2), (0, 1), (1, 2)]

    def one(rank: int, number: int) -> Any:
        # As where planning fails, before there is an agreement.
        if rank == failing and number == 0:
            return "no plan"
        with Agreement(
            sets_of(rank, sets), store=store, rank=rank, timeout=50 if number else 0.5
        ) as agreement:
            return agreement.on({}, seed=None, draw=lambda: number)

    outcomes = run(3, lambda rank: one(rank, 0))
    assert outcomes[failing] == "no plan"
    assert message(outcomes, but=failing) == f"Rank {failing} did not come within 0.5 s."
    fix = outcomes[failing - 1].fix
    assert fix == (
        f"Look at what rank {failing} did meanwhile: every rank must make the same calls. "
        "INITCFG_RANK_TIMEOUT=SECONDS gives more time."
    )
    # In whatever order they come the next time.
    for number, delay in ((1, 0.2), (2, -0.2), (3, 0.0)):

        def again(rank: int, number: int = number, delay: float = delay) -> Any:
            time.sleep(max(delay, 0) if rank == failing else max(-delay, 0))
            return one(rank, number)

        assert run(3, again) == [number] * 3


def test_two_that_fail_in_different_ways_are_heard_of_once_more() -> None:
    store = HashStore()

    def one(rank: int, number: int) -> Any:
        if rank == 2 and number == 0:
            return "no plan"
        with Agreement([(0, 1, 2)], store=store, rank=rank, timeout=50 if number == 2 else 0.5) as agreement:
            if rank == 1 and number == 0:
                raise OSError("disk full")
            return agreement.on({}, seed=number, draw=lambda: 0)

    told = "Rank 1 failed, so all stop: OSError: disk full"
    first = run(3, lambda rank: one(rank, 0))
    assert (first[0].problem, type(first[1]), first[2]) == (told, OSError, "no plan")
    # Rank 2 cannot know that it is not late, but late by a whole call.
    second = run(3, lambda rank: one(rank, 1))
    assert [each.problem for each in second] == ["Rank 2 did not come within 0.5 s."] * 2 + [told]
    assert run(3, lambda rank: one(rank, 2)) == [2] * 3


def test_a_rank_that_comes_and_does_not_go_on() -> None:
    store = HashStore()

    def one(rank: int, world: int) -> None:
        if rank < world:
            with Agreement([(0, 1, 2, 3)], store=store, rank=rank, timeout=0.5) as agreement:
                if rank == 2:
                    time.sleep(1)
                agreement.on({}, seed=0, draw=lambda: 0)

    outcomes = run(4, lambda rank: one(rank, 4))
    assert message(outcomes) == "Rank 2 came, but did not say what to write within 0.5 s."
    # Who did not come at all is what to look at first.
    outcomes = run(4, lambda rank: one(rank, 3))
    assert message(outcomes, but=3) == "Rank 3 did not come within 0.5 s."


def test_an_end_without_agreeing_waits_too() -> None:
    store = HashStore()

    def one(rank: int, world: int, timeout: float = 0.5) -> str:
        if rank < world:
            with Agreement([(0, 1, 2)], store=store, rank=rank, timeout=timeout):
                time.sleep(0.1 * rank)
        return "done"

    assert run(3, lambda rank: one(rank, 3, 50)) == ["done"] * 3
    assert message(run(3, lambda rank: one(rank, 2)), but=2) == "Rank 2 did not come within 0.5 s."
    assert run(3, lambda rank: one(rank, 3, 50)) == ["done"] * 3


# -- a rank that ends, a store that is gone ------------------------------------------------------


@pytest.mark.parametrize("dead", [0, 1, 2, 3])
@pytest.mark.parametrize("when", ["before on", "after on"])
def test_a_rank_that_gives_no_sign_of_life(dead: int, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SILENCE", 1.0)
    store, ranks = HashStore(), (0, 1, 2, 3)

    def one(rank: int) -> None:
        if rank == dead:
            # What a process has done when it is killed: it came, perhaps it has said its part.
            ghost = Round(ranks, rank)
            while not ghost.join(store):
                time.sleep(0.01)
            if when == "after on":
                ghost.say(store, 1, "facts", {"facts": {"seed": 0}, "drawn": 0, "agreed": None})
                if dead == 0:
                    ghost.say(store, 1, "answer", {"seed": 0})
            return
        with Agreement([ranks], store=store, rank=rank, timeout=50) as agreement:
            agreement.on({}, seed=0, draw=lambda: 0)

    start = time.monotonic()
    outcomes = run(4, one)
    assert message(outcomes, but=dead) == f"Rank {dead} gave no sign of life for 1 s, so all stop."
    assert 0.9 < time.monotonic() - start < 25


class Broken:
    """A store that ends, or that answers no more."""

    def __init__(self, how: str) -> None:
        self.how, self.broken = how, False
        self._store = HashStore()

    def clone(self) -> Broken:
        return self

    def __getattr__(self, name: str) -> Any:
        if self.broken and self.how == "gone":
            raise torch.distributed.DistNetworkError("Failed to recv, got 0 bytes. Did it crash?\nframe #0")
        if self.broken:
            time.sleep(1)
        return getattr(self._store, name)


@pytest.mark.parametrize(
    ("how", "why"), [("gone", "Failed to recv, got 0 bytes"), ("stuck", "no answer for 0.3 s")]
)
def test_the_store_is_gone(how: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "ANSWER", 0.3)
    store = Broken(how)
    start = time.monotonic()
    agreement = Agreement([(1, 0)], store=store, rank=1, timeout=50)  # type: ignore[arg-type]
    with pytest.raises(AgreementError) as caught, agreement:
        store.broken = True
        agreement.on({}, seed=0, draw=lambda: 0)
    assert caught.value.problem == (
        f"The store of torch.distributed is gone ({why}): the process that holds it, as a rule that of "
        "rank 0, has ended."
    )
    assert time.monotonic() - start < 25


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


# -- the time limit ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["soon", "0", "-3", "inf", "nan", "5s"])
def test_a_wrong_time_limit(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITCFG_RANK_TIMEOUT", text)
    with pytest.raises(ApplyError, match=rf"INITCFG_RANK_TIMEOUT is '{text}'\.\n.*a number of seconds"):
        Agreement([(0, 1)], store=HashStore(), rank=0)
    # Where nobody is waited for, it does not matter.
    Agreement([(0,)])


def test_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITCFG_RANK_TIMEOUT", " 0.2 ")
    for given, seconds in ((None, 0.2), (0.1, 0.1)):
        agreement = Agreement([(0, 1)], store=HashStore(), rank=0, timeout=given)
        with pytest.raises(AgreementError, match=rf"Rank 1 did not come within {seconds} s\."), agreement:
            agreement.on({}, seed=0, draw=lambda: 0)
    for text, seconds in (("", 300.0), ("1e3", 1000.0)):
        monkeypatch.setenv("INITCFG_RANK_TIMEOUT", text)
        assert Agreement([(0, 1)], store=HashStore(), rank=0)._timeout == seconds


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
