"""Batches of a plan: made before anything is written, and run once everything is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from initcfg._apply.execution import Execution
from initcfg._apply.measuring.act_norm import Normalizing
from initcfg._apply.measuring.batch import Batch, batch_of
from initcfg._apply.measuring.layers import Channels, Scaling
from initcfg._apply.measuring.running import run
from initcfg._apply.measuring.uses import Uses, seen_tensors
from initcfg._plan import Plan, has_kind
from initcfg._rules.initializers import ActNormDataInit, BatchInit, LSUVInit, WeightNormDataInit
from initcfg.errors import ApplyError, log, plural
from initcfg.values import FromBatch, Value

_METHODS: tuple[tuple[type[BatchInit], Callable[..., Any]], ...] = (
    (LSUVInit, Scaling),
    (WeightNormDataInit, Channels),
    (ActNormDataInit, Normalizing),
)
_SHOWN = 4


class Batches:
    """The batches of a plan; ``alone``: no other rank writes this model, too.

    Raises:
        ApplyError: One cannot be had, or ranks would each measure for themselves.
    """

    def __init__(self, plan: Plan, *, alone: bool) -> None:
        self._made: dict[str, Batch] = {}
        if not has_kind(plan, FromBatch):
            return
        for item in plan.parameters.values():
            if isinstance(item.value, FromBatch) and item.rule is not None and plan.tape is not None:
                if not alone:
                    raise ApplyError(
                        f"{item.value} runs a batch, and each rank of this job would measure for itself.",
                        where=item.rule,
                        parameter=item.name,
                        fix="Apply the plan in one process, save the ledger, and apply its plan, "
                        "ledger.plan, on all ranks.",
                    )
                self._batch(item.rule, plan.tape.batches[item.rule])

    @property
    def made(self) -> bool:
        """Whether there is a batch."""
        return bool(self._made)

    def _batch(self, where: str, initializer: BatchInit) -> Batch:
        if where not in self._made:
            self._made[where] = batch_of(initializer, where)
        return self._made[where]

    def compute(self, execution: Execution, seed: int | None) -> None:
        """Run the batches, rule by rule, and write what they make of the values that wait for them."""
        tapes = [plan.tape for plan in execution.account.plans if plan.tape is not None]
        initializers = {where: each for tape in tapes for where, each in tape.batches.items()}
        if not initializers:
            return
        waiting: dict[str, dict[str, Value]] = {}
        for name, written in execution.account.written.items():
            if isinstance(written.value, FromBatch) and written.rule is not None:
                if written.by == "code":
                    # The model's own code has changed it since, and that stays.
                    continue
                waiting.setdefault(written.rule, {})[name] = written.value.value
        for where, initializer in initializers.items():
            if where in waiting:
                self._compute(execution, where, initializer, waiting[where], seed or 0)

    def _compute(
        self, execution: Execution, where: str, initializer: BatchInit, firsts: Mapping[str, Value], seed: int
    ) -> None:
        entries = {name: execution.entries[name] for name in firsts}
        make = next(make for cls, make in _METHODS if isinstance(initializer, cls))
        method = make(initializer, firsts, entries)
        batch = self._batch(where, initializer)
        hooks = method.watch(execution.model) if isinstance(method, Normalizing) else []
        with contextlib.ExitStack() as stack:
            for hook in hooks:
                stack.callback(hook.remove)
            if not isinstance(method, Normalizing):
                weights = stack.enter_context(seen_tensors(entries))
                stack.enter_context(Uses(weights, method))
            run(execution.model, batch, seed, where)
        unused = [name for name in firsts if name not in method.found]
        if len(unused) == len(firsts):
            raise ApplyError(
                f"The batch {initializer.batch} uses none of the {plural(len(unused), 'tensor')} that are to "
                f"be measured: {', '.join(unused[:_SHOWN])}.",
                where=where,
                fix="Select layers whose weights the model uses as they are: what it computes of a weight "
                "first is not seen.",
            )
        if unused:
            method.unused(unused)
            log(
                "%s: %s not used by the batch: %s.",
                where,
                plural(len(unused), "tensor"),
                ", ".join(unused[:_SHOWN]),
            )
        with torch.no_grad():
            for name, (value, said) in method.found.items():
                execution.write_again(name, value, f"{initializer.scheme}: {said}")
            execution.filler.finish()
