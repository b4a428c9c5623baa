"""Checkpoints: a rule that loads a whole module, in place of one for each tensor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from initcfg._plan.export.cells import View
from initcfg.values import FromCheckpoint


def pretrained_rules(view: View) -> tuple[list[dict[str, Any]], View]:
    """Rules that load checkpoints into the model or a child of it, and the view of what is left to say."""
    sources: dict[str, dict[int, str]] = {}
    for number, value in enumerate(view.wanted):
        if isinstance(value, FromCheckpoint):
            sources.setdefault(value.source, {})[number] = value.key
    rules: list[dict[str, Any]] = []
    given: set[int] = set()
    for source, keys in sources.items():
        rule = _rule(view, source, keys)
        if rule is not None:
            rules.append(rule)
            given |= keys.keys()
    wanted = [None if number in given else value for number, value in enumerate(view.wanted)]
    return rules, replace(view, wanted=wanted, given=frozenset(given))


def _rule(view: View, source: str, keys: dict[int, str]) -> dict[str, Any] | None:
    names = {number: view.canonical(number) for number in keys}
    heads = {name.partition(".")[0] for name in names.values()}
    children = [head for head in heads if head in view.model._modules] if len(heads) == 1 else []
    for module in (*children, ""):
        start = f"{module}." if module else ""
        local = {number: name[len(start) :] for number, name in names.items()}
        prefixes = {key.removesuffix(local[number]) for number, key in keys.items()}
        prefix = min(prefixes)
        if len(prefixes) == 1 and all(key == prefix + local[number] for number, key in keys.items()):
            load = {"checkpoint": source, **({"prefix": prefix} if prefix else {})}
            if not module:
                return {"type": "Pretrained", **load}
            # An override, since Pretrained takes no name; what it stands in leaves all else alone.
            return {"weight": None, "override": {"type": "Pretrained", "name": module, **load}}
    return None
