"""Experts of a mixture: one by one in the checkpoint and stacked here, or the other way round.

Names and shapes say it: ``experts.0.down_proj.weight`` to ``experts.3.down_proj.weight`` of one shape are
``experts.down_proj`` of that shape with four before it; ``gate_up_proj`` is each expert's gate above its up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from initcfg._plan.pretrained.destinations import Destination
from initcfg.values import AdaptationStep

Shape = tuple[int, ...]
Found = tuple[tuple[str, ...], tuple[AdaptationStep, ...]]
_NONE: Found = ((), ())

# What the same matrices are called: in Mixtral's files, and elsewhere.
_SYNONYMS = (("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3"))
_GATE_UP = "gate_up_proj"
_PAIRS = (("gate_proj", "up_proj"), ("w1", "w3"))
_ONE = re.compile(r"(?:(?P<base>.*)\.)?(?P<index>\d+)\.(?P<leaf>[^\d.]\D*|w[123](?:\.\D*)?)")
_BIAS = ("_bias", ".bias")


class Experts:
    """The experts of a checkpoint: those that are numbered, by what they are part of and what is numbered."""

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        names: Iterable[str],
        there: Callable[[str], Shape | None],
    ) -> None:
        self._destinations, self._names, self._there = destinations, frozenset(names), there
        # ``experts.3.w1.weight``: under ("experts", "w1.weight"), its name by its number.
        self._numbered: dict[tuple[str, str], dict[int, str]] = {}
        for name in self._names:
            if one := _ONE.fullmatch(name):
                place = self._numbered.setdefault((one["base"] or "", one["leaf"]), {})
                place[int(one["index"])] = name

    def of(self, name: str) -> Found:
        """The names there that make a tensor, and the steps from them to it."""
        here = self._destinations[name]
        one = _ONE.fullmatch(name)
        taken = _NONE if one is None else self._taken(here, one)
        return taken if taken[0] else self._stacked(here)

    def _stacked(self, here: Destination) -> Found:
        """From experts one by one to them all."""
        if len(here.shape) < 2:
            return _NONE
        base, leaf, bias = _parts(here.name)
        for place in _places(base):
            for singles in _singles(leaf):
                lists = [self._all(place, each, bias, here.shape[0]) for each in singles]
                if all(lists):
                    names = tuple(name for each in lists for name in each)
                    steps = self._stacking(here, names, len(singles))
                    if steps is not None:
                        return names, steps
        return _NONE

    def lack(self, name: str) -> str | None:
        """Which experts are not there, or are too many, of those that would be stacked to a tensor."""
        here = self._destinations[name]
        if len(here.shape) < 2:
            return None
        base, leaf, bias = _parts(name)
        count = here.shape[0]
        for place in _places(base):
            for single in dict.fromkeys(each for singles in _singles(leaf) for each in singles):
                for ending in _BIAS if bias else (".weight", ""):
                    there = self._numbered.get((place, single + ending), {})
                    if len(there) > count:
                        return f"the checkpoint has {len(there)} experts, and it is of {count} here"
                    gone = [each for each in range(count) if each not in there] if there else []
                    if gone:
                        start = f"{place}." if place else ""
                        first = f"{start}{gone[0]}.{single}{ending}"
                        more = f", nor of {len(gone) - 1} other experts" if len(gone) > 1 else ""
                        return f"the checkpoint has no {first!r}{more}: {len(there)} of {count} are there"
        return None

    def _all(self, base: str, leaf: str, bias: bool, count: int) -> list[str]:
        """All experts' tensors of one name, in order; none if one is missing, or is more."""
        for ending in _BIAS if bias else (".weight", ""):
            found = self._numbered.get((base, leaf + ending), {})
            if len(found) == count and set(found) == set(range(count)):
                return [found[index] for index in range(count)]
        return []

    def _stacking(
        self, here: Destination, names: tuple[str, ...], parts: int
    ) -> tuple[AdaptationStep, ...] | None:
        """The steps from experts to a stack of its shape; ``parts`` lie one after another in each."""
        shapes = {self._there(name) for name in names}
        count = here.shape[0]
        if parts > 1 and getattr(here.module, "is_concatenated", True) is False:
            # Row by row in turn: nothing in a name says which row is first.
            return None
        one = shapes.pop() if len(shapes) == 1 else None
        if one is None or len(one) + 1 != len(here.shape):
            return None
        turned = getattr(here.module, "is_transposed", None)
        for transposed in (False, True) if turned is None else (bool(turned),):
            if transposed and len(one) != 2:
                transposed = False
            size = one[::-1] if transposed else one
            axis = len(size) if transposed else 1
            made = list((count, *size))
            made[axis] *= parts
            if tuple(made) == here.shape:
                steps: list[AdaptationStep] = [("transpose",)] if transposed else []
                steps.append(("stack", count))
                return (*steps, ("concat", axis)) if parts > 1 else tuple(steps)
        return None

    def _taken(self, here: Destination, one: re.Match[str]) -> Found:
        """From a stack of experts to one of them."""
        base, index = one["base"] or "", int(one["index"])
        _, leaf, bias = _parts(one["leaf"])
        for place in _places(base):
            start = f"{place}." if place else ""
            for other in _called(leaf):
                for ending in _BIAS if bias else ("", ".weight"):
                    name = start + other + ending
                    shape = self._there(name) if name in self._names else None
                    if shape is not None and shape[1:] == here.shape and index < shape[0]:
                        return (name,), (("take", index),)
            for row, other in enumerate(next((pair for pair in _PAIRS if leaf in pair), ())):
                fused = start + _GATE_UP + ("_bias" if bias else "")
                shape = self._there(fused) if fused in self._names else None
                rows = here.shape[0] if here.shape else 0
                whole = (2 * rows, *here.shape[1:])
                if other == leaf and shape is not None and shape[1:] == whole and index < shape[0]:
                    return (fused,), (("take", index), ("narrow", row * rows, rows))
        return _NONE


def _parts(name: str) -> tuple[str, str, bool]:
    """The module of a tensor's name, what it is called there, and whether it is a bias."""
    bias = name.endswith(_BIAS)
    plain = re.sub(r"(_bias|\.bias|\.weight)$", "", name)
    base, _, leaf = plain.rpartition(".")
    return base, leaf, bias


def _places(base: str) -> Iterator[str]:
    """Where the experts of a module may lie in the checkpoint."""
    for each in dict.fromkeys(
        (base, base.replace("mlp", "block_sparse_moe"), base.replace("block_sparse_moe", "mlp"))
    ):
        yield each
        last = each.rpartition(".")[2]
        yield each.removesuffix("experts").rstrip(".") if last == "experts" else f"{each}.experts".lstrip(".")


def _called(leaf: str) -> list[str]:
    """What a matrix of an expert may be called."""
    names = next((each for each in _SYNONYMS if leaf in each), ())
    return [leaf, *(each for each in names if each != leaf)]


def _singles(leaf: str) -> Iterator[tuple[str, ...]]:
    """Under which names the experts' parts of a stacked tensor may lie, one by one."""
    yield from ((each,) for each in _called(leaf))
    if leaf == _GATE_UP:
        yield from _PAIRS
