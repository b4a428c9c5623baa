"""What a traced plan remembers of the code, as far as a plan knows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn

    from initcfg._model import Entry


class Recorded(Protocol):
    """The code of a traced plan, which can be done again."""

    @property
    def model(self) -> nn.Module:
        """The model of the trace, never written."""
        ...

    def replay(self, entries: dict[str, Entry]) -> list[str]:
        """Fill a model from torch's generator, as the code would; the names of what was written."""
        ...

    def opaque(self, names: Iterable[str], entries: dict[str, Entry], seed: int) -> None:
        """Fill the tensors that only the code itself can."""
        ...
