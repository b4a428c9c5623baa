"""A callback that diagnoses the model with the first batch of ``fit``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from initcfg.errors import DiagnosisError, log
from initcfg.integrations.at_start import AtStart, precision, stopped
from initcfg.integrations.lightning.library import Callback

if TYPE_CHECKING:
    from initcfg import Diagnosis


class DiagnoseCallback(Callback):
    """Diagnoses the model with the first batch, its ``training_step`` and its optimizer's learning rate.

    That happens on the first rank, before the first step, on a copy: the run itself is what it would have
    been, bit for bit. A run that goes on from a checkpoint is not diagnosed.

    Args:
        steps: Steps of training that the copy makes on that batch.
        stop_on: ``"error"`` ends training where an error is found, ``"warning"`` where a warning is, too.
        plan: The plan that gave the weights: findings then name its rules.
        html: File for the report.
        lang: Language of the report: ``"en"`` or ``"zh"``.
        log: Whether the trainer's loggers get it.

    Attributes:
        diagnosis: What was found.

    Raises:
        DiagnosisError: By ``fit``, where ``stop_on`` asks for that.
    """

    def __init__(self, *, log: bool = True, **options: Any) -> None:
        super().__init__()
        self._start = AtStart(**options)
        self._log = log
        self.diagnosis: Diagnosis | None = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Diagnose, once: the batch is on its device, and nothing was trained."""
        if self.diagnosis is not None or batch_idx or trainer.global_step:
            return
        stop = False
        if trainer.is_global_zero:
            self.diagnosis = self._diagnosed(trainer, pl_module, batch)
            stop = self.diagnosis is not None and self._start.stops(self.diagnosis)
        if trainer.strategy.broadcast(stop):
            if self.diagnosis is not None:
                raise stopped(self.diagnosis)
            raise DiagnosisError("Training was stopped by the diagnosis of the first rank.")

    def _diagnosed(self, trainer: Any, module: Any, batch: Any) -> Diagnosis | None:
        if not module.automatic_optimization:
            log("%s trains by a loop of its own, which is not diagnosed.", type(module).__name__)
            return None

        def loss(model: Any, batch: Any) -> torch.Tensor:
            # A copy belongs to no trainer, and a training_step may ask for it.
            vars(model)["_trainer"] = trainer
            return _loss_in(model.training_step(batch, 0))

        with _quiet(module):
            found = self._start.diagnose(
                module,
                batch,
                loss,
                optimizer=trainer.optimizers[0] if trainer.optimizers else None,
                dtype=precision(str(trainer.precision)),
            )
        if self._log:
            found.log(to=trainer.loggers)
        return found


def _loss_in(result: Any) -> torch.Tensor:
    """The loss in what a ``training_step`` returns."""
    loss = result.get("loss") if isinstance(result, dict) else result
    if not isinstance(loss, torch.Tensor):
        raise DiagnosisError(
            f"training_step returned {type(result).__name__} for the first batch, in which there is no loss.",
            fix="Return the loss, or a dict with it under 'loss'.",
        )
    return loss


@contextlib.contextmanager
def _quiet(module: Any) -> Iterator[None]:
    """Within, ``self.log`` of a module and of its copies says nothing: these steps are not the run's."""
    names = ("log", "log_dict")
    for name in names:
        vars(module)[name] = _said_to_nobody
    try:
        yield
    finally:
        for name in names:
            vars(module).pop(name, None)


def _said_to_nobody(*_: Any, **__: Any) -> None:
    pass
