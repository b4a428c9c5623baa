"""How many threads the kernel may use."""

from __future__ import annotations

import os

import torch

from initcfg.errors import ApplyError


def thread_count() -> int:
    """``INITCFG_THREADS`` if it is set, else what torch uses.

    Raises:
        ApplyError: ``INITCFG_THREADS`` is no positive number.
    """
    wanted = os.environ.get("INITCFG_THREADS", "").strip()
    if not wanted:
        return min(torch.get_num_threads(), 4096)
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 4096:
        raise ApplyError(
            f"INITCFG_THREADS is {wanted!r}.", fix="Set it to a number from 1 to 4096, or leave it away."
        )
    return int(wanted)
