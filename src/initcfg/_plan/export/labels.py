"""Labels: what classes are called in a rule, by name, or by path where a name means more than is meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from torch import nn

from initcfg._rules import dotted


class Labels:
    """The names by which rules can mean the classes of a model, those of its modules that hold tensors."""

    def __init__(self, classes: Iterable[type]) -> None:
        self._classes = set(classes)
        # By name and by path: the classes that a rule means by it, those derived from it too.
        self._meant: defaultdict[str, set[type]] = defaultdict(set)
        for cls in self._classes:
            for base in cls.__mro__[:-1]:
                self._meant[base.__name__].add(cls)
                self._meant[dotted(base)].add(cls)

    def of(self, layers: Iterable[type]) -> list[str] | None:
        """Names that together mean these classes, and what derives from them; None if there are none."""
        meant = self._derived(layers)
        found: dict[str, set[type]] = {}
        for cls in layers:
            name, path = cls.__name__, dotted(cls)
            if self._meant.get(name, meant) <= meant:
                found[name] = self._meant.get(name, set())
            elif self._meant.get(path) == self._derived([cls]):
                found[f"torch.nn.{name}" if getattr(nn, name, None) is cls else path] = self._meant[path]
            else:
                return None
        for name in list(found):
            if found[name] <= set().union(*(each for other, each in found.items() if other != name)):
                del found[name]
        return list(found)

    def _derived(self, layers: Iterable[type]) -> set[type]:
        bases = tuple(layers)
        return {cls for cls in self._classes if issubclass(cls, bases)}
