"""How many threads the kernel may use."""

from __future__ import annotations

import os

import torch

from initcfg.errors import ApplyError


def thread_count() -> int:
    """``INITCFG_THREADS`` if it is set, else what torch uses."""
    wanted = os.environ.get("INITCFG_THREADS", "").strip()
    if not wanted:
        return min(torch.get_num_threads(), 4096)
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 4096:
        raise ApplyError(
            f"INITCFG_THREADS is {wanted!r}, not a number from 1 to 4096.",
            fix="Set it to such a number, or unset it.",
        )
    return int(wanted)
