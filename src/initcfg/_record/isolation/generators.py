"""The process's generators, as they were once recorded code has run."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch


@contextlib.contextmanager
def others_kept(seed: int | None = None) -> Iterator[Callable[[], bool]]:
    """Within this, Python's and NumPy's generators start from this seed; afterwards they are as they were.

    Without a seed they go on from where they are. What is yielded says whether they have moved.
    """
    # NumPy's old generator is global, and initialization code uses it.
    before = start = random.getstate(), np.random.get_state()
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        start = random.getstate(), np.random.get_state()

    def moved(since: tuple[Any, Any] = start) -> bool:
        numpy = zip(np.random.get_state(), since[1], strict=True)
        return random.getstate() != since[0] or any(not np.array_equal(a, b) for a, b in numpy)

    try:
        yield moved
    finally:
        if moved(before):
            random.setstate(before[0])
            np.random.set_state(before[1])


@contextlib.contextmanager
def torch_kept(seed: int) -> Iterator[Callable[[], bool]]:
    """Within this, torch's own generator should not move; afterwards it is as it was.

    A seed other than 0 is set first. What is yielded says whether it has moved. Other threads may use it
    meanwhile, and then nothing is known, and nothing done.
    """
    before = start = torch.default_generator.get_state()
    if seed and threading.active_count() == 1:
        start = torch.default_generator.manual_seed(seed).get_state()

    def moved(since: torch.Tensor = start) -> bool:
        alone = threading.active_count() == 1
        return alone and not torch.equal(torch.default_generator.get_state(), since)

    try:
        yield moved
    finally:
        if moved(before):
            torch.default_generator.set_state(before)
