"""Hits: which name patterns of the rules have matched; one that matches nothing is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from initcfg._model import Entry, Names, relative_name
from initcfg._rules import Pattern, Program, Step, unmatched
from initcfg.errors import InitcfgError


class PatternHits:
    """The patterns of a program that have matched."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._hits: set[tuple[int, str, str]] = set()

    def matches(
        self, step: Step, key: str, name: str, test: Callable[[Pattern, str], bool] = Pattern.matches
    ) -> bool:
        """Whether a pattern of the step under this key matches the name, or passes another test."""
        found = False
        for pattern in getattr(step.rule, f"{key}s"):
            if test(pattern, name):
                self._hits.add((step.order, key, pattern.text))
                found = True
        return found

    def excluded(self, step: Step, name: str) -> bool:
        """Whether the step excludes the tensor of this name, or a module around it."""
        return self.matches(step, "exclude", relative_name(name, step.owner_name) or name, Pattern.covers)

    def check(self, program: Program, used: set[int]) -> None:
        """Every pattern must have matched something, but for exclusions of a rule that is not used."""
        for step in program.steps:
            if step.rule is not None and step.rule.scheme is not None:
                # A recipe is for many models: what it names need not be there.
                continue
            for key in ("name", "param", "buffer", "exclude") if step.rule is not None else ():
                for pattern in getattr(step.rule, f"{key}s"):
                    hit = (step.order, key, pattern.text) in self._hits
                    if not hit and (key != "exclude" or step.order in used):
                        raise self._unmatched(step, key, pattern)

    def _unmatched(self, step: Step, key: str, pattern: Pattern) -> InitcfgError:
        def relative(names: Iterable[str]) -> list[str]:
            return [found for name in names if (found := relative_name(name, step.owner_name))]

        def all_names(entries: Iterable[Entry]) -> list[str]:
            return relative(name for entry in entries for name in entry.names)

        modules = relative(name for name in self._names.modules.values() if name)
        parameters, buffers = all_names(self._names.parameters), all_names(self._names.buffers)
        candidates = {
            "name": modules,
            "param": parameters,
            "buffer": buffers,
            "exclude": [*modules, *parameters],
        }
        assert step.rule is not None
        error = unmatched(key, pattern, candidates[key], rule=str(step.rule), where=step.rule.place)
        if key == "param" and any(map(pattern.matches, buffers)):
            error.fix = f"That names buffers: write buffer={pattern.text!r}."
        if key == "name" and any(map(pattern.matches, parameters)):
            error.fix = f"That names parameters, and name is for modules: write param={pattern.text!r}."
        return error
