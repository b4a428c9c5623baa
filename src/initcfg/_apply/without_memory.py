"""Tensors that still have no memory when a model has been initialized: nothing gave them a value."""

from __future__ import annotations

from torch import nn

from initcfg._model import Names, named_tensors
from initcfg.errors import log, plural

_SHOWN = 3


def warn_of_tensors_without_memory(model: nn.Module, before: Names) -> None:
    """Log which parameters stay on the meta device; ``before`` are the tensors that the model had first."""
    if not any(entry.tensor.is_meta or entry.originals for entry in before.parameters):
        return
    if not any(tensor.is_meta for entry in before.parameters for tensor in entry.stored):
        return
    # The model's own code may have put others in their place.
    parameters = named_tensors(model).parameters
    empty = [entry.name for entry in parameters if any(tensor.is_meta for tensor in entry.stored)]
    if empty:
        more = "" if len(empty) <= _SHOWN else f" and {len(empty) - _SHOWN} more"
        log(
            "%s of %s still have no memory, on the meta device (%s%s): no rule gives them a value, and "
            "the work of constructors is lost there. fix: Give rules for them; or "
            "initcfg.materialize(model, plan=initcfg.trace(lambda: Model(...))).",
            len(empty),
            plural(len(parameters), "parameter"),
            ", ".join(empty[:_SHOWN]),
            more,
        )
