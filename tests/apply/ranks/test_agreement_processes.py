"""Ranks agree and fail together: as processes, that can be killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from processes import Result, run_ranks, values_of

from initcfg._apply.ranks import heartbeat
from initcfg._apply.ranks.agreement import Agreement
from initcfg.errors import AgreementError, ApplyError

WORLD = 3


def said(function: Callable[[], Any]) -> Any:
    """What it returns, or what its error says."""
    try:
        return function()
    except (AgreementError, ApplyError) as error:
        return error.problem


def many(rank: int, world: int) -> dict[str, Any]:
    """All that can be seen in one life of the processes, one after the other."""
    everyone = tuple(range(world))

    def one(
        *, seed: int | None = 0, plan: str = "p", version: str = "1", sets: Any = (everyone,), fails: str = ""
    ) -> int:
        with Agreement(sets, timeout=60) as agreement:
            if fails == "before":
                raise ApplyError("My disk is full.")
            agreed = agreement.on(
                {"initcfg": version, "plan": plan},
                seed=seed,
                draw=lambda: int(torch.randint(1000, ())) + rank,
                details=lambda: {"a": "1", "b": plan},
            )
            if fails == "after":
                raise ApplyError("My disk is full.")
        return agreed

    last = rank == world - 1
    pairs = [each for each in ((0, 1), (1, 2)) if rank in each]
    return {
        "agreed": said(lambda: one(seed=3)),
        "seed": said(lambda: one(seed=int(last))),
        "no seed": said(lambda: one(seed=None)),
        "version": said(lambda: one(version="2" if last else "1")),
        "plan": said(lambda: one(plan="q" if last else "p")),
        "before": said(lambda: one(fails="before" if rank == 0 else "")),
        "after": said(lambda: one(fails="after" if last else "")),
        "pairs": said(lambda: one(seed=None, sets=pairs)),
        "group": said(lambda: one(sets=[tuple(torch.distributed.get_process_group_ranks(None))])),
    }


def test_agreeing_and_not() -> None:
    got = values_of(run_ranks(WORLD, many))
    torch.manual_seed(0)
    first, second = (int(torch.randint(1000, ())) for _ in range(2))
    full, stop = "My disk is full.", "Rank {} failed, so all stop: My disk is full."
    differ = "The ranks do not agree on "
    for rank, each in enumerate(got):
        assert each == {
            "agreed": 3,
            "seed": differ + "the seed: ranks 0 and 1 have 0, rank 2 has 1.",
            "no seed": first,
            "version": differ + "the version of initcfg: ranks 0 and 1 have 1, rank 2 has 2.",
            "plan": differ + "the plan: rank 2's differs from rank 0's in 1 tensor: b.",
            "before": full if rank == 0 else stop.format(0),
            "after": full if rank == 2 else stop.format(2),
            # All have drawn as often, so that all generators stand at the same place.
            "pairs": second,
            "group": 0,
        }


def ending(rank: int, world: int, how: str, when: str, which: int) -> float:
    """One rank ends; how long the others need to notice."""
    heartbeat.INTERVAL, heartbeat.SILENCE = 0.1, 3.0
    start = time.monotonic()
    try:
        with Agreement([tuple(range(world))], timeout=90) as agreement:
            if when == "after":
                agreement.on({}, seed=0, draw=lambda: 0)
            if rank == which and how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if rank == which and how == "raises":
                raise ApplyError("I stop.")
            if when == "before":
                agreement.on({}, seed=0, draw=lambda: 0)
    except ApplyError:
        if rank == which:
            os._exit(1)
        raise
    finally:
        heartbeat.INTERVAL, heartbeat.SILENCE = 2.0, 20.0
    return time.monotonic() - start


GONE = "The store of torch.distributed is gone"


@pytest.mark.parametrize(
    ("how", "when", "which", "told"),
    [
        ("killed", "before", 2, "Rank 2 gave no sign of life for 3 s, so all stop."),
        ("killed", "after", 1, "Rank 1 gave no sign of life for 3 s, so all stop."),
        ("killed", "after", 0, GONE),
        # Its process ends at once, and with it the store.
        ("raises", "before", 0, "Rank 0 failed, so all stop: I stop."),
        ("raises", "after", 0, "Rank 0 failed, so all stop: I stop."),
    ],
)
def test_a_process_that_ends(how: str, when: str, which: int, told: str) -> None:
    results = run_ranks(WORLD, ending, how, when, which, timeout=120)
    assert [result.died for result in results] == [rank == which for rank in range(WORLD)]
    others = [result for result in results if result.rank != which]
    for other in others:
        assert other.error == "AgreementError", other.trace
        assert other.text.startswith(told)
    assert max(other.seconds for other in others) < 60


def short(rank: int, world: int) -> list[int]:
    """Rank 0 ends as soon as it may, and others may read slowly."""
    with Agreement([tuple(range(world))], timeout=60) as agreement:
        agreement.on({}, seed=0, draw=lambda: 0)
        if rank == 0:
            time.sleep(1.0)
    if rank == 0:
        os._exit(0)
    return [rank]


def test_who_holds_the_store_stays_until_all_have_read() -> None:
    results = run_ranks(WORLD, short)
    assert results[0].died
    assert values_of(results[1:]) == [[1], [2]]


def stuck(rank: int, world: int) -> None:
    if rank == 1:
        time.sleep(60)


def test_the_helper_ends_what_hangs() -> None:
    results: list[Result] = run_ranks(2, stuck, timeout=2)
    assert results[1].died and results[1].seconds == 2
    assert values_of(run_ranks(2, ranks)) == [(0, 2), (1, 2)]
    assert run_ranks(1, failing)[0].error == "ZeroDivisionError"


def ranks(rank: int, world: int) -> tuple[int, int]:
    assert (torch.distributed.get_rank(), torch.distributed.get_world_size()) == (rank, world)
    total = torch.ones(())
    torch.distributed.all_reduce(total)
    assert total == world
    return rank, world


def failing(rank: int, world: int) -> float:
    return rank / 0
