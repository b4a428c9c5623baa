"""A wrapper that nothing registers: it looks like what it holds."""

from __future__ import annotations

from typing import Any

from torch import nn


class Forwarding(nn.Module):
    """What it lacks, it takes from the module inside."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)
