"""Contexts: the steps that are active in a part of the module tree.

A context remembers which of its steps mean which class, and gives the same object for the same steps,
so that blocks that are alike share what was found out about one of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from initcfg._rules import Step

Steps = tuple[Step, ...]
Named = tuple[tuple[str, ...], frozenset[str], re.Pattern[str] | None]
"""Ends of names, whole names, and an expression that names match."""

_WILD = frozenset("*?[")


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
        self._named: Named | None = parent._named if parent else None
        self._by_class: dict[type, Steps] = {}
        # All contexts live as long as the root, so that the identity of what they give stands for it.
        self._derived: dict[tuple[int, ...], Context] = {}

    def close(self) -> None:
        """Let go of what was derived, which holds this one: nobody has to look for the circle."""
        for each in self._derived.values():
            each.close()
        self._derived.clear()

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
            self._named = _named(self.pending)
        ends, names, others = self._named
        return (
            name.endswith(ends)
            or name in names
            or (others is not None and others.fullmatch(name) is not None)
        )

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


def _named(steps: Steps) -> Named:
    """What names all those have that these steps may start at, and perhaps others."""
    ends: set[str] = set()
    names: set[str] = set()
    alternatives: set[str] = set()
    for step in steps:
        for pattern in step.rule.names if step.rule is not None else ():
            if pattern.text.startswith("re:"):
                # Flags and back references of a person's own expression do not survive being joined.
                return (), frozenset(), re.compile(r"[\s\S]*")
            owner = step.owner_name + "." if step.owner_name else ""
            if _WILD.isdisjoint(pattern.text):
                names.add(owner + pattern.text)
            elif pattern.text[0] == "*" and _WILD.isdisjoint(pattern.text[1:]):
                ends.add(pattern.text[1:])
            else:
                alternatives.add(f"{re.escape(owner)}(?:{pattern.regex.pattern})")
    others = re.compile("|".join(sorted(alternatives))) if alternatives else None
    return tuple(sorted(ends)), frozenset(names), others


def _by_tensor(step: Step) -> bool:
    return (
        step.kind == "rule"
        and step.rule is not None
        and bool(step.rule.params or step.rule.buffers or step.rule.roles)
    )
