"""A generator of random numbers for recorded code, so that torch's own does not move."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from initcfg._stream.writing import lock


class OwnGenerator:
    """A state of torch's CPU generator, for what recorded code draws.

    Calling it gives a context within which the process's generator has that state. The methods do to it what
    torch's functions of these names do to the process's. ``touched`` is where code seeded it, or read or set
    its state; None if it only drew.
    """

    def __init__(self, seed: int = 0) -> None:
        self.manual_seed(seed)
        self.touched: str | None = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        generator = torch.default_generator
        with lock:
            before = generator.get_state()
            generator.set_state(self._state)
            try:
                yield
            finally:
                self._state = generator.get_state()
                generator.set_state(before)

    def manual_seed(self, seed: int) -> torch.Generator:
        self._state = torch.Generator().manual_seed(seed).get_state()
        return torch.default_generator

    def seed(self) -> int:
        return self.manual_seed(0).initial_seed()

    def initial_seed(self) -> int:
        generator = torch.Generator()
        generator.set_state(self._state)
        return generator.initial_seed()

    def set_rng_state(self, new_state: torch.Tensor) -> None:
        self._state = new_state.clone()

    def get_rng_state(self) -> torch.Tensor:
        return self._state.clone()
