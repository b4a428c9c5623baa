"""What a diagnosis says on the terminal: the outcome, and of each finding all that is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from initcfg._config import is_builder
from initcfg._diagnose import mend_text
from initcfg._plan.report.html import can_draw
from initcfg.errors import line, plural, shown

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from initcfg._api.command.request import Request
    from initcfg._diagnose import Diagnosis, DiagnosisComparison, Finding

_STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold"}
_WIDTH = 80


def diagnosis_views(
    found: Diagnosis, report: str | None = None, request: Request | None = None
) -> Iterator[RenderableType]:
    """For a person: no line is longer than 80 columns, but for what cannot be broken.

    ``request`` says how the command names the model, and so how a mend is tried.
    """
    yield _wrapped(outcome(found), style="bold")
    yield _wrapped(_circumstances(found))
    for finding in found.findings:
        yield line("")
        yield from _finding_view(finding, found, request)
    if report is not None:
        yield line("")
        yield line(_report_said(report))


def comparison_views(found: DiagnosisComparison, report: str | None = None) -> Iterator[RenderableType]:
    """For a person: which is better, or that nothing tells; and what is found in each."""
    yield _wrapped(found.told(), style="bold")
    for name, each in zip(found.names, (found.here, found.there), strict=True):
        yield line("")
        yield _wrapped(f"{name}:", style="bold")
        yield from diagnosis_views(each)
    if report is not None:
        yield line("")
        yield line(_report_said(report))


def outcome(found: Diagnosis) -> str:
    """The outcome in a line: how many, and where the loss starts."""
    counts = ((len(found.errors), "error"), (len(found.warnings), "warning"))
    said = " and ".join(plural(count, level) for count, level in counts if count) or "Nothing wrong"
    loss, classes = (found.measures.numbers.get(name) for name in ("loss", "log_classes"))
    if loss is None:
        return f"{said}."
    # The loss may be more than the cross entropy in it, or made of it.
    excess = found.measures.numbers.get("loss_excess", 0.0)
    same = not math.isfinite(loss + excess) or (
        classes is not None and math.isclose(loss, classes + excess, rel_tol=1e-2, abs_tol=1e-3)
    )
    expected = f"; guessing among all classes would be {classes:.4g}" if same and classes is not None else ""
    return f"{said}: the loss starts at {loss:.4g}{expected}."


def _circumstances(found: Diagnosis) -> str:
    rate = f"lr {found.lr:g}" + ("" if found.lr_given else " (assumed)")
    trained = f"{plural(found.steps, 'step')} of {found.optimizer} at {rate}" if found.steps else rate
    loss = f"loss: {found.loss}" if found.loss else None
    parts = (
        found.batch or "no batch",
        loss,
        trained,
        found.dtype,
        f"seed {found.seed}",
        _duration(found.seconds),
    )
    return "; ".join(filter(None, parts)) + "."


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:,.1f} min"


def _finding_view(finding: Finding, found: Diagnosis, request: Request | None) -> Iterator[RenderableType]:
    head = line(finding.level, style=_STYLES[finding.level])
    more = f" and {finding.more} more" if finding.more else ""
    head.append(f"  {shown(finding.code)}", style="bold").append(shown(f"  {finding.where}{more}"))
    yield head
    yield _fields(finding, found, request)


def _fields(finding: Finding, found: Diagnosis, request: Request | None) -> Table:
    from rich.table import Table

    from initcfg.errors import add_row

    shape = Table.grid(padding=(0, 2, 0, 0))
    shape.add_column(no_wrap=True, style="dim", min_width=6)
    shape.add_column(max_width=_WIDTH - 10, overflow="fold")
    for title, text in _said(finding, found, request):
        add_row(shape, f"  {title}", text)
    return shape


def _said(finding: Finding, found: Diagnosis, request: Request | None) -> Iterator[tuple[str, str]]:
    yield "what", finding.text
    number = numbers(finding)
    if number:
        yield "number", number
    yield "why", finding.why
    if finding.value is not None:
        source = f" ({finding.source})" if finding.source else ""
        by = f"{finding.rule}{source}" if finding.rule else finding.source
        tensor = f"{finding.tensors[0]} = " if finding.tensors else ""
        yield "from", f"{tensor}{finding.value}" + (f", by {by}" if by else "")
    if finding.fix:
        yield "fix", finding.fix
    if finding.mend is not None:
        text = mend_text(finding, found)
        yield "mend", f"try it: --{text.replace('=', ' ')}" if "lr" in finding.mend else _mend(text, request)


def _mend(rule: str, request: Request | None) -> str:
    """Where the rule goes: for a builder, which has no config, the option that tries it."""
    if request is None or not is_builder(request.config):
        return f"append to init_cfg: {rule}"
    if any(each.startswith("init_cfg") for each in request.overrides):
        return f"append to the list of --set init_cfg: {rule}"
    return f'try it: --set "init_cfg=[{rule}]"'


def _report_said(report: str) -> str:
    return report if can_draw() else f"{report} (without pictures: they need matplotlib)"


def numbers(finding: Finding) -> str:
    """The number that was found, what it was held against, and where healthy models are."""
    parts = []
    if finding.measured is not None:
        parts.append(f"{finding.measured:.4g}")
    if finding.threshold is not None:
        parts.append(f"threshold {finding.threshold:.4g}")
    if finding.healthy is not None:
        low, high = finding.healthy
        parts.append(f"healthy {low:.3g} to {high:.3g}")
    return ", ".join(parts)


def _wrapped(text: str, style: str = "") -> RenderableType:
    from rich.table import Table

    from initcfg.errors import add_row

    shape = Table.grid()
    shape.add_column(max_width=_WIDTH, overflow="fold")
    add_row(shape, line(text, style=style))
    return shape
