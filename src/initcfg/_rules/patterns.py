"""Patterns: which names of modules, parameters and buffers are meant."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from initcfg._model import ROLE_NAMES
from initcfg._rules.expressions import Endless, Expression, compiled
from initcfg.errors import PatternError, RoleError, RuleTypeError, nearest


@dataclass(frozen=True)
class Pattern:
    """A glob over a whole qualified name (``*`` passes dots too), or a regex after ``re:``."""

    text: str
    regex: re.Pattern[str] | Expression

    def matches(self, name: str) -> bool:
        """Whether the whole name matches."""
        return self.regex.fullmatch(name) is not None

    def covers(self, name: str) -> bool:
        """Whether a name matches, or that of a module around it.

        Example:
            >>> from initcfg._rules.patterns import parse_patterns
            >>> (pattern,) = parse_patterns("exclude", "head")
            >>> pattern.covers("head.fc.weight"), pattern.covers("neck.head")
            (True, False)
        """
        parts = name.split(".")
        return any(self.matches(".".join(parts[: count + 1])) for count in range(len(parts)))


def parse_patterns(key: str, written: Any) -> tuple[Pattern, ...]:
    """A pattern, or a list of them, as written."""
    if written is None:
        return ()
    items = [written] if isinstance(written, str) else written
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) and item for item in items):
        raise RuleTypeError(
            f"{key} must be a pattern or a list of patterns, not {written!r}.", fix=f"Write {key}='*.weight'."
        )
    return tuple(Pattern(item, _compiled(key, item)) for item in items)


def parse_roles(written: Any) -> tuple[Pattern, ...]:
    """Roles as written: words, globs over them, or a list.

    Raises:
        RoleError: There is no such role.
    """
    patterns = parse_patterns("role", written)
    for pattern in patterns:
        if not any(map(pattern.matches, ROLE_NAMES)):
            raise RoleError(
                f"role={pattern.text!r} names no role.",
                meant=nearest(pattern.text, ROLE_NAMES),
                fix=f"Roles are {', '.join(ROLE_NAMES)}.",
            )
    return patterns


def _compiled(key: str, text: str) -> re.Pattern[str] | Expression:
    try:
        return compiled(text[3:]) if text.startswith("re:") else re.compile(fnmatch.translate(text))
    except Endless as error:
        raise PatternError(
            f"{key}={text!r} may take forever to match: {error}.",
            fix="Write a simpler expression, several of them, or a pattern with '*'.",
        ) from None
    except re.error as error:
        raise PatternError(f"{key}={text!r} is not a valid regular expression: {error}.") from error


def _near_patterns(text: str, names: list[str]) -> list[str]:
    """A pattern with ``*`` whose words the names do not have, with the nearest words that they do have.

    Example:
        >>> from initcfg._rules.patterns import _near_patterns
        >>> _near_patterns("*.cproj.weight", ["h.0.c_proj.weight", "h.0.c_attn.weight"])
        ['*.c_proj.weight']
    """
    words = {word for name in names for word in name.split(".")}
    if "*" not in text:
        return []
    wanted = text.split(".")
    wrong = [at for at, word in enumerate(wanted) if word not in words and not set("*?[") & set(word)]
    if len(wrong) != 1:
        return []
    close = nearest(wanted[wrong[0]], words, 3)
    tried = [".".join([*wanted[: wrong[0]], word, *wanted[wrong[0] + 1 :]]) for word in close]
    return [each for each in tried if fnmatch.filter(names, each)]


def unmatched(key: str, pattern: Pattern, names: Iterable[str], **context: Any) -> PatternError:
    """The error for a pattern that matches nothing among ``names``."""
    names = list(names)
    text = pattern.text.removeprefix("re:")
    last = text.rpartition(".")[2].replace("*", "").replace("\\", "")
    near = [] if pattern.text.startswith("re:") else _near_patterns(text, names)
    tails = [name for name in names if last and name.rpartition(".")[2] == last]
    meant = nearest(text, names, 3) or tails[:3]
    within = f"*.{text}"
    if text and not text.startswith("*") and any(name.endswith(within[1:]) for name in names):
        meant = [within, *meant][:3]
    if not meant and last:
        close = nearest(last, {name.rpartition(".")[2] for name in names}, 1)
        meant = [name for name in names if close and name.rpartition(".")[2] == close[0]][:3]
    if not meant and len(last) > 2:
        # What is said in short: "pos" of "pos_embed".
        within = [name for name in names if last.lower() in name.rpartition(".")[2].lower()]
        meant = (within or [name for name in names if last.lower() in name.lower()])[:3]
    return PatternError(
        f"{key}={pattern.text!r} matches nothing.",
        meant=near or meant,
        fix="Patterns match whole names, counted from the module that owns the init_cfg; '*' stands for "
        "any run of characters, dots too, and 're:' begins a regular expression.",
        **context,
    )
