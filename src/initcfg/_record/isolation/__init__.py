"""Tracing: existing initialization code, run without a write, as a plan.

``trace`` is the door, ``shadow`` keeps a model that is there already as it is, ``generators`` the process's
random numbers, ``record`` carries a traced plan out again.
"""

from initcfg._record.isolation.files import FileNeeded, files_closed
from initcfg._record.isolation.generators import others_kept, torch_kept
from initcfg._record.isolation.memory import memory_not_filled
from initcfg._record.isolation.shadow import shadowed

__all__ = [
    "FileNeeded",
    "files_closed",
    "memory_not_filled",
    "others_kept",
    "shadowed",
    "torch_kept",
]
