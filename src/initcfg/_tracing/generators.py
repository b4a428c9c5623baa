"""Random numbers of a trace: drawn aside, so that the process's own generators do not move."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from initcfg._generators import lock


class Aside:
    """A state of torch's CPU generator of its own, for what a trace has to draw.

    Calling it gives a context within which the process's generator has that state.
    """

    def __init__(self, seed: int = 0) -> None:
        self.state = torch.Generator().manual_seed(seed).get_state()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        generator = torch.default_generator
        with lock:
            before = generator.get_state()
            generator.set_state(self.state)
            try:
                yield
            finally:
                self.state = generator.get_state()
                generator.set_state(before)

    def manual_seed(self, seed: int) -> torch.Generator:
        """What ``torch.manual_seed`` does to this state."""
        self.state = torch.Generator().manual_seed(seed).get_state()
        return torch.default_generator

    def set_state(self, state: torch.Tensor) -> None:
        """What ``torch.set_rng_state`` does to this state."""
        self.state = state.clone()


@contextlib.contextmanager
def others_kept() -> Iterator[None]:
    """Within this, Python's and NumPy's generators may move; afterwards they are as they were."""
    # NumPy's old generator is global, and initialization code uses it.
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        if random.getstate() != python:
            random.setstate(python)
        now = np.random.get_state()
        if any(not np.array_equal(a, b) for a, b in zip(now, numpy, strict=True)):
            np.random.set_state(numpy)
