"""All checks, in the order in which their findings are told: what explains others comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from initcfg._diagnose.checks.evidence import Evidence
from initcfg._diagnose.checks.finite import check_finite, check_half_precision
from initcfg._diagnose.checks.learning import check_parameters, check_probe
from initcfg._diagnose.checks.loads import check_loads
from initcfg._diagnose.checks.losses import check_input, check_loss
from initcfg._diagnose.checks.signals import check_activations, check_gradients, check_norms, check_stream
from initcfg._diagnose.checks.units import check_attention, check_symmetry, check_units
from initcfg._diagnose.checks.updates import check_updates
from initcfg._diagnose.facts import Finding

_ALL: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    check_finite,
    check_loads,
    check_input,
    check_norms,
    check_loss,
    check_activations,
    check_stream,
    check_gradients,
    check_units,
    check_attention,
    check_symmetry,
    check_parameters,
    check_updates,
    check_half_precision,
    check_probe,
)
_LEVELS = ("error", "warning", "info")


def found_in(evidence: Evidence) -> list[Finding]:
    """What all checks find, errors first."""
    found = [each for check in _ALL for each in check(evidence)]
    dead = any(each.code == "dead-relu" and each.measured == 1 for each in found)
    # Where no unit of a layer is alive, nothing behind it sees the input.
    return sorted(
        found, key=lambda each: (_LEVELS.index(each.level), not (dead and each.code == "dead-relu"))
    )
