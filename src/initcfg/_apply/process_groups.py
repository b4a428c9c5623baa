"""Process groups that a caller gives."""

from __future__ import annotations

from typing import Any

import torch

from initcfg.errors import ApplyError


def ranks_of(group: Any) -> tuple[int, ...]:
    """The ranks of a process group.

    Raises:
        ApplyError: It is none, or there are no process groups in this process.
    """
    try:
        return tuple(torch.distributed.get_process_group_ranks(group))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ApplyError(
            f"process_group must be a process group of torch.distributed, not a {type(group).__name__}.",
            fix="Give what torch.distributed.new_group() returned, or leave it out.",
        ) from error
