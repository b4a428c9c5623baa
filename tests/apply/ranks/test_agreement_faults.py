"""Ranks that fail, do not come, or end, and a store that is gone: all are told, and nobody waits for ever."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch.distributed
from rank_threads import agree, message, run, sets_of
from torch.distributed import HashStore

from initcfg._apply.ranks import heartbeat
from initcfg._apply.ranks.agreement import Agreement
from initcfg._apply.ranks.rounds import Round
from initcfg.errors import AgreementError, ApplyError

pytestmark = pytest.mark.usefixtures("quick_heartbeat", "no_thread_is_left")

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
    # The words of another rank cannot pass for this rank's own.
    assert str(outcomes[failing - 1]) == told.replace("\n", "\n  | ")
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


@pytest.mark.parametrize("world", [2, 3])
def test_what_a_rank_that_is_done_will_never_say_is_not_waited_for(world: int) -> None:
    store = HashStore()

    def one(rank: int) -> dict[int, int]:
        ranks = range(world)
        with Agreement([tuple(ranks)], store=store, rank=rank, timeout=50) as agreement:
            agreement.on({}, seed=0, draw=lambda: 0)
            heard = agreement.tell(ranks, rank)
            return heard if rank == 1 else agreement.tell(ranks, rank)

    said = message(run(world, one))
    assert said.startswith("Other ranks wait for rank 1, done already")


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """Where tests run in the background, SIGINT is ignored from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_waiting(hears_ctrl_c: None) -> None:
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


def test_ranks_that_get_no_thread_for_signs_of_life(
    quick_heartbeat: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They agree all the same, and are not taken for dead while they compute."""
    monkeypatch.setattr(heartbeat, "SILENCE", 0.2)
    start, refused = threading.Thread.start, list[str]()

    def limited(thread: threading.Thread) -> None:
        if thread.name == "initcfg-heartbeat" and len(refused) < 2:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    store, ranks = HashStore(), (0, 1, 2)

    def one(rank: int) -> int:
        with Agreement([ranks], store=store, rank=rank, timeout=50) as agreement:
            time.sleep(1.0)
            seed = agreement.on({}, seed=3, draw=lambda: 0)
            time.sleep(1.0 if rank else 0.0)
            return seed

    assert run(3, one) == [3, 3, 3] and len(refused) == 2


def test_a_rank_without_a_thread_hears_of_anothers_failure(
    quick_heartbeat: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(thread: threading.Thread) -> None:
        if thread.name == "initcfg-heartbeat":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refused)
    store = HashStore()
    outcomes = run(2, lambda rank: agree(store, rank, 2, facts={"plan": str(rank)}))
    assert "plan" in message(outcomes)
