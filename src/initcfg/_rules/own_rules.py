"""The rules of modules themselves: of those that are written alike, the first is parsed.

A stack of blocks gives each of them the same literals. What they say is found out once; what differs is the
path, and the place in code.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from torch import nn

from initcfg._rules.initializers import OURS, BatchInit
from initcfg._rules.literals import outline
from initcfg._rules.parsing import Owner, parse_init_cfg
from initcfg._rules.rule import PlainBias, Rule
from initcfg._rules.written import Codes, LineOfRule, WrittenAt, codes_of, in_class, nowhere


@dataclass(frozen=True)
class _Known:
    """What some literals say."""

    where: str
    shape: Any
    rules: tuple[Rule, ...]


class OwnRules:
    """Parses the rules of the modules of a model, which are all there when it begins."""

    def __init__(self, *, compat: bool) -> None:
        self._compat = compat
        self._codes: dict[type, Codes] = {}
        self._known: dict[Hashable, _Known] = {}

    def parse(
        self, module: nn.Module, where: str, owner: Owner, locate: LineOfRule | None, *, in_code: bool
    ) -> list[Rule]:
        """The rules of a module.

        Args:
            where: The path of its ``init_cfg``.
            locate: From the path of a rule to file and line, where a config file has them.
            in_code: Whether its class may hold them.
        """
        init_cfg = module.init_cfg
        key = _key_of(init_cfg)
        known = None if key is None else self._known.get(key)
        shape = outline(init_cfg) if known is None else known.shape
        by_code = self._in_class(module, shape) if in_code else nowhere

        def written(path: str) -> WrittenAt | None:
            return (locate(path) if locate is not None else None) or by_code(path)

        if known is not None:
            return [rule.moved(known.where, where, written) for rule in known.rules]
        found = parse_init_cfg(init_cfg, where, written=written, compat=self._compat, owner=owner)
        if key is not None and all(map(_is_shared, found)):
            self._known[key] = _Known(where, shape, tuple(found))
        return found

    def _in_class(self, module: nn.Module, shape: Any) -> LineOfRule:
        cls = type(module)
        if cls not in self._codes:
            self._codes[cls] = codes_of(cls)
        return in_class(module, self._codes[cls], shape)


def _is_shared(rule: Rule) -> bool:
    """Whether a rule may have its initializers in common with others: they are ours, and hold no data."""
    made = (rule.weight, rule.bias, rule.filler)
    ours = all(each is None or type(each) in _SHARED for each in made)
    apart = (rule.foreign, rule.pretrained, rule.scheme)
    return ours and all(each is None for each in apart) and all(map(_is_shared, rule.overrides))


_SHARED = {PlainBias, *(cls for cls in OURS if not issubclass(cls, BatchInit))}


class _NoLiteral(Exception):
    """There is something else than literals."""


def _key_of(init_cfg: Any) -> Hashable | None:
    """What is the same for the same literals, types and order included; None if there are others in it."""
    try:
        return _key(init_cfg)
    except (_NoLiteral, RecursionError):
        return None


def _key(item: Any) -> Hashable:
    kind = type(item)
    if kind is str:
        return item
    if kind is float:
        # By its digits: there are two zeros, and NaN does not equal itself.
        return kind, repr(item)
    if item is None or kind is int or kind is bool:
        return kind, item
    if kind is dict:
        return kind, *[(_key(name), _key(each)) for name, each in item.items()]
    if kind is list or kind is tuple:
        return kind, *map(_key, item)
    raise _NoLiteral
