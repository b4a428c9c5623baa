"""initcfg._record"""

from initcfg._record.defaults import defaults
from initcfg._record.deferred import deferred
from initcfg._record.guard import close, close_pending, is_closed, reopen_all
from initcfg._record.isolation import FileNeeded, files_closed
from initcfg._record.meta_defaults import meta_defaults
from initcfg._record.pending import (
    Default,
    default_of,
    forget_defaults,
    recall_defaults,
    set_default,
    unset_default,
    waits,
)
from initcfg._record.recorded import Recording, recorded
from initcfg._record.trace import trace
from initcfg._record.trace_record import TraceRecord

__all__ = [
    "Default",
    "FileNeeded",
    "Recording",
    "TraceRecord",
    "close",
    "close_pending",
    "default_of",
    "defaults",
    "deferred",
    "files_closed",
    "forget_defaults",
    "is_closed",
    "meta_defaults",
    "recall_defaults",
    "recorded",
    "reopen_all",
    "set_default",
    "unset_default",
    "trace",
    "waits",
]
