"""Conversions: tensors that lie in the checkpoint under other names, joined, apart, stacked or one by one.

They are looked for where the checkpoint has no key of a tensor's own name. Each kind has its finder, and the
rule must allow it: ``adapt="names"``, ``"qkv"``, ``"stack_experts"``, or ``"auto"`` for all of them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from initcfg._plan.pretrained.destinations import Destination
from initcfg._plan.pretrained.experts import Experts
from initcfg._plan.pretrained.known_names import KnownNames
from initcfg._plan.pretrained.permits import Lack
from initcfg._plan.pretrained.qkv import lacking_projections, projections
from initcfg._plan.pretrained.transformers_table import of_transformers
from initcfg.values import AdaptationStep

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Conversion:
    """What a tensor comes from: the adaptation that allows it, the keys, and the steps from there to it."""

    kind: str
    keys: tuple[str, ...]
    steps: tuple[AdaptationStep, ...] = ()


class Conversions:
    """What the checkpoint has for tensors that it has no key of.

    Args:
        module: The module that is loaded.
        destinations: Its tensors, by name.
        keys: The checkpoint's keys by the names that they mean.
        shape_of: Shape of the tensor under a key.
    """

    def __init__(
        self,
        module: nn.Module,
        destinations: Mapping[str, Destination],
        keys: Mapping[str, tuple[str, ...]],
        shape_of: Callable[[str], Shape],
    ) -> None:
        self._module, self._destinations, self._keys, self._shape_of = module, destinations, keys, shape_of

    def of(self, name: str) -> Conversion | None:
        """How a tensor is made; None where nothing is known that would make it."""
        found = self._table.get(name)
        if found is not None:
            names, steps = found
            return self._made("stack_experts" if steps else "names", names, steps)
        names, steps = projections(name, self._shapes, self._there)
        if names:
            # Of attention's projections, the one behind it only has another name.
            return self._made("qkv", names, steps)
        names, steps = self._experts.of(name)
        if names:
            return self._made("stack_experts", names, steps)
        other = self._known_names.of(name)
        return None if other is None else self._made("names", (other,), ())

    def lack(self, name: str) -> Lack | None:
        """What is missing there of which a tensor could be made, where some of it is there."""
        for kind, found in (
            ("stack_experts", self._experts.lack(name)),
            ("qkv", lacking_projections(name, self._shapes[name], self._there)),
        ):
            if found is not None:
                return Lack(kind, found)
        return None

    def of_several(self, name: str, keys: tuple[str, ...]) -> Conversion | None:
        """How a tensor is made of several that were renamed to it, if it is a stack of them."""
        shapes = {self._shape_of(key) for key in keys}
        if len(shapes) > 1 or self._destinations[name].shape != (len(keys), *next(iter(shapes))):
            return None
        # The tenth is behind the second.
        ordered = sorted(keys, key=lambda key: [int(each) for each in re.findall(r"\d+", key)])
        return Conversion("stack_experts", tuple(ordered), (("stack", len(keys)),))

    def _made(self, kind: str, names: tuple[str, ...], steps: tuple[AdaptationStep, ...]) -> Conversion:
        return Conversion(kind, tuple(self._keys[each][0] for each in names), steps)

    def _there(self, name: str) -> Shape | None:
        """The shape of the tensor that has a name in the checkpoint; None if there is none, or several."""
        keys = self._keys.get(name, ())
        return self._shape_of(keys[0]) if len(keys) == 1 else None

    @functools.cached_property
    def _shapes(self) -> dict[str, Shape]:
        return {name: each.shape for name, each in self._destinations.items()}

    @functools.cached_property
    def _experts(self) -> Experts:
        return Experts(self._destinations, self._keys, self._there)

    @functools.cached_property
    def _known_names(self) -> KnownNames:
        return KnownNames(self._destinations, self._keys)

    @functools.cached_property
    def _table(self) -> dict[str, tuple[tuple[str, ...], tuple[AdaptationStep, ...]]]:
        # What a tensor takes by its own name is made into no other, and the library's table takes long.
        single = [name for name, keys in self._keys.items() if len(keys) == 1 and name not in self._shapes]
        return of_transformers(self._module, self._shapes, single, self._there) if single else {}
