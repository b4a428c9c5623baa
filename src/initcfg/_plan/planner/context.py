"""Contexts: the steps that are active in a part of the module tree.

A context remembers which of its steps mean which class, and gives the same object for the same steps,
so that blocks that are alike share what was found out about one of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from initcfg._rules import Step

Steps = tuple[Step, ...]


class Context:
    """The steps that are active in a subtree.

    ``pending`` start where one of their name patterns matches, those of ``tensor`` select tensors one by one,
    ``opaque`` are the user's code; ``active`` has the places in the program of all that have started.
    """

    def __init__(self, layer: Steps = (), parent: Context | None = None) -> None:
        self.parent = parent
        self.pending: Steps = parent.pending if parent else ()
        self.tensor: Steps = parent.tensor if parent else ()
        self.opaque: Steps = parent.opaque if parent else ()
        self.active = (parent.active if parent else frozenset()) | {step.order for step in layer}
        self._layer = layer
        self._named: re.Pattern[str] | None = parent._named if parent else None
        self._by_class: dict[type, Steps] = {}
        # All contexts live as long as the root, so that the identity of what they give stands for it.
        self._derived: dict[tuple[int, ...], Context] = {}

    def matching(self, cls: type) -> Steps:
        """The active steps that mean modules of class ``cls``."""
        found = self._by_class.get(cls)
        if found is None:
            above = self.parent.matching(cls) if self.parent else ()
            own = tuple(s for s in self._layer if s.whole or (s.rule and s.rule.layers.matches(cls)))
            found = self._by_class[cls] = above + own
        return found

    def any_named(self, name: str) -> bool:
        """Whether the module of this name may start a pending step."""
        if self._named is None:
            self._named = _union(self.pending)
        return self._named.fullmatch(name) is not None

    def with_steps(self, steps: Sequence[Step]) -> Context:
        """This context with more steps; the same object for the same steps."""
        key = tuple(step.order for step in steps)
        derived = self._derived.get(key)
        if derived is None:
            single = tuple(step for step in steps if _by_tensor(step))
            layer = tuple(step for step in steps if step.kind == "rule" and step not in single)
            derived = self._derived[key] = Context(layer, self)
            derived.tensor += single
            derived.active |= {step.order for step in single}
            derived.opaque += tuple(step for step in steps if step.kind in ("method", "foreign"))
        return derived

    def with_pending(self, steps: Sequence[Step]) -> Context:
        """This context with more pending steps, which none other has: a step starts once."""
        derived = self._derived[tuple(step.order for step in steps)] = Context((), self)
        derived.pending += tuple(steps)
        derived._named = None
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


def _by_tensor(step: Step) -> bool:
    return (
        step.kind == "rule"
        and step.rule is not None
        and bool(step.rule.params or step.rule.buffers or step.rule.roles)
    )
