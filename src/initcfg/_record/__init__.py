"""Code that initializes runs, and what it writes is recorded, not carried out: it becomes a plan's values.

In: code that builds or initializes a model, or a model on the meta device.
Out: a traced plan, a pending model with its defaults, or a recording whose outcomes the caller reads.

Read: `trace.py` (existing code as a plan), then `recorded.py` (the one procedure: what is kept while code
runs), `recording/` (the engine: what code writes, as values), `isolation/` (it leaves nothing behind),
`trace_plan.py` (from a recording to a plan, and what apply needs of it), `relations.py` (tensors that come
from the same random numbers), `deferred.py` (a build without a write), `rest.py` (what that leaves to torch's
generator), `pending.py` and `guard.py` (its parameters, and the uses it refuses), `defaults.py` (what
constructors meant, for the planner), `builders.py` (which code may have filled the rest), `functions.py`
(what a rule's function fills a tensor with), `process_wide.py` (changes of the process, made and undone),
`registrations.py` (one that stays: who is told of new modules).
"""

from initcfg._record.builders import Builder, builders
from initcfg._record.defaults import defaults, lost_defaults, meta_defaults
from initcfg._record.deferred import deferred
from initcfg._record.functions import function_value  # noqa: F401
from initcfg._record.guard import close, close_pending, is_closed, reopen_all
from initcfg._record.isolation import FileNeeded, files_closed
from initcfg._record.pending import (
    Default,
    default_of,
    forget_defaults,
    recall_defaults,
    rests_of,
    set_default,
    unset_default,
    waits,
)
from initcfg._record.recorded import Recording, recorded
from initcfg._record.recording import PartialLoad, partial_loads
from initcfg._record.registrations import listen
from initcfg._record.trace import trace
from initcfg._record.trace_plan import parametrized_reason

__all__ = [
    "Builder",
    "Default",
    "FileNeeded",
    "Recording",
    "builders",
    "close",
    "close_pending",
    "default_of",
    "defaults",
    "deferred",
    "files_closed",
    "forget_defaults",
    "is_closed",
    "listen",
    "lost_defaults",
    "meta_defaults",
    "parametrized_reason",
    "PartialLoad",
    "partial_loads",
    "recall_defaults",
    "recorded",
    "reopen_all",
    "rests_of",
    "set_default",
    "unset_default",
    "trace",
    "waits",
]
