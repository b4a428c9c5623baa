"""A generator of random numbers for recorded code, so that torch's own does not move."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from initcfg._stream.writing import lock


class OwnGenerator:
    """A state of torch's CPU generator of its own, for what a trace has to draw.

    Calling it gives a context within which the process's generator has that state.

    Attributes:
        state: The state.
        touched: Where code seeded it, or read or set its state; None if it only drew.
    """

    def __init__(self, seed: int = 0) -> None:
        self.state = torch.Generator().manual_seed(seed).get_state()
        self.touched: str | None = None

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

    def get_state(self) -> torch.Tensor:
        """What ``torch.get_rng_state`` gives."""
        return self.state.clone()

    def initial_seed(self) -> int:
        """What ``torch.initial_seed`` gives."""
        generator = torch.Generator()
        generator.set_state(self.get_state())
        return generator.initial_seed()

    def note(self, place: str) -> None:
        """Code at this place seeds it, or reads or sets its state."""
        self.touched = self.touched or place
