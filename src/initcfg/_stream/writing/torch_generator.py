"""Torch's own generators, seeded for other people's code and left as they were."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

from initcfg._stream.bits import stream_key

# The generators are the process's: two threads cannot both have them.
lock = threading.RLock()
"""Held while they are another's."""


@contextlib.contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Within this, torch's default generators depend on ``seed`` and ``name``; afterwards on nothing here."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with lock, torch.random.fork_rng(devices):
        # Not torch.manual_seed, which reaches devices that were not forked.
        for generator in (torch.default_generator, *map(torch.cuda.default_generators.__getitem__, devices)):
            generator.manual_seed(stream_key(seed, name + "()") >> 1)
        yield
