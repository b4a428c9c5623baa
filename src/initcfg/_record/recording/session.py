"""The context in which other people's code is recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType

import torch
from torch import nn

from initcfg._record.recording.generator import OwnGenerator
from initcfg._record.recording.patches import patched
from initcfg._record.recording.recorder import Recorder


def _ignored(*_: object) -> None:
    pass


class Session:
    """Within this, what code of this thread writes goes to a recorder.

    Args:
        recorder: Records.
        generator: What the code seeds and draws from; None for the process's own.
        on_sampler: Told of each call of a sampler, which no dispatch mode sees: the tensor, and the function.
        on_module: Told of each module that is made.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        generator: OwnGenerator | None = None,
        on_sampler: Callable[[torch.Tensor, str], None] = _ignored,
        on_module: Callable[[nn.Module], None] = _ignored,
    ) -> None:
        self.recorder = recorder
        self.generator = generator
        self.on_sampler = on_sampler
        self.on_module = on_module
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> None:
        self._entered.enter_context(patched(self))
        self._entered.enter_context(self.recorder)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.close()
