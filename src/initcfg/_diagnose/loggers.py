"""Loggers: a diagnosis in TensorBoard, Weights & Biases, MLflow, or a logger of Lightning.

Each is known by its type, and none is imported: whoever has a logger has its library.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from initcfg.errors import DiagnosisError, shown

if TYPE_CHECKING:
    from initcfg._diagnose.facts import Diagnosis, Finding

_COLUMNS = ("level", "code", "where", "measured", "threshold", "text", "why", "fix", "rule", "source")
_REPORT = "initcfg/report.html"


def log_diagnosis(found: Diagnosis, to: Any, *, run_id: str | None, step: int) -> None:
    """See :meth:`Diagnosis.log`."""
    if isinstance(to, (list, tuple)):
        for each in to:
            log_diagnosis(found, each, run_id=run_id, step=step)
        return
    if _is(to, ("torch", "tensorboardX"), "SummaryWriter"):
        _to_tensorboard(found, to, step)
    elif _is(to, ("wandb",), "Run"):
        _to_wandb(found, to)
    elif isinstance(to, ModuleType) and to.__name__ == "mlflow":
        _to_mlflow(found, to, step)
    elif _is(to, ("mlflow",), "MlflowClient"):
        if run_id is None:
            raise DiagnosisError(
                "An MLflow client has many runs, and nothing says which.",
                fix="Write diagnosis.log(to=client, run_id=run.info.run_id).",
            )
        _to_mlflow(found, _RunOfClient(to, run_id), step)
    elif _is(to, ("lightning", "pytorch_lightning"), "Logger"):
        _to_lightning(found, to, step)
    else:
        raise DiagnosisError(
            f"Nothing is known of how to log to {_type_name(to)}.",
            fix="Give a SummaryWriter, a wandb Run, mlflow or an MlflowClient, or a logger of Lightning.",
        )


def _is(item: Any, packages: Sequence[str], name: str) -> bool:
    """Whether an object is of a class of this name, out of one of these packages, or of a child of it."""
    return any(
        each.__name__ == name and each.__module__.partition(".")[0] in packages for each in type(item).__mro__
    )


def _type_name(item: Any) -> str:
    if isinstance(item, ModuleType):
        return f"the module {item.__name__}"
    return f"{type(item).__module__}.{type(item).__qualname__}"


# -- what is logged ------------------------------------------------------------------------------


def _scalars(found: Diagnosis) -> dict[str, float]:
    """One number each: few, so that nobody has to turn this off. What is per tensor is in the report."""
    counts = {"errors": len(found.errors), "warnings": len(found.warnings)}
    numbers = {**counts, **found.measures.numbers}
    return {f"initcfg/{name}": float(number) for name, number in numbers.items()}


def _curves(found: Diagnosis) -> dict[str, list[tuple[int, float]]]:
    """By name: points, over the steps of the probe or over depth."""
    measures = found.measures
    curves = {
        f"initcfg/probe/lr_{run.lr:.3g}": list(enumerate(run.losses)) for run in measures.probe if run.losses
    }
    signal = [(depth, block.rms) for depth, block in enumerate(measures.blocks)]
    back = [(depth, block.gradient_rms) for depth, block in enumerate(measures.blocks)]
    curves["initcfg/depth/rms"] = signal
    curves["initcfg/depth/gradient_rms"] = [(depth, size) for depth, size in back if size is not None]
    return {name: points for name, points in curves.items() if points}


def _cells(finding: Finding) -> list[Any]:
    return [_cell(getattr(finding, name)) for name in _COLUMNS]


def _cell(item: Any) -> Any:
    return item if isinstance(item, float) else shown("" if item is None else item)


def _markdown(found: Diagnosis) -> str:
    """The findings as a table of Markdown."""
    rows = [_COLUMNS, ["---"] * len(_COLUMNS), *map(_cells, found.findings)]
    table = "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in rows)
    return f"{_escaped(str(found).splitlines()[0])}\n\n{table if found.findings else 'No findings.'}"


def _escaped(cell: Any) -> str:
    text = f"{cell:.4g}" if isinstance(cell, float) else str(cell)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")


# -- where it goes -------------------------------------------------------------------------------


def _to_tensorboard(found: Diagnosis, writer: Any, step: int) -> None:
    for name, number in _scalars(found).items():
        writer.add_scalar(name, number, step)
    for name, points in _curves(found).items():
        for place, number in points:
            writer.add_scalar(name, number, place)
    writer.add_text("initcfg/findings", _markdown(found), step)
    folder = Path(str(getattr(writer, "log_dir", None) or getattr(writer, "logdir", "")))
    # It keeps no files itself; its folder may be elsewhere than on this machine.
    if os.path.isdir(folder):
        found.to_html(folder / "initcfg-report.html")
    writer.flush()


def _to_wandb(found: Diagnosis, run: Any) -> None:
    wandb = sys.modules["wandb"]
    curves = [[name, place, number] for name, points in _curves(found).items() for place, number in points]
    run.summary.update(_scalars(found))
    # Not committed: the run's own first step comes with its own first log.
    run.log(
        {
            "initcfg/findings": wandb.Table(columns=list(_COLUMNS), data=[*map(_cells, found.findings)]),
            "initcfg/curves": wandb.Table(columns=["curve", "place", "number"], data=curves),
            "initcfg/report": wandb.Html(found.to_html(), inject=False),
        },
        commit=False,
    )


class _RunOfClient:
    """A run through a client, with the names of MLflow's module."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def log_metric(self, key: str, value: float, step: int) -> None:
        self._client.log_metric(self._run_id, key, value, step=step)

    def log_text(self, text: str, artifact_file: str) -> None:
        self._client.log_text(self._run_id, text, artifact_file)

    def log_dict(self, dictionary: Any, artifact_file: str) -> None:
        self._client.log_dict(self._run_id, dictionary, artifact_file)


def _to_mlflow(found: Diagnosis, run: Any, step: int) -> None:
    for name, number, place in _points(found, step):
        run.log_metric(name, number, step=place)
    run.log_text(_markdown(found), "initcfg/findings.md")
    run.log_dict(found.to_json(), "initcfg/diagnosis.json")
    run.log_text(found.to_html(), _REPORT)


def _points(found: Diagnosis, step: int) -> Iterator[tuple[str, float, int]]:
    """Every number that a store of metrics takes; not all of them take what is not finite."""
    for name, number in _scalars(found).items():
        if math.isfinite(number):
            yield name, number, step
    for name, points in _curves(found).items():
        for place, number in points:
            if math.isfinite(number):
                yield name, number, place


def _to_lightning(found: Diagnosis, logger: Any, step: int) -> None:
    inside = getattr(logger, "experiment", None)
    if _is(inside, ("torch", "tensorboardX"), "SummaryWriter"):
        _to_tensorboard(found, inside, step)
    elif _is(inside, ("wandb",), "Run"):
        _to_wandb(found, inside)
    elif _is(inside, ("mlflow",), "MlflowClient"):
        _to_mlflow(found, _RunOfClient(inside, logger.run_id), step)
    else:
        # One of the others; on ranks that do not log, Lightning's own stand-in does nothing.
        logger.log_metrics(_scalars(found), step=step)
