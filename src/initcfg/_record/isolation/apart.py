"""Code that only runs for what it returns: a model's load hooks, before anything is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from initcfg._model import doors
from initcfg._record.isolation.files import files_closed
from initcfg._record.isolation.generators import others_kept, torch_kept


@doors.code_apart.leads_to
@contextlib.contextmanager
def code_apart(*, files: bool) -> Iterator[None]:
    """Within this, generators move and are put back; checkpoints stay closed unless ``files`` are allowed."""
    with others_kept(), torch_kept(0), contextlib.nullcontext() if files else files_closed():
        yield
