"""A callback that diagnoses the model with the first batch of a ``Trainer``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from initcfg.integrations.at_start import AtStart, stopped
from initcfg.integrations.transformers.library import Callback

if TYPE_CHECKING:
    from initcfg import Diagnosis


class DiagnoseCallback(Callback):
    """Diagnoses the model with the first batch that it is called with, and the optimizer's learning rate.

    That happens on the first rank, before the first step, on a copy: the run itself is what it would have
    been, bit for bit. A run that goes on from a checkpoint is not diagnosed.

    Args:
        loss: ``f(model, batch)``, where the model does not return its loss; ``batch`` is the dict that the
            model was called with.
        steps: Steps of training that the copy makes on that batch.
        stop_on: ``"error"`` ends training where an error is found, ``"warning"`` where a warning is, too.
        plan: The plan that gave the weights: findings then name its rules.
        html: File for the report.
        lang: Language of the report: ``"en"`` or ``"zh"``.
        log_to: Where it is logged, as of :meth:`Diagnosis.log`.

    Attributes:
        diagnosis: What was found.

    Raises:
        DiagnosisError: By ``train``, where ``stop_on`` asks for that.
    """

    def __init__(self, loss: Any = None, **options: Any) -> None:
        super().__init__()
        self._start = AtStart(**options)
        self._loss = loss
        self._hook: Any = None
        self.diagnosis: Diagnosis | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Wait for the first call of the model: its batch is the first, and nothing else took one."""
        if self.diagnosis is not None or state.global_step or not state.is_world_process_zero:
            return
        dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
        optimizer = given.get("optimizer")

        def first_call(model: Any, positional: Any, named: Any) -> None:
            # Before the model is copied: copies have the hooks of their original.
            self.on_train_end()
            # A trainer that accumulates gradients divides by the items of all its batches.
            named = {name: item for name, item in named.items() if name != "num_items_in_batch"}
            batch = named if not positional else (tuple(positional), named)
            # The trainer computes within autocast, which the diagnosis opens itself.
            with torch.autocast(args.device.type, enabled=False):
                self.diagnosis = self._start.diagnose(
                    model, batch, self._loss, optimizer=optimizer, dtype=dtype
                )
            if self._start.stops(self.diagnosis):
                raise stopped(self.diagnosis)

        self._hook = given["model"].register_forward_pre_hook(first_call, with_kwargs=True)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Leave no hook behind."""
        if self._hook is not None:
            with contextlib.suppress(Exception):
                self._hook.remove()
            self._hook = None
