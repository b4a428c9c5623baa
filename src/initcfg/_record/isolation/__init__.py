"""Other people's code runs without changing the process or the model.

In: a model, or nothing but the process.
Out: contexts within which code may run; afterwards all is as it was.

Read: `shadow.py` (the model's tensors have other memory), then `generators.py` (random numbers of the
process), `files.py` (no checkpoint is opened), `apart.py` (both of these, for load hooks).
"""

from initcfg._record.isolation.apart import code_apart as _registers_with_the_door  # noqa: F401 - for hooks
from initcfg._record.isolation.files import FileNeeded, files_closed
from initcfg._record.isolation.generators import others_kept, torch_kept
from initcfg._record.isolation.shadow import shadowed

__all__ = [
    "FileNeeded",
    "files_closed",
    "others_kept",
    "shadowed",
    "torch_kept",
]
