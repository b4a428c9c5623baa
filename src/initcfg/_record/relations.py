"""Tensors that come from the same random numbers are filled together.

Applying a traced plan, the stream draws what has a value, and the code runs for what is opaque, on numbers of
its own. So what shares a draw with something opaque is opaque too: one run of the code gives all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from initcfg._plan import Assignment, Plan
from initcfg._record.recording import TrackedStorage
from initcfg._record.trace_plan import TraceRecord
from initcfg.values import Keep, Opaque


def together(plan: Plan) -> Plan:
    """A traced plan in which nothing that has a value shares random numbers with something opaque."""
    items = {**plan.parameters, **plan.buffers}
    record = plan.record
    if not any(isinstance(item.value, Opaque) for item in items.values()) or record is None:
        return plan
    assert isinstance(record, TraceRecord)
    stored: dict[str, list[TrackedStorage]] = {}
    for name, tracked, _ in record.tensors:
        stored.setdefault(name, []).append(tracked)
    opaque = [name for name in stored if name in items and isinstance(items[name].value, Opaque)]
    partners = record.recorder.log.sharing(stored, opaque)

    def joined(each: Mapping[str, Assignment]) -> dict[str, Assignment]:
        return {
            name: _opaque(item, partners[name]) if name in partners else item for name, item in each.items()
        }

    return replace(plan, parameters=joined(plan.parameters), buffers=joined(plan.buffers))


def _opaque(item: Assignment, partner: str) -> Assignment:
    reason = f"{item.rule or '?'}: it shares random numbers with {partner}, which only code can fill"
    return replace(item, value=Opaque(reason, Keep()), initializer=None)
