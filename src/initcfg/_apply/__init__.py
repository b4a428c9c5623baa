"""A plan is carried out on a model: checked first, then written tensor by tensor, with an account of each.

In: a plan, and a model that it fits.
Out: the model with its weights, and the ledger; or a checkpoint on disk; or, of a rehearsal, a plan.

Read: `apply.py` (on all ranks, or on none), then `process_groups.py` (whose ranks), `preconditions.py` with
`overlaps.py` (what is checked first), `execution.py` (the tape), `plain_writes.py` (many of it at once),
`user_code.py` (the model's own code), `filling.py` (values into tensors, at once or after that code),
`planned_checkpoints.py` (values that are read), `unchanged_sources.py` (which must be what they were),
`read_ahead.py` (several at a time), `mapped_loads.py` (or not copied at all), `hooked_loads.py` (what load
hooks make of them), `measuring/` (values that a batch decides), `load_warnings.py` (what is said aloud of
them), `account.py` (the ledger's source) with `kept_buffers.py` (what constructors left in buffers),
`last_plans.py` (which plan a model had last), `recorded_writes.py` (a plan that recorded code applies),
`rehearsal.py` (a run that writes nothing), `idle_rules.py` (what the model's own code left out),
`without_memory.py` (what has no value even then), `verifying/` (a checkpoint against its plan),
`written_digests.py` (and against what its files say of themselves), `source_digests.py` (what the files
that were loaded are), `finite.py` (counting NaN and infinity), `one_tensor.py` (a tensor without its
model), `stand_in_model.py` (all of them), `weights_file.py` (a model's weights on disk), `ranks/`,
`collective/` (what ranks make for each other), `streaming/`.
"""

from typing import Any

from initcfg._apply.apply import agreeing_ranks, apply_plan
from initcfg._apply.kept_buffers import buffers_kept
from initcfg._apply.last_plans import last_plan, remember_plan
from initcfg._apply.one_tensor import made_tensor as _registers_with_the_door  # noqa: F401 - Plan.tensor
from initcfg._apply.preconditions import check_fits
from initcfg._apply.rehearsal import rehearsed
from initcfg._apply.stand_in_model import stand_in_model
from initcfg._apply.verifying import Verification, Verified, distance, verification_view, verified, wide
from initcfg._apply.weights_file import check_output, is_folder, save_weights
from initcfg._model import doors

__all__ = [
    "Verification",
    "Verified",
    "agreeing_ranks",
    "apply_plan",
    "buffers_kept",
    "check_fits",
    "distance",
    "check_output",
    "is_folder",
    "last_plan",
    "rehearsed",
    "remember_plan",
    "save_weights",
    "stand_in_model",
    "verification_view",
    "verified",
    "wide",
]


@doors.save_plan.leads_to
def _save_plan(*arguments: Any, **options: Any) -> Any:
    # Most of those who plan never save: streaming is loaded when it is called for.
    from initcfg._apply.streaming import save_planned_weights

    return save_planned_weights(*arguments, **options)
