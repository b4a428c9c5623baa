"""``initcfg verify``: what became of a checkpoint's tensors; what is alike is shown in one line."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from rich.console import Group, RenderableType

from initcfg._api.command.options import Request
from initcfg._api.command.planning import planned
from initcfg._api.command.terminal import spinner, table
from initcfg._apply import Verification, Verified, verified
from initcfg._checkpoints import open_source
from initcfg._plan import Ledger, Plan
from initcfg._plan.compare import read_saved
from initcfg._plan.report import mask, merge_names
from initcfg.errors import ConfigError, add_row, line, plural
from initcfg.values import formulas_in

_WORDS = {
    "initial": "as initialized",
    "changed": "changed",
    "unknown": "not said by the plan",
    "missing": "missing",
    "unplanned": "not in the plan",
    "shape": "of another shape",
}


def verified_checkpoint(
    checkpoint: str,
    plan_file: str | None,
    request: Request | None,
    *,
    seed: int | None,
    part: str | None,
    trust_ledger: bool = False,
) -> Verification:
    """What became of the tensors of a checkpoint since they were initialized.

    What was planned is in a plan or a ledger, ``plan_file``; or a config says it, the ``request``; or the
    checkpoint's own ledger: of that, plain values only, since a formula is operations of torch that somebody
    else chose; ``trust_ledger`` computes those too. ``part`` is the set of weights, where there are several.
    """
    if plan_file is not None and request is not None:
        raise ConfigError("--plan and --config both say what was planned.", fix="Give one of them.")
    if plan_file is not None and not os.path.isfile(plan_file):
        raise ConfigError(f"There is no file {plan_file!r}.", fix="Check the path.")
    saved = read_saved(plan_file or checkpoint) if request is None else planned(request)[1]
    if saved is None:
        raise ConfigError(
            f"{plan_file or checkpoint!r} holds no plan and no ledger.",
            fix="Give --plan FILE.json, or --config CONFIG and --seed N.",
        )
    if plan_file is None and request is None and not trust_ledger:
        _check_plain(checkpoint, saved)
    with spinner("comparing"), open_source(checkpoint, name=checkpoint, part=part) as reader:
        return verified(reader, saved, seed)


def _check_plain(checkpoint: str, saved: Plan | Ledger) -> None:
    """A ledger out of the checkpoint itself is data, and nothing that is computed."""
    found = [name for name, item in saved.items() if formulas_in(item.value)]
    if found:
        raise ConfigError(
            f"The ledger of {checkpoint!r} itself has formulas, for {plural(len(found), 'tensor')} such as "
            f"{found[0]!r}: operations of torch that whoever wrote the file chose.",
            fix="If you trust it, add --trust-ledger; or give a plan or ledger of your own: --plan FILE.",
        )


def verification_view(found: Verification, *, full: bool) -> RenderableType:
    """A line for tensors that are alike, and the totals."""
    shown = table("tensor", "×", "", "change", "", right=("×", "change"), overflow="fold")
    for group in _groups(found.tensors, full=full):
        first = group[0]
        changes = [each.change for each in group if each.change is not None and each.status == "changed"]
        ends = [f"{end(changes):.2g}" for end in (min, max)] if changes else []
        add_row(
            shown,
            merge_names([each.name for each in group]),
            str(len(group)) if len(group) > 1 else "",
            line(_WORDS[first.status], style="" if first.status in ("initial", "unknown") else "yellow"),
            "" if any(map(math.isnan, changes)) else "…".join(dict.fromkeys(ends)),
            line(_remark(group), style="red" if first.nan or first.inf else ""),
        )
    changed = [
        line(f"{name} holds other bytes than were written: its SHA-256 is another.", style="red")
        for name in found.changed_files
    ]
    return Group(shown, line(), *changed, line(_totals(found), style="bold"))


def _totals(found: Verification) -> str:
    counts = found.counts()
    parts = [f"{counts[status]:,} {word}" for status, word in _WORDS.items() if counts.get(status)]
    if counts.get("not finite"):
        parts.append(f"{counts['not finite']:,} with NaN or infinity")
    return f"{plural(len(found.tensors), 'tensor')} (seed {found.seed}): {', '.join(parts)}."


def _remark(group: list[Verified]) -> str:
    nan, inf = sum(each.nan for each in group), sum(each.inf for each in group)
    parts = [f"{nan:,} NaN"] if nan else []
    parts += [f"{inf:,} infinite"] if inf else []
    return "; ".join([*parts, *dict.fromkeys(each.detail for each in group if each.detail)])


def _groups(tensors: Iterable[Verified], *, full: bool) -> list[list[Verified]]:
    groups: dict[object, list[Verified]] = {}
    for number, each in enumerate(tensors):
        bad = bool(each.nan), bool(each.inf)
        key = number if full else (mask(each.name), each.status, bad, each.detail)
        groups.setdefault(key, []).append(each)
    return list(groups.values())
