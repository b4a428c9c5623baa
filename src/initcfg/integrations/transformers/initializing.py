"""A callback that initializes the model before the first step of a ``Trainer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from initcfg import Plan
from initcfg.errors import ApplyError, log
from initcfg.integrations.initialization import Initialization, Started
from initcfg.integrations.transformers.library import Callback


class InitCallback(Callback):
    """Initializes the model of a ``Trainer``, once, before its first step; plan and ledger are kept as files.

    That happens on every rank, which agree on the seed and make the same weights. Where training goes on from
    a checkpoint, nothing is initialized; nor where the same model is trained again.

    Args:
        init_cfg: Rules around the model, as for :func:`initcfg.plan`; those in it count as always.
        plan: A plan, or the JSON file of one, in place of rules.
        part: Path of the submodule that is initialized, under names of its own: ``"classifier"``, say.
        seed: See :meth:`Plan.apply`. None: the ``seed`` of the ``TrainingArguments``.
        rng: See :meth:`Plan.apply`.
        compat: See :func:`initcfg.plan`.
        strict: A rule that reaches nothing is an error.
        roles: See :func:`initcfg.plan`.
        folder: Where ``init_plan.json`` and ``init_ledger.json`` go: the Trainer's ``output_dir`` if None.

    Attributes:
        plan: What was planned; None until then, and where nothing was initialized.
        ledger: What was done.

    Raises:
        ApplyError: By ``train``: the weights cannot be written, since DeepSpeed has them elsewhere.
    """

    def __init__(
        self,
        init_cfg: Any = None,
        plan: Any = None,
        part: str | None = None,
        seed: int | None = None,
        rng: Literal["stream", "torch"] = "stream",
        compat: str | None = None,
        strict: bool = False,
        roles: Any = None,
        folder: str | None = None,
    ) -> None:
        super().__init__()
        self._start = Initialization(
            init_cfg, plan=plan, part=part, seed=seed, rng=rng, compat=compat, strict=strict, roles=roles
        )
        self._seed = seed
        self._folder = folder
        self._started: Started | None = None

    @property
    def plan(self) -> Plan | None:
        """What was planned."""
        return None if self._started is None else self._started.plan

    @property
    def ledger(self) -> Any:
        """What was done."""
        return None if self._started is None else self._started.ledger

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Initialize, if nothing was trained yet."""
        model = given["model"]
        if self._start.is_done(model):
            return
        if state.global_step or args.resume_from_checkpoint:
            log("Nothing is initialized: training goes on from step %s.", state.global_step)
            return
        if getattr(args, "deepspeed", None):
            raise ApplyError(
                "Under DeepSpeed, the optimizer has copies of the weights when training begins.",
                fix="Initialize the model before the Trainer gets it: "
                "initcfg.integrations.transformers.initialize(model, init_cfg, seed).",
            )
        self._start.seed = args.seed if self._seed is None and self._start.rng == "stream" else self._seed
        self._started = self._start.carry_out(model)
        if state.is_world_process_zero:
            self._started.keep(Path(self._folder or args.output_dir))
