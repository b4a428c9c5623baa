"""A mend as the author of the rules would write it: patterns for many names, and YAML for who writes YAML."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from initcfg._rules import show_cfg
from initcfg.errors import in_yaml, is_yaml

if TYPE_CHECKING:
    from initcfg._diagnose.facts import Diagnosis, Finding

_NUMBER = re.compile(r"\.\d+(?=\.)")


def mend_text(finding: Finding, found: Diagnosis) -> str:
    """The rule that mends, with patterns for many names where they mean exactly these."""
    rule = dict(finding.mend or {})
    if "lr" in rule:
        return f"lr={rule['lr']:g}"
    named = rule.get("param")
    if isinstance(named, (list, tuple)):
        known = [each.name for each in found.measures.tensors]
        patterns = list(dict.fromkeys(_NUMBER.sub(".*", f".{name}")[1:] for name in named))
        meant = {name for name in known for pattern in patterns if fnmatchcase(name, pattern)}
        exact = meant == set(named)
        texts = patterns if exact else list(named)
        rule["param"] = texts[0] if len(texts) == 1 else texts
    text = show_cfg(rule)
    return in_yaml(text) if _in_yaml(found) else text


def _in_yaml(found: Diagnosis) -> bool:
    """Whether the rules of a model stand in a YAML file."""
    notes = [] if found.plan is None else [each.written for each in found.plan.rules.values()]
    return any(map(is_yaml, (*notes, *(each.source for each in found.findings))))
