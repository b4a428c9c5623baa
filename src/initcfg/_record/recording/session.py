"""The context in which other people's code is recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from types import TracebackType

import torch
from torch import nn

from initcfg._record.recording import patches
from initcfg._record.recording.recorder import Recorder


class Session:
    """Within this, what code writes goes to a recorder.

    Args:
        recorder: Records.
        generators: What seeding torch seeds in its place; None if that is the process's generator.
        noted: Told of each call of a sampler, which no dispatch mode sees: the tensor, and the function.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        generators: patches.Generators | None = None,
        noted: Callable[[torch.Tensor, str], None] | None = None,
    ) -> None:
        self.recorder = recorder
        self.generators = generators
        self._noted = noted
        self._token: Token[patches.Building | None] | None = None

    def __enter__(self) -> Session:
        patches.install()
        self._token = patches.current.set(self)
        self.recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._token is not None
        self.recorder.__exit__(kind, error, trace)
        patches.current.reset(self._token)
        patches.remove()

    def note_module(self, module: nn.Module) -> None:
        """The model says itself which modules it has."""

    def note_sampler(self, tensor: torch.Tensor, function: str) -> None:
        """A sampler was recorded."""
        if self._noted is not None:
            self._noted(tensor, function)
