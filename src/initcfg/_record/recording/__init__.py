"""The engine: what code writes is recorded, and said as values where that can be.

In: the operations of code that runs within a `Session`.
Out: for each tensor an `Outcome`: a value, or why there is none; and a log that can be done again.

Read: `session.py` (the context, its generator, and functions of torch.nn.init that no dispatch mode sees)
with `erfinv_functions.py` (those of libraries), `handed_out.py` (memory that code writes through NumPy or
an address), `unseen.py` (and what was written there), `threads.py` (threads that code starts), `chance.py`
(numbers that no seed decides) and `loads.py` (loads by a model's own code), then `recorder.py` (each
operation is recorded or done) with `usual.py` (those of nearly all constructors, with fewer looks) and
`own_writes.py` (this package's own writes) on `tracker.py`; `refusals.py` (what torch does not do);
`repeats.py` (the same draw, twice) and `draw_order.py` (a draw before its time); `origin.py` (who writes);
`storage.py`, `layers.py`, `content.py`, `regions.py` and `aten.py` (what memory holds, without looking),
`leaves.py` (what arguments hold), `log.py` (doing it later, or again); `outcome.py`, `coverage.py`,
`unwritten.py` and `formula.py` (what it amounts to), and `code_recorder.py` (a model's own `init_weights`).
"""

from initcfg._record.recording.aten import COMPUTED_OTHERWISE, is_plain
from initcfg._record.recording.code_recorder import CodeRecorder, WaitingWrite
from initcfg._record.recording.draw_order import DrawOrder
from initcfg._record.recording.handed_out import told_of_memory
from initcfg._record.recording.loads import PartialLoad, partial_loads
from initcfg._record.recording.log import run_step, tensor_at
from initcfg._record.recording.origin import raised_text
from initcfg._record.recording.outcome import Outcome, named_values, outcomes_of
from initcfg._record.recording.recorder import Recorder
from initcfg._record.recording.regions import Region, region_of
from initcfg._record.recording.session import (
    OWN_WRITE,
    OwnGenerator,
    Session,
    current_session,
    ready_to_record,
    set_aside,
)
from initcfg._record.recording.storage import LogStep, TrackedStorage
from initcfg._record.recording.threads import Followed, threads_follow
from initcfg._record.recording.tracker import COPIED_BYTES

__all__ = [
    "CodeRecorder",
    "TrackedStorage",
    "COMPUTED_OTHERWISE",
    "COPIED_BYTES",
    "DrawOrder",
    "LogStep",
    "Followed",
    "Outcome",
    "WaitingWrite",
    "Recorder",
    "Region",
    "Session",
    "is_plain",
    "current_session",
    "OWN_WRITE",
    "OwnGenerator",
    "PartialLoad",
    "partial_loads",
    "raised_text",
    "named_values",
    "outcomes_of",
    "ready_to_record",
    "region_of",
    "run_step",
    "set_aside",
    "tensor_at",
    "threads_follow",
    "told_of_memory",
]
