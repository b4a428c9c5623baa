"""``initcfg lock`` and ``initcfg check``: what models start with, kept in a repository, and held to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from initcfg._api.command.planning import working_folder_first
from initcfg._api.command.terminal import spinner
from initcfg._api.locks import Lock, LockCheck, Target, checked, locked
from initcfg._apply import check_output
from initcfg.errors import plural


def lock_written(
    configs: Sequence[str], overrides: tuple[str, ...], output: str, *, untrusted: bool, **how: Any
) -> Lock:
    """Lock some configs in a file; without any, those that it has already."""
    check_output(output, (".lock",))
    working_folder_first(untrusted=untrusted)
    with spinner("planning"):
        targets = [Target(config, overrides, untrusted=untrusted, **how) for config in configs]
        return locked(targets, output)


def lock_checked(paths: Sequence[str], *, untrusted: bool, no_python: bool) -> LockCheck:
    """What became of the models of some locks."""
    working_folder_first(untrusted=untrusted)
    with spinner("planning"):
        found = [checked(path, untrusted=untrusted, no_python=no_python) for path in paths]
    return LockCheck(tuple(model for each in found for model in each.models))


def lock_said(made: Lock, output: str) -> list[str]:
    """What was written, in a line for each model; and what of it a check can tell less of."""
    found: list[str] = []
    for model in made.models:
        count = sum(len(entry.names) for entry in model.entries)
        lines = plural(len(model.entries), "line")
        found.append(f"{output}: {model.target}, {plural(count, 'tensor')} in {lines}")
        untold = sum(len(entry.names) for entry in model.entries if entry.by_code and not entry.numbers)
        if untold:
            found.append(
                f"  {untold:,} made by code: a check tells whether that code changes, not what it reads; "
                "--seed locks the numbers."
            )
    return found


def lock_json(made: Lock, output: str) -> dict[str, Any]:
    """The same as JSON data."""
    models = [{"target": each.target, "plan": each.one("plan")} for each in made.models]
    return {"lock": output, "models": models}
