"""The picture of a coordinate check, by matplotlib, which is imported when there is something to draw."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initcfg._api.coordinates.measured import ZERO
from initcfg._apply import check_output
from initcfg._config.files import replacing
from initcfg.errors import CheckpointImportError

if TYPE_CHECKING:
    from initcfg._api.coordinates.measured import Coordinates

PICTURES = (".svg", ".png", ".pdf")


def check_picture(path: str) -> None:
    """Refuse, before the work begins, a picture that cannot be drawn or written."""
    check_output(path, PICTURES)
    _figure_class()


def _figure_class() -> Any:
    try:
        # Not pyplot: it would choose a window for the whole process.
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise CheckpointImportError(
            f"A picture is drawn by matplotlib, which cannot be imported: {error}.",
            fix="Install it with: pip install 'initcfg[plot]'. The table needs none.",
        ) from error
    return Figure


def _drawn(size: float) -> float:
    """A size, or a gap where it is zero, which a logarithm has no place for."""
    return size if size > 2 * ZERO else math.nan


def draw_slopes(found: Coordinates, path: str) -> None:
    """The size of each module's output over the width, a line for each step, into a file."""
    steps = len(found.losses[0])
    figure = _figure_class()(figsize=(3.2 * steps, 3.4), layout="constrained")
    # Each has an axis of its own: a head that starts at 0 is many decades below what it is after a step.
    panes = figure.subplots(1, steps, squeeze=False)[0]
    for step, pane in enumerate(panes):
        for name, curve in found.curves.items():
            failing = not curve.passes
            pane.plot(
                found.widths,
                [_drawn(row[step]) for row in curve.sizes],
                color="tab:red" if failing else "tab:blue",
                alpha=0.9 if failing else 0.4,
                label=name if failing and step == steps - 1 else None,
            )
        pane.set_xscale("log", base=2)
        pane.set_yscale("log")
        pane.set_title(f"after {step} steps" if step != 1 else "after 1 step")
        pane.set_xlabel("width")
    panes[0].set_ylabel("mean |output| of each module")
    if not found.passes:
        panes[-1].legend(fontsize="xx-small")
    ending = Path(path).suffix[1:]
    with replacing(path) as temporary:
        figure.savefig(temporary, format=ending)
