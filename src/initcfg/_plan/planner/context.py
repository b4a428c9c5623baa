"""Contexts: the steps that are active in a part of the module tree.

A context remembers which of its steps mean which class, and gives the same object for the same steps,
so that blocks that are alike share what was found out about one of them.
"""

from __future__ import annotations

import re

from initcfg._rules import Step

Steps = tuple[Step, ...]


class Context:
    """The steps that are active in a subtree."""

    def __init__(self, layer: Steps = (), parent: Context | None = None) -> None:
        self.layer = layer
        self.parent = parent
        self.pending: Steps = parent.pending if parent else ()
        self.tensor: Steps = parent.tensor if parent else ()
        self.opaque: Steps = parent.opaque if parent else ()
        self.active: frozenset[int] = (parent.active if parent else frozenset()) | {
            step.order for step in layer
        }
        self._named: re.Pattern[str] | None = parent._named if parent else None
        self._by_class: dict[type, Steps] = {}
        self._derived: dict[tuple[int, ...], Context] = {}

    def matching(self, cls: type) -> Steps:
        """The active steps that mean modules of class ``cls``."""
        found = self._by_class.get(cls)
        if found is None:
            above = self.parent.matching(cls) if self.parent else ()
            own = tuple(step for step in self.layer if _means(step, cls))
            found = self._by_class[cls] = above + own
        return found

    def add_pending(self, steps: Steps) -> None:
        """Steps that start where their name patterns match."""
        self.pending += steps
        self._named = None

    def any_named(self, name: str) -> bool:
        """Whether the module of this name may start a pending step."""
        if self._named is None:
            self._named = _union(self.pending)
        return self._named.fullmatch(name) is not None

    def with_steps(self, steps: list[Step]) -> Context:
        """This context with more steps; the same object for the same steps."""
        key = tuple(step.order for step in steps)
        derived = self._derived.get(key)
        if derived is None:
            layer = tuple(step for step in steps if step.kind == "rule" and not by_tensor(step))
            derived = self._derived[key] = Context(layer, self)
            single = tuple(step for step in steps if step.kind == "rule" and by_tensor(step))
            derived.tensor += single
            derived.active |= {step.order for step in single}
            derived.opaque += tuple(step for step in steps if step.kind in ("method", "foreign"))
        return derived


def _union(steps: Steps) -> re.Pattern[str]:
    """One expression that matches all the names that these steps may start at, and perhaps more."""
    alternatives: set[str] = set()
    for step in steps:
        for pattern in step.rule.names if step.rule is not None else ():
            if pattern.text.startswith("re:"):
                # Flags and back references of a person's own expression do not survive being joined.
                return re.compile(r"[\s\S]*")
            owner = re.escape(step.owner_name + ".") if step.owner_name else ""
            alternatives.add(f"{owner}(?:{pattern.regex.pattern})")
    return re.compile("|".join(sorted(alternatives)))


def by_tensor(step: Step) -> bool:
    """Whether a step selects tensors one by one, not layers."""
    return step.rule is not None and bool(step.rule.params or step.rule.buffers)


def _means(step: Step, cls: type) -> bool:
    assert step.rule is not None
    return step.whole or step.rule.layers.matches(cls)
