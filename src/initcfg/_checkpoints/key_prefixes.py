"""What stands before the keys of one checkpoint and not of another: ``module.``, or a part of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

# A key has no more parts than this which a prefix could be made of.
_MOST_PARTS = 12


class Prefixes(NamedTuple):
    """What is taken off the keys of A, and of B, so that most of them are alike."""

    a: str = ""
    b: str = ""


def prefixes_of(a: Collection[str], b: Collection[str]) -> Prefixes:
    """The prefixes without which most keys of A are keys of B; none, where as many are alike as they are.

    Example:
        >>> from initcfg._checkpoints.key_prefixes import prefixes_of
        >>> prefixes_of(["module.a.weight", "module.a.bias"], ["a.weight", "a.bias", "head.weight"])
        Prefixes(a='module.', b='')
    """
    here, there = set(a), set(b)
    found = Counter({Prefixes(): len(here & there)})
    for prefix, count in _before(here, there).items():
        found[Prefixes(prefix, "")] += count
    for prefix, count in _before(there, here).items():
        found[Prefixes("", prefix)] += count
    both = Prefixes(common_prefix(list(here)), common_prefix(list(there)))
    if both.a and both.b:
        found[both] = len({key[len(both.a) :] for key in here} & {key[len(both.b) :] for key in there})
    # Of those with as many, the shortest; what is there as it is comes first.
    return max(found, key=lambda each: (found[each], -len(each.a) - len(each.b)))


def _before(keys: Collection[str], others: Collection[str]) -> Counter[str]:
    """How many of the keys are others', by what stands before these in them."""
    counts: Counter[str] = Counter()
    for key in keys:
        start = 0
        for _ in range(_MOST_PARTS):
            start = key.find(".", start) + 1
            if not start:
                break
            if key[start:] in others:
                counts[key[:start]] += 1
    return counts


def common_prefix(keys: list[str]) -> str:
    """The longest beginning that all keys have, up to a dot.

    Example:
        >>> from initcfg._checkpoints.key_prefixes import common_prefix
        >>> common_prefix(["backbone.conv.weight", "backbone.conv.bias", "backbone.bn.weight"])
        'backbone.'
    """
    if len(keys) < 2:
        return ""
    # What the least and the greatest share, all share.
    least, greatest = min(keys), max(keys)
    length = next((n for n, (a, b) in enumerate(zip(least, greatest, strict=False)) if a != b), len(least))
    return least[: least.rfind(".", 0, length) + 1]
