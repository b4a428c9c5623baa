"""Draws that are repeated: code seeds the generator twice alike, or puts a saved state back, and draws."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch

Known = Any


class Repeats:
    """Where torch's generator stands: how it was seeded last, and what was drawn since.

    Draws that are noted move no generator, so the state itself does not say.
    """

    def __init__(self) -> None:
        self._place: Hashable = "start"
        self._saved: dict[int, tuple[torch.Tensor, Hashable]] = {}
        self._drawn: dict[Hashable, Known] = {}

    def seeded(self, seed: object) -> None:
        """It begins anew; a seed that is not a number is another each time."""
        self._place = ("seed", seed) if isinstance(seed, int) else object()

    def saved(self, state: torch.Tensor) -> None:
        """Its state was given to the code, which may put it back."""
        self._saved[id(state)] = state, self._place

    def restored(self, state: torch.Tensor) -> None:
        """The code has put a state back."""
        _, self._place = self._saved.get(id(state), (None, object()))

    def passed(self, what: Hashable) -> None:
        """Something was drawn that has no name."""
        self._place = hash((self._place, what))

    def draw(self, what: Hashable, known: Known) -> Known:
        """What is known of a draw: the very same object where it is drawn again from the same place."""
        self.passed(what)
        found = self._drawn.setdefault(self._place, known)
        return found if found == known else known
