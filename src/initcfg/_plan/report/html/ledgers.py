"""The page of a ledger."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from initcfg._plan.report.html.elements import Html, element
from initcfg._plan.report.html.page import facts, whole_page, written
from initcfg._plan.report.html.tensors import TensorRow, tensor_table
from initcfg._plan.report.html.wording import Wording
from initcfg.values import Opaque

if TYPE_CHECKING:
    from initcfg._plan.ledger import Ledger, Written

_MOST = 20000


def ledger_page(ledger: Ledger, path: str | Path | None = None, lang: str = "en") -> str:
    """A whole page for a ledger."""
    words = Wording(lang)
    title = words("ledger")
    others: dict[str, list[str]] = {}
    for alias, name in ledger.aliases.items():
        others.setdefault(name, []).append(alias)
    rows = [_row(entry, others.get(name, []), words) for name, entry in ledger.entries.items()]
    listed = element(
        "section",
        element("h2", words("tensors")),
        tensor_table(rows[:_MOST], words, more=[words("written by")]),
    )
    return written(
        whole_page(title, element("h1", title), ledger_facts(ledger, words), listed, words=words), path
    )


def ledger_facts(ledger: Ledger, words: Wording) -> Html:
    """The totals, and what the run was."""
    by = Counter(entry.by for entry in ledger.entries.values())
    said: dict[str, object] = {words("tensors"): f"{len(ledger.entries):,}"}
    for kind in ("rule", "default", "code", "nobody"):
        if by[kind]:
            said[f"{words('written by')} {words(f'{kind} by', code='').rstrip(':： ')}"] = f"{by[kind]:,}"
    drawn = "" if ledger.drawn_by is None else f" ({words('drawn by a rank', rank=ledger.drawn_by)})"
    said[words("seed")] = None if ledger.seed is None else f"{ledger.seed}{drawn}"
    said[words("rng")] = ledger.rng
    said[words("versions")] = ", ".join(f"{name} {version}" for name, version in ledger.versions.items())
    said[words("checkpoints")] = ", ".join(load.source for load in ledger.loads)
    return facts({**said, words("digest"): element("code", ledger.plan_digest[:16])})


def _row(entry: Written, aliases: list[str], words: Wording) -> TensorRow:
    remarks = [words("buffer")] if entry.buffer else []
    remarks += [words("also called {names}", names=", ".join(aliases))] if aliases else []
    remarks += [words("changed by its parametrization")] if entry.altered else []
    remarks += [f"{words('computed')}: {entry.computed}"] if entry.computed else []
    value = Opaque(entry.code, entry.value) if entry.code and entry.by == "code" else entry.value
    by = words(f"{entry.by} by", code=entry.code or "")
    return TensorRow(
        entry.name, entry.shape, entry.dtype, value, entry.rule or "", None, tuple(remarks), cells=(by,)
    )
