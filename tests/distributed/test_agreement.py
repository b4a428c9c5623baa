"""Ranks agree on what they write, and fail together."""

from __future__ import annotations

from processes import run_ranks, values_of

from initcfg._agreement import Agreement


def agreeing(rank: int, world: int) -> list[int]:
    out = []
    for seed in (3, None):
        with Agreement([range(world)]) as agreement:
            out.append(agreement.on({"plan": "a"}, seed=seed, draw=lambda: rank + 10))
    return out


def test_all_agree() -> None:
    assert values_of(run_ranks(2, agreeing)) == [[3, 10], [3, 10]]
