"""What a rule says of single tensors: whether it loads them, and what may be done to them or left aside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from initcfg._plan.pretrained.problems import unmatched_pattern
from initcfg._rules import Pattern
from initcfg._rules.initializers import Permission, PretrainedInit


class Selection:
    """The patterns of one rule; each must match something."""

    def __init__(self, initializer: PretrainedInit) -> None:
        self._rule = initializer
        self._matched: set[tuple[str, str]] = set()

    def permissions(self, name: str) -> list[Permission]:
        """The adaptations that are allowed for a tensor."""
        return [
            each
            for each in self._rule.adapt
            if each.pattern is None or self._any("adapt", [each.pattern], name)
        ]

    def leaves_out(self, name: str) -> bool:
        """Whether the rule does not load a tensor."""
        included = self._any("include", self._rule.include, name) or not self._rule.include
        return self._any("exclude", self._rule.exclude, name) or not included

    def ignores(self, *names: str) -> bool:
        """Whether a tensor, or a key by any of its names, may be missing or left over."""
        return any([self._any("ignore", self._rule.ignore, name) for name in names])

    def check(self, here: Mapping[str, Any], there: Iterable[str]) -> None:
        """PatternError for a pattern that matched nothing; what is ``ignore``d may be here or there."""
        rule = self._rule
        if rule.ignore:
            self.ignores(*here, *there)
        adapt = [each.pattern for each in rule.adapt if each.pattern is not None]
        keys = {"include": rule.include, "exclude": rule.exclude, "ignore": rule.ignore, "adapt": adapt}
        for key, patterns in keys.items():
            for pattern in patterns:
                if (key, pattern.text) not in self._matched:
                    raise unmatched_pattern(key, pattern, here)

    def _any(self, key: str, patterns: Sequence[Pattern], name: str) -> bool:
        found = {(key, each.text) for each in patterns if each.covers(name)}
        self._matched |= found
        return bool(found)
