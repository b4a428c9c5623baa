"""Idle rules: those that somebody wrote and that no step of the program is for, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from initcfg._rules.rule import Rule
from initcfg._rules.written import WrittenAt


@dataclass(frozen=True, eq=False)
class Idle:
    """A rule that no step is for.

    Attributes:
        where: Its path.
        cfg: The entry as it was written.
        written: File and line it was written at, where known.
        reason: Why it does not run.
        rule: The rule; None where it was not read, since the original would not read it.
        order: Place of the step of user code that may run it all the same; None if nothing does.
    """

    where: str
    cfg: str
    written: WrittenAt | None
    reason: str
    rule: Rule | None = None
    order: int | None = None


def initialized_before(top: str, own: bool) -> str:
    """The module, or the one of this name in which it lies, has ``is_init=True``."""
    subject = ("its module" if top else "the model") if own else f"{top or 'the model'}, in which it lies,"
    return f"{subject} was initialized before (is_init=True)"


def code_instead(code: str, top: str, own: bool) -> str:
    """A method of its module, or of the one of this name in which it lies, decides."""
    if own:
        return f"{code} takes its place, and does not call super().init_weights()"
    return f"{code} of {top or 'the model'}, in which it lies, does not call the init_weights() of its module"


def not_entered(top: str, own: bool) -> str:
    """The original does not look into the module of this name."""
    if own:
        return "its module has no init_weights(), so that MMEngine does not read it"
    where = f"{top or 'the model'}, in which it lies,"
    return f"{where} has no init_weights(), so that MMEngine does not look into it"
