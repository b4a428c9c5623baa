"""Accounts for a person: what each checkpoint gives, and what an apply did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from initcfg._plan.loads import HookRun, Load, weight_of
from initcfg._plan.report.words import limited, shape_text, value_text
from initcfg.errors import line, plural, stacked
from initcfg.values import Keep

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from initcfg._plan.ledger import Ledger
    from initcfg._plan.plan import Plan

_FIRST = 3
_WORDS = {
    "adapted": "adapted",
    "missing": "missing",
    "unexpected": "unexpected",
    "mismatched": "of another shape or type",
    "excluded": "excluded",
    "ignored": "ignored",
}


def _counts(load: Load) -> list[str]:
    """How many tensors, and how many of each kind are in the account."""
    found = [f"{len(names)} {what}" for kind, what in _WORDS.items() if (names := getattr(load, kind))]
    return [f"{plural(load.loaded, 'tensor')} from {load.source}", *found]


def load_lines(plan: Plan, load: Load, *, full: bool, logged: bool = False) -> list[Text]:
    """What a checkpoint gives and does not give: counts and the first names, or all of them.

    The warning is left out where it was ``logged``.
    """
    if load.problem:
        return [line(f"checkpoint   {load.rule}: {load.problem}", style="red")]
    accounts: dict[str, Sequence[Any]] = {
        "adapted": [f"{name} ({how})" for name, how in load.adapted],
        "missing": [_instead(plan, name) for name in load.missing],
        "unexpected": load.unexpected,
        "of another shape or type": [
            f"{_instead(plan, name)}, {shape_text(there)} there" for name, _, there in load.mismatched
        ],
        "excluded": [_instead(plan, name) for name in load.excluded],
        "ignored": load.ignored,
        "renamed": [f"{key} → {name}" for key, name in load.renamed],
        "converted": [f"{count} from {there} to {here}" for there, here, count in load.converted],
    }
    head, *counts = _counts(load)
    if load.wrapping:
        head += f" ({', '.join(load.wrapping)} taken off)"
    if load.mapped:
        head += ", mapped"
    if load.renamed:
        counts.append(f"{len(load.renamed)} renamed")
    if load.converted:
        counts.append(f"{sum(each[2] for each in load.converted)} converted")
    odd = bool(load.missing or load.unexpected or load.mismatched)
    told = ", ".join([f"checkpoint   {load.rule}: {head}", *counts])
    lines = [line(f"{told}.", style="yellow" if odd else "")]
    for what, names in accounts.items():
        for index, name in enumerate(limited(names, full, _FIRST + 1)):
            lines.append(line(f"  {what if index == 0 else '':<24}  {name}"))
    if load.mapped and (load.converted or load.adapted):
        lines.append(line("  note                      what is converted or adapted is copied all the same"))
    for did in _by_hooks(load.hooks):
        lines += [line(f"  load hooks                {each}") for each in limited(did, full, _FIRST + 1)]
    lines += [line(f"  note                      {each}") for each in (*load.remarks, *load.idle)]
    if load.warning and not logged:
        lines.append(line(f"  warning                   {load.warning}", style="red"))
    hints = load.hints if full else load.hints[:_FIRST]
    return lines + [line(f"  perhaps                   {each}", style="yellow") for each in hints]


def _by_hooks(runs: Sequence[HookRun]) -> list[list[str]]:
    """What load hooks did: those that did something, each with all its modules."""
    together: dict[tuple[str, ...], list[HookRun]] = {}
    for run in runs:
        if run.made or run.dropped or run.kept:
            together.setdefault(run.hooks, []).append(run)
    found: list[list[str]] = []
    for hooks, those in together.items():
        first = ".".join(filter(None, (those[0].owner, those[0].path))) or "the model"
        more = f" and {plural(len(those) - 1, 'other module')}" if len(those) > 1 else ""
        lines = [f"of {first}{more}: {', '.join(hooks)}"]
        for run in those:
            for name, given, shape, dtype in run.made:
                lines.append(
                    f"{name}: {f'from {given}' if given else f'computed, {shape_text(shape)} {dtype}'}"
                )
            lines += [f"{name}: taken away" for name in run.dropped]
            lines += [f"{name}: left as it is" for name in run.kept]
        found.append(lines)
    return found


def _mapped(ledger: Ledger) -> list[Text]:
    """How many tensors lie in a file's own pages, and why others, which were to, do not."""
    loaded = [entry.loaded for entry in ledger.entries.values() if entry.loaded is not None]
    count = sum(each.mapped for each in loaded)
    why = Counter(each.copied for each in loaded if each.copied)
    lines = [line(f"  mapped, not copied: {plural(count, 'tensor')}")] if count else []
    return lines + [
        line(f"  copied: {plural(many, 'tensor')}, since {reason}") for reason, many in why.items()
    ]


def _instead(plan: Plan, name: str) -> str:
    """A tensor that the checkpoint does not give, with what it gets."""
    item = plan.get(name)
    if item is None and (whole := plan.get(weight_of(name))) is not None and whole.shadowed:
        # A part of a weight, of which the checkpoint gives the rest.
        before = whole.shadowed[-1]
        return f"{name}: from {before.value} by {before.rule}"
    if item is None or isinstance(item.value, Keep):
        return f"{name}: {value_text(Keep())}"
    by = item.rule or (item.default.rule if item.default else None)
    return f"{name}: {item.value}" + (f" by {by}" if by else "")


def ledger_view(ledger: Ledger) -> RenderableType:
    """The account of an apply in a few lines."""
    by = Counter(entry.by for entry in ledger.entries.values())
    defaults = f"{by['default']:,} by default, " if by["default"] else ""
    seed = "" if ledger.seed is None else f", seed {ledger.seed}"
    if ledger.drawn_by is not None:
        seed += f" (drawn by rank {ledger.drawn_by} for itself)"
    told = (
        f"{sum(by.values()) - by['nobody']:,} tensors written ({by['rule']:,} by rules, {defaults}"
        f"{by['code']:,} by code of the model's own), {by['nobody']:,} kept; rng {ledger.rng}{seed}."
    )
    lines = [line(told, style="bold")]
    altered = [name for name, entry in ledger.entries.items() if entry.altered]
    if altered:
        lines.append(line(f"  changed by their parametrization: {', '.join(limited(altered, False))}"))
    lines += [line("  " + ", ".join(_counts(load))) for load in ledger.loads]
    lines += _mapped(ledger)
    bad = [
        f"{name} ({entry.loaded.non_finite})"
        for name, entry in ledger.entries.items()
        if entry.loaded and entry.loaded.non_finite
    ]
    if bad:
        lines.append(line(f"  loaded with NaN or infinity: {', '.join(limited(bad, False))}"))
    codes = Counter(entry.code for entry in ledger.entries.values() if entry.code)
    lines += [line(f"  {code} wrote {plural(count, 'tensor')}") for code, count in codes.items()]
    return stacked(*lines)
