"""What the tests of registries register."""

from __future__ import annotations

from typing import Any


class Net:
    def __init__(self, depth: int, stages: int = 4, *, width: int = 8) -> None:
        if depth < 0:
            raise TypeError("depth is negative")
        self.depth, self.stages, self.width = depth, stages, width


def make(**anything: Any) -> dict[str, Any]:
    return anything
