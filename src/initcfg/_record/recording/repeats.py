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
        # What was drawn since then; while no earlier place can come again, nobody asks for the place.
        self._since: list[tuple[Hashable, Known]] = []
        self._returns = False
        self._saved: dict[int, tuple[torch.Tensor, Hashable]] = {}
        self._drawn: dict[Hashable, Known] = {}

    def seeded(self, seed: object) -> None:
        """It begins anew; a seed that is not a number is another each time."""
        self._catch_up()
        self._place, self._returns = ("seed", seed) if isinstance(seed, int) else object(), True

    def saved(self, state: torch.Tensor) -> None:
        """Its state was given to the code, which may put it back."""
        self._catch_up()
        self._saved[id(state)] = state, self._place

    def restored(self, state: torch.Tensor) -> None:
        """The code has put a state back."""
        self._catch_up()
        _, self._place = self._saved.get(id(state), (None, object()))
        self._returns = True

    def passed(self, what: Hashable) -> None:
        """Something was drawn that has no name."""
        self._note(what, None)

    def draw(self, what: Hashable, known: Known) -> Known:
        """What is known of a draw: the very same object where it is drawn again from the same place."""
        found = self._note(what, known)
        return found if found == known else known

    def _note(self, what: Hashable, known: Known) -> Known:
        self._since.append((what, known))
        return self._catch_up() if self._returns else known

    def _catch_up(self) -> Known:
        """Where the generator stands now; what is known of the last draw there."""
        found = None
        for what, known in self._since:
            self._place = hash((self._place, what))
            found = None if known is None else self._drawn.setdefault(self._place, known)
        self._since.clear()
        return found
