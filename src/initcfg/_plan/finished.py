"""A finished plan: what a ledger says was done, to be done again without the data that decided some of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from initcfg._plan.assignment import Assignment, RuleNote, Shadowed
from initcfg._plan.plan import Plan
from initcfg.errors import PlanError, plural
from initcfg.values import Keep, Opaque

if TYPE_CHECKING:
    from initcfg._plan.ledger import Ledger, Written


def finished_plan(ledger: Ledger) -> Plan:
    """See :attr:`Ledger.plan`."""
    if ledger.rng != "stream":
        raise PlanError(
            "These weights were drawn by torch's generator, whose numbers no plan can give again.",
            fix="Initialize with rng='stream'.",
        )
    items = {name: _assignment(entry) for name, entry in ledger.entries.items()}
    computed = sum(item.computed is not None for item in items.values())
    note = f"{plural(computed, 'tensor')} computed from data: the plan is for seed {ledger.seed} alone"
    return Plan(
        parameters={name: item for name, item in items.items() if not ledger.entries[name].buffer},
        buffers={name: item for name, item in items.items() if ledger.entries[name].buffer},
        aliases=ledger.aliases,
        loads=ledger.loads,
        notes=(note,) if computed else (),
        rules={
            entry.rule: RuleNote(_written(entry))
            for entry in ledger.entries.values()
            if entry.by == "rule" and entry.rule is not None
        },
        seed=ledger.seed if computed else None,
    )


def _written(entry: Written) -> str:
    """The rule, as far as the ledger knows it."""
    said = ", ".join(f"{key}={item!r}" for key, item in (entry.initializer or {}).items())
    return f"dict({said})"


def _assignment(entry: Written) -> Assignment:
    name, shape, dtype = entry.name, entry.shape, entry.dtype
    if entry.by == "default":
        default = Shadowed(entry.rule or "", entry.value, entry.initializer)
        return Assignment(name, shape, dtype, entry.value, default=default)
    if entry.by == "code" and not entry.meant:
        # The value is what was there before; what the code made of it, no value says.
        return Assignment(name, shape, dtype, Opaque(entry.code or "code", entry.value), rule=entry.rule)
    if entry.by == "nobody":
        return Assignment(name, shape, dtype, Keep())
    told = (entry.value, entry.initializer, entry.rule)
    return Assignment(name, shape, dtype, *told, computed=entry.computed, tune=entry.tune)
