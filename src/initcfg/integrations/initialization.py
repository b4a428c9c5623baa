"""What callbacks share: a model gets its initial weights where training begins; plan and ledger are kept."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import distributed, nn

import initcfg
from initcfg import Ledger, Plan
from initcfg._config.files import plain_containers, write_atomically
from initcfg._rules import called_with, given_at
from initcfg.errors import ArgumentValueError, PlanError, RuleTypeError

PLAN_FILE = "init_plan.json"
LEDGER_FILE = "init_ledger.json"


@dataclass(frozen=True)
class Started:
    """What a model started with."""

    plan: Plan
    ledger: Ledger

    def keep(self, folder: str | Path) -> None:
        """Write both to a folder, which is made."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.plan.to_json(), indent=1) + "\n"
        write_atomically(Path(folder) / PLAN_FILE, text.encode())
        self.ledger.save(Path(folder) / LEDGER_FILE)


class Initialization:
    """How a model is initialized, once.

    Args:
        init_cfg: Rules around the model, as for :func:`initcfg.plan`; those in it count as always.
        plan: A plan, or the JSON file of one, in place of rules.
        part: Path of the submodule that is initialized, under names of its own; the whole model if None.
        seed: See :meth:`Plan.apply`. None draws from torch's generator: the seed that training set.
        rng: See :meth:`Plan.apply`.
        compat: See :func:`initcfg.plan`, as for ``strict`` and ``roles``.
    """

    def __init__(
        self,
        init_cfg: Any = None,
        *,
        plan: Plan | str | Path | None = None,
        part: str | None = None,
        seed: int | None = None,
        rng: Literal["stream", "torch"] = "stream",
        compat: str | None = None,
        strict: bool = False,
        roles: Any = None,
    ) -> None:
        if plan is not None and init_cfg is not None:
            raise ArgumentValueError(
                "A plan and rules were given, and either says everything.", fix="Give one of them."
            )
        if rng not in ("stream", "torch"):
            raise ArgumentValueError(f"rng must be 'stream' or 'torch', not {rng!r}.")
        self.init_cfg = plain_containers(init_cfg, package="omegaconf")
        if init_cfg is not None and not isinstance(self.init_cfg, (Mapping, Sequence)):
            raise RuleTypeError(f"An init_cfg is a dict or a list of dicts, not {init_cfg!r}.")
        self.plan = plan if plan is None or isinstance(plan, Plan) else plan_in(plan)
        self._written = called_with(self.init_cfg)
        self.part = part
        self.seed = seed
        self.rng: Literal["stream", "torch"] = rng
        self.options: dict[str, Any] = {"compat": compat, "strict": strict, "roles": roles}
        self._done: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def is_done(self, model: nn.Module) -> bool:
        """Whether this model was initialized by it already."""
        return model in self._done

    def carry_out(self, model: nn.Module) -> Started:
        """Initialize the model; in a job of several ranks, all call this, and agree."""
        module = model if self.part is None else _part(model, self.part)
        made = self.plan
        if made is None:
            with given_at(self._written):
                made = initcfg.plan(module, self.init_cfg, **self.options)
        ledger = made.apply(module, seed=self.seed, rng=self.rng, process_group=everybody())
        self._done.add(model)
        return Started(made, ledger)


def everybody() -> Any:
    """The group of all ranks; None in a process alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.group.WORLD
    return None


def plan_in(path: str | Path) -> Plan:
    """The plan in a JSON file."""
    if not os.path.isfile(path):
        raise PlanError(f"There is no plan {str(path)!r}.", fix="Check the path.")
    try:
        data = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise PlanError(
            f"{str(path)!r} is no plan: {error}.", fix="Give what 'initcfg plan CONFIG --json' wrote."
        ) from None
    return Plan.from_json(data)


def _part(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        raise ArgumentValueError(
            f"{type(model).__name__} has no submodule {path!r}.",
            fix=f"Name one of its submodules: {', '.join(name for name, _ in model.named_children())}.",
        ) from None
