"""A function of a tensor, tried on one that holds nothing: what it writes, as a value."""

from __future__ import annotations

from typing import Any

import torch

from initcfg._model import doors
from initcfg._record.recorded import recorded
from initcfg._record.recording import outcomes_of, raised_text
from initcfg._rules.initializers import take_result
from initcfg.errors import PlanError
from initcfg.values import Keep, Opaque, Value


@doors.function_value.leads_to
def function_value(call: Any, shape: tuple[int, ...]) -> Value:
    """What a function fills a tensor of this shape with; Opaque, where that is no value.

    Raises:
        PlanError: The function raises, or leaves the tensor as it is.
    """
    with recorded(None) as recording:
        with torch.no_grad(), recording.code():
            tensor = torch.empty(shape, device="cpu")
            try:
                take_result(tensor, call(tensor))
            except Exception as error:
                raise _raised(call.label, shape, error) from error
        outcome = outcomes_of(recording.recorder, {"": tensor})[""]
        log = recording.recorder.log
        by_chance = bool(recording.chances) or any(step.seen is not None for step in log.steps)
        by_chance = by_chance or recording.others_moved() or recording.torch_moved()
    # Why, its rehearsal says, once it is known where it runs.
    by_code = Opaque(f"function {call.label}", Keep())
    if outcome.unwritten or outcome.partly:
        return by_code
    if not outcome.written:
        raise PlanError(
            f"{call.label} leaves the tensor as it is.",
            fix="Let it fill the tensor in place, or return another of the same shape.",
        )
    if outcome.value is None or by_chance:
        return by_code
    return outcome.value


def _raised(label: str, shape: tuple[int, ...], error: Exception) -> PlanError:
    fix = "Mend it where it raised."
    if isinstance(error, AttributeError) and isinstance(error.obj, torch.Tensor):
        fix = (
            f"{label} is called with a tensor; if it takes a module, say so: def {label}(module: nn.Module)."
        )
    return PlanError(f"{label} raised {raised_text(error)}.", fix=fix)
