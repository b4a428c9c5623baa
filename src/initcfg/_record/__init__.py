"""initcfg._record"""

from initcfg._record.defaults import defaults
from initcfg._record.deferred import deferred
from initcfg._record.guard import close, close_pending, is_closed, reopen_all
from initcfg._record.meta_defaults import meta_defaults
from initcfg._record.pending import Default, default_of, forget, recall, set_default, settle, waits
from initcfg._record.trace import trace
from initcfg._record.traced import Record, adopt

__all__ = [
    "Default",
    "Record",
    "adopt",
    "close",
    "close_pending",
    "default_of",
    "defaults",
    "deferred",
    "forget",
    "is_closed",
    "meta_defaults",
    "recall",
    "reopen_all",
    "set_default",
    "settle",
    "trace",
    "waits",
]
