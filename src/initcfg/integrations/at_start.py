"""What callbacks share: a diagnosis where training begins, told, kept, and perhaps the end of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from initcfg import Diagnosis, Plan, diagnose
from initcfg.errors import ArgumentValueError, DiagnosisError, log, nearest

StopOn = Literal["error", "warning"] | None
_KNOWN = ("adamw", "adam", "sgd")
_PRECISIONS = {"bf16": torch.bfloat16, "16": torch.float16}


class AtStart:
    """A diagnosis of a model with the first batch that it is trained on, once.

    Args:
        steps: Steps of training that a copy of the model makes on that batch.
        stop_on: ``"error"`` ends training where an error is found, ``"warning"`` where a warning is, too.
        plan: The plan that gave the weights: findings then name its rules.
        html: File for the report.
        lang: Language of the report: ``"en"`` or ``"zh"``.
        log_to: Where it is logged, as of :meth:`Diagnosis.log`.
    """

    def __init__(
        self,
        *,
        steps: int = 8,
        stop_on: StopOn = None,
        plan: Plan | None = None,
        html: str | Path | None = None,
        lang: Literal["en", "zh"] = "en",
        log_to: Any = None,
    ) -> None:
        if stop_on not in ("error", "warning", None):
            raise ArgumentValueError(
                f"stop_on is 'error', 'warning' or None, not {stop_on!r}.",
                meant=nearest(str(stop_on), ["error", "warning"]),
            )
        self.steps = steps
        self.stop_on = stop_on
        self.plan = plan
        self.html = html
        self.lang = lang
        self.log_to = log_to

    def diagnose(
        self, model: nn.Module, batch: Any, loss: Any, *, optimizer: Any, dtype: torch.dtype | None
    ) -> Diagnosis:
        """The diagnosis; it is said in the log of this package, and the report is written."""
        name, rate = _recipe(optimizer)
        # At a rate of 0 no step moves a weight: what is left to see is the start.
        steps, rate = (0, None) if rate == 0 else (self.steps, rate)
        found = diagnose(
            model, batch, loss, plan=self.plan, lr=rate, optimizer=name, steps=steps, dtype=dtype
        )
        if not found.ok:
            log("The model was diagnosed before its first step: %s", found)
        if self.html is not None:
            found.to_html(self.html, lang=self.lang)
        if self.log_to is not None:
            found.log(to=self.log_to)
        return found

    def stops(self, found: Diagnosis) -> bool:
        """Whether training ends here."""
        return bool(
            (self.stop_on and found.errors)
            or (self.stop_on == "warning" and (found.errors or found.warnings))
        )


def stopped(found: Diagnosis) -> DiagnosisError:
    """The error that ends training."""
    first = (*found.errors, *found.warnings)[0]
    return DiagnosisError(
        f"Training was stopped before its first step. {found}",
        where=first.source or first.rule,
        fix=f"{first.fix} To train all the same: stop_on=None.",
    )


def precision(text: str) -> torch.dtype | None:
    """The type that a loop computes in, from its word for that: ``"bf16-mixed"``."""
    start = text.partition("-")[0]
    return _PRECISIONS.get(start) if text.endswith("mixed") else None


def _recipe(optimizer: Any) -> tuple[str, float | None]:
    """The name of an optimizer as a diagnosis knows it, and its learning rate: the one that is scheduled."""
    while hasattr(optimizer, "optimizer"):
        # What accelerate and Lightning put around it.
        optimizer = optimizer.optimizer
    kind = type(optimizer).__name__.lower()
    name = next((known for known in _KNOWN if kind.startswith(known)), "adamw")
    rates = [_rate(group) for group in getattr(optimizer, "param_groups", ())]
    return name, max(rates, default=None)


def _rate(group: Mapping[str, Any]) -> float:
    """Of a group: warm-up sets ``lr`` to 0 at first, and keeps what it leads to."""
    return float(group.get("initial_lr", group["lr"]))
