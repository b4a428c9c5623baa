"""Contexts: the steps that are active in a part of the module tree.

A context remembers which of its steps mean which class, and gives the same object for the same steps,
so that blocks that are alike share what was found out about one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from initcfg._model import Likeness
from initcfg._plan.stacks import Row
from initcfg._rules import Step

Steps = tuple[Step, ...]
Named = tuple[tuple[str, ...], frozenset[str], re.Pattern[str] | None, bool]
"""Ends of names, whole names, an expression that names match, and whether only ends are asked for."""

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
        # What the steps that mean a layer write to all that are alike, as the walk has found out.
        self.rows: dict[Likeness, Row | None] = {}
        # All contexts live as long as the root, so that the identity of what they give stands for it.
        self._derived: dict[tuple[int, ...], Context] = {}
        self._started: dict[tuple[str, ...], Context] = {}

    def close(self) -> None:
        """Let go of what was derived, which holds this one: nobody has to look for the circle."""
        for each in self._derived.values():
            each.close()
        self._derived.clear()
        self._started.clear()

    def matching(self, cls: type) -> Steps:
        """The active steps that mean modules of class ``cls``."""
        found = self._by_class.get(cls)
        if found is None:
            above = self.parent.matching(cls) if self.parent else ()
            own = tuple(s for s in self._layer if s.whole or (s.rule and s.rule.layers.matches(cls)))
            found = self._by_class[cls] = above + own
        return found

    def named(self, name: str, start: Callable[[str, Context], Context]) -> Context:
        """The context in the module of this name: that of ``start``, if the name may start a pending step."""
        if self._named is None:
            self._named = _named(self.pending)
        ends, names, others, only_ends = self._named
        if name.endswith(ends):
            if not only_ends or not name:
                return start(name, self)
            # Where patterns ask for nothing but ends of whole names, these stand for the name.
            found = tuple([end for end in ends if name.endswith(end)])
            known = self._started.get(found)
            if known is None:
                known = self._started[found] = start(name, self)
            return known
        if name in names or (others is not None and others.fullmatch(name) is not None):
            return start(name, self)
        return self

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
    only_ends = not any(step.owner_name for step in steps)
    for step in steps:
        for pattern in step.rule.names if step.rule is not None else ():
            if pattern.text.startswith("re:"):
                # Flags and back references of a person's own expression do not survive being joined.
                return (), frozenset(), re.compile(r"[\s\S]*"), False
            owner = step.owner_name + "." if step.owner_name else ""
            if _WILD.isdisjoint(pattern.text):
                names.add(owner + pattern.text)
            elif pattern.text[0] == "*" and _WILD.isdisjoint(pattern.text[1:]):
                ends.add(pattern.text[1:])
            else:
                alternatives.add(f"{re.escape(owner)}(?:{pattern.regex.pattern})")
    others = re.compile("|".join(sorted(alternatives))) if alternatives else None
    only_ends = only_ends and not names and others is None
    return tuple(sorted(ends)), frozenset(names), others, only_ends


def _by_tensor(step: Step) -> bool:
    return (
        step.kind == "rule"
        and step.rule is not None
        and bool(step.rule.params or step.rule.buffers or step.rule.roles)
    )
