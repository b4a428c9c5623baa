"""What the ranks of a job do not agree on, in words."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from initcfg.errors import plural

# Names shown of tensors, and groups shown of ranks.
_TENSORS, _GROUPS = 5, 4
_TOPICS = {
    "initcfg": ("the version of initcfg", "Install the same version of initcfg on every rank."),
    "stream": ("the version of the random stream", "Install the same version of initcfg on every rank."),
    "rng": ("rng", "Give every rank the same rng."),
    "plan": ("the plan", "Build the same model and give the same rules on every rank."),
    "collective": (
        "collective",
        "Give every rank the same collective, and plan on each.",
    ),
    "seed": ("the seed", "Give every rank the same seed, or none."),
}


def ranks_text(ranks: Iterable[int]) -> str:
    """Ranks in few words.

    Example:
        >>> ranks_text([3]), ranks_text([4, 0, 1, 2]), ranks_text([0, 1, 5])
        ('rank 3', 'ranks 0-2 and 4', 'ranks 0, 1 and 5')
    """
    ordered = sorted(set(ranks))
    if len(ordered) == 1:
        return f"rank {ordered[0]}"
    parts: list[str] = []
    # In a run of ranks, each is as far from its place in the list.
    for _, run in groupby(enumerate(ordered), lambda place: place[1] - place[0]):
        first, *more = [rank for _, rank in run]
        parts += [f"{first}-{more[-1]}"] if len(more) > 1 else map(str, (first, *more))
    return "ranks " + (parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}")


def groups_of(values: Mapping[int, Hashable]) -> dict[Hashable, list[int]]:
    """The ranks that have each value, in the order of the ranks given."""
    groups: dict[Hashable, list[int]] = {}
    for rank, value in values.items():
        groups.setdefault(value, []).append(rank)
    return groups


def differing(facts: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """The names of facts that are not the same on all ranks, in the order of the first rank's."""
    names = dict.fromkeys(name for each in facts.values() for name in each)
    return [name for name in names if len({each.get(name) for each in facts.values()}) > 1]


def disagreement(
    facts: Mapping[int, Mapping[str, Any]], details: Mapping[int, Mapping[str, str]]
) -> tuple[str, str]:
    """What differs in one sentence, and how to fix it.

    The leader's facts come first; and its details, tensor names and digests of ranks whose plans differ.

    Example:
        >>> disagreement({0: {"seed": 0}, 1: {"seed": None}}, {})[0]
        'The ranks do not agree on the seed: rank 0 has 0, rank 1 has none.'
    """
    parts: list[str] = []
    fixes: list[str] = []
    for name in differing(facts):
        topic, fix = _TOPICS.get(name, (name, "Give every rank the same."))
        fixes.append(fix)
        groups = groups_of({rank: each.get(name) for rank, each in facts.items()})
        if name == "plan" and len(details) > 1:
            told = _plans_text(list(groups.values()), details)
        else:
            said = [
                f"{ranks_text(ranks)} {'has' if len(ranks) == 1 else 'have'} {_short(value)}"
                for value, ranks in groups.items()
            ]
            told = _listed(said, _GROUPS)
        parts.append(f"{topic}: {told}")
    return f"The ranks do not agree on {'; nor on '.join(parts)}.", " ".join(dict.fromkeys(fixes))


def _plans_text(groups: Sequence[Sequence[int]], details: Mapping[int, Mapping[str, str]]) -> str:
    (first, *_), *others = groups
    reference = f" from rank {first}'s" if sum(map(len, groups)) > 2 else ""
    told: list[str] = []
    for ranks in others:
        if ranks[0] in details:
            whose = f"{ranks_text(ranks)}'s" if len(ranks) == 1 else f"that of {ranks_text(ranks)}"
            names = _names(details[first], details[ranks[0]], f"rank {first}", f"rank {ranks[0]}")
            where = f" in {plural(len(names), 'tensor')}: {_listed(names, _TENSORS)}"
            told.append(f"{whose} differs{reference}{where if names else ', though in no tensor'}")
    return "; ".join(told) + _more(len(others) - len(told))


def _names(mine: Mapping[str, str], other: Mapping[str, str], me: str, you: str) -> list[str]:
    """The tensors that differ."""
    owners = {name: me for name in mine if name not in other} | {
        name: you for name in other if name not in mine
    }
    differ = [name for name in {**mine, **other} if mine.get(name) != other.get(name)]
    return [f"{name} (only {owners[name]} has it)" if name in owners else name for name in differ]


def _listed(told: Sequence[str], most: int) -> str:
    return ", ".join(told[:most]) + _more(len(told) - most)


def _short(value: Hashable) -> str:
    text = "none" if value is None else str(value)
    # A digest is known by its beginning.
    return text[:12] if len(text) >= 32 else text


def _more(count: int) -> str:
    return f" and {count:,} more" if count > 0 else ""
