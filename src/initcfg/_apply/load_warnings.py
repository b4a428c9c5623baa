"""What is said aloud of checkpoints: that much stays as it was, or that keys fit nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch

from initcfg._plan import Load
from initcfg.errors import log


def warn_of_loads(loads: Iterable[Load], *, but: Collection[Load] = ()) -> None:
    """Log the warnings of these accounts, a line each; of several ranks, the first says them."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and torch.distributed.get_rank() > 0:
        return
    said = {(load.rule, load.warning) for load in but}
    lines = dict.fromkeys((load.rule, load.warning) for load in loads if load.warning)
    for rule, warning in lines:
        if (rule, warning) not in said:
            log("%s: %s", rule, warning)
