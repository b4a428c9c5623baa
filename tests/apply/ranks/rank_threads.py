"""Ranks as threads with one store: all that an agreement is but processes that die."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from initcfg._apply.ranks.agreement import Agreement
from initcfg.errors import AgreementError


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


def sets_of(rank: int, sets: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [each for each in sets if rank in each]
