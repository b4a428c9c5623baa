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

    ``on_sampler`` is told of each call of a sampler, which no dispatch mode sees; ``on_module`` of each
    module that is made. The code seeds and draws from the generator; None is the process's own.
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
