"""The context in which other people's code is recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from initcfg._record.recording.generator import OwnGenerator
from initcfg._record.recording.patches import patched
from initcfg._record.recording.recorder import Recorder


def _ignored(*_: object) -> None:
    pass


@dataclass(eq=False)
class Session(contextlib.ExitStack):
    """Within this, what code of this thread writes goes to a recorder.

    Args:
        recorder: Records.
        generator: What the code seeds and draws from; None for the process's own.
        on_sampler: Told of each call of a sampler, which no dispatch mode sees: the tensor, and the function.
        on_module: Told of each module that is made.
    """

    recorder: Recorder
    generator: OwnGenerator | None = None
    on_sampler: Callable[[torch.Tensor, str], None] = _ignored
    on_module: Callable[[nn.Module], None] = _ignored

    def __post_init__(self) -> None:
        super().__init__()

    def __enter__(self) -> Session:
        self.enter_context(patched(self))
        self.enter_context(self.recorder)
        return self
