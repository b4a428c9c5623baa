"""A hook that writes plan and ledger into the work folder of a run."""

from __future__ import annotations

from typing import Any

from initcfg.errors import log
from initcfg.integrations.initialization import Started
from initcfg.integrations.mmengine.library import dist, hooks


class InitHook(hooks.Hook):
    """Writes ``init_plan.json`` and ``init_ledger.json`` into the work folder when training begins.

    The Runner gets it by itself. A run that goes on from a checkpoint leaves there what its beginning wrote.

    Args:
        started: What the model started with.

    Attributes:
        plan: The plan.
        ledger: What was done.
    """

    priority = "VERY_HIGH"

    def __init__(self, started: Started) -> None:
        self._started = started

    @property
    def plan(self) -> Any:
        """What was planned."""
        return self._started.plan

    @property
    def ledger(self) -> Any:
        """What was done."""
        return self._started.ledger

    def before_train(self, runner: Any) -> None:
        """Write the files: by now it is known whether a checkpoint was loaded over the weights."""
        if not dist.is_main_process():
            return
        loaded = bool(getattr(runner, "_has_loaded", False))
        if loaded and getattr(runner, "_resume", False):
            log("Plan and ledger are not written: training goes on from a checkpoint.")
            return
        self._started.keep(runner.work_dir)
        if loaded:
            log("After the initialization, %s was loaded (load_from).", runner._load_from)
