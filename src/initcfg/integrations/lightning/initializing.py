"""A callback that initializes the model where ``fit`` begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from initcfg import Plan
from initcfg.errors import ApplyError, log
from initcfg.integrations.initialization import Initialization, Started
from initcfg.integrations.lightning.library import Callback


class InitCallback(Callback):
    """Initializes the model, once, before its first step; plan and ledger are kept as files.

    That happens on every rank, which agree on the seed and make the same weights; a rank that holds shards
    (FSDP2) makes its own. Where ``fit`` goes on from a checkpoint (``ckpt_path``), nothing is initialized;
    nor for a second ``fit`` of the same model. In YAML::

        trainer:
          callbacks:
            - class_path: initcfg.integrations.lightning.InitCallback
              init_args:
                init_cfg: [{type: Kaiming, layer: Conv2d}]
                seed: 0

    Args:
        init_cfg: Rules around the model, as for :func:`initcfg.plan`; those in it count as always.
        plan: A plan, or the JSON file of one, in place of rules.
        part: Path of the submodule that is initialized, under names of its own (``"net"``): its weights are
            those that it gets alone. The whole ``LightningModule`` if None.
        seed: See :meth:`Plan.apply`. None draws one from torch's generator, as ``seed_everything`` left it.
        rng: See :meth:`Plan.apply`.
        compat: See :func:`initcfg.plan`.
        strict: A rule that reaches nothing is an error.
        roles: See :func:`initcfg.plan`.
        folder: Where ``init_plan.json`` and ``init_ledger.json`` go: the trainer's ``log_dir``, else its
            ``default_root_dir``, if None.

    Attributes:
        plan: What was planned; None until then, and where nothing was initialized.
        ledger: What was done.

    Raises:
        ApplyError: By ``fit``: the weights cannot be written, since DeepSpeed has copies of them.
    """

    def __init__(
        self,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
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
        self._folder = folder
        self._started: Started | None = None
        self._new: Started | None = None

    @property
    def plan(self) -> Plan | None:
        """What was planned."""
        return None if self._started is None else self._started.plan

    @property
    def ledger(self) -> Any:
        """What was done."""
        return None if self._started is None else self._started.ledger

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Initialize: all layers are there, on their device, and wherever a strategy shards them."""
        if self._start.is_done(pl_module):
            return
        if trainer.ckpt_path:
            log("Nothing is initialized: training goes on from %s.", trainer.ckpt_path)
            return
        _refuse_copies(trainer)
        self._started = self._new = self._start.carry_out(pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Keep plan and ledger: by now, strategies that shard have loaded a checkpoint, if there is one."""
        started, self._new = self._new, None
        if started is None:
            return
        if trainer.ckpt_path:
            log("Training goes on from %s: its weights have replaced the initial ones.", trainer.ckpt_path)
            self._started = None
            return
        # Asked for by all ranks, since they tell each other.
        folder = self._folder or trainer.log_dir or trainer.default_root_dir
        if trainer.is_global_zero:
            started.keep(Path(folder))


def _refuse_copies(trainer: Any) -> None:
    """Refuse a strategy that has copies of the weights by now."""
    if "DeepSpeed" in type(trainer.strategy).__name__:
        raise ApplyError(
            "Under DeepSpeed, the optimizer has copies of the weights when training begins.",
            fix="Initialize in the model's configure_model, or its constructor: "
            "initcfg.init_weights(self, init_cfg, seed=0).",
        )
