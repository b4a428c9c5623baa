"""How other people's code is recorded: it runs, its writes are noted, and the process stays as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch.utils.deterministic
from torch import nn

from initcfg._model import Names
from initcfg._record.isolation import others_kept, shadowed, torch_kept
from initcfg._record.process_wide import ProcessWide
from initcfg._record.recording import OwnGenerator, Recorder, Session, current_session


@dataclass(frozen=True, eq=False)
class Recording:
    """Code that is recorded; it draws from and seeds the generator, or else torch's.

    The last two say whether Python's and NumPy's generators have moved, and whether torch's own has.
    """

    recorder: Recorder
    generator: OwnGenerator | None
    others_moved: Callable[[], bool]
    torch_moved: Callable[[], bool]
    # What the code draws from elsewhere, each once.
    chances: dict[str, None] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Remarks on where the code's random numbers come from."""
        found = [f"{each}." for each in self.chances]
        if any("global generator" in each for each in self.chances):
            found.append("What that code did to global generators while it was planned has been undone.")
        elif self.others_moved():
            found.append(
                "The code draws from Python's or NumPy's global generator, which the seed of a plan does not "
                "set."
            )
        if self.generator is not None and self.generator.touched is not None:
            found.append(
                f"The code seeds torch's generator, or saves its state ({self.generator.touched}): under the "
                "stream the seed of apply decides instead. The same draws from the same state stay the same; "
                "draws of other kinds or shapes are independent."
            )
        return found

    def code(self) -> contextlib.AbstractContextManager[object]:
        """Within this, what code of this thread writes is recorded; nested in itself, it changes nothing."""
        session = current_session()
        if session is not None and session.recorder is self.recorder:
            return contextlib.nullcontext()
        return Session(
            self.recorder,
            generator=self.generator,
            on_chance=lambda chance: self.chances.update({chance: None}),
            stops_threads=True,
        )


@contextlib.contextmanager
def recorded(
    model: nn.Module | None, *, seed: int = 0, own_generator: bool = True, names: Names | None = None
) -> Iterator[Recording]:
    """Within this, code can be recorded; afterwards the model and every generator are as they were.

    Code runs within :meth:`Recording.code`; what it meant is asked while this context lasts. The tensors of a
    model that it initializes have other memory until the end. Without one, the code makes its model, and may
    write no parameter of any other. The seed is of the random numbers that the code looks at, ``names`` are
    the model's tensors where somebody has just looked.
    """
    generator = OwnGenerator(seed) if own_generator else None
    recorder = Recorder(generator or contextlib.nullcontext, refuse_foreign_parameters=model is None)
    with contextlib.ExitStack() as stack:
        others_moved = stack.enter_context(others_kept(seed or None))
        torch_moved = stack.enter_context(torch_kept(seed))
        stack.enter_context(_memory_not_filled.needed(True))
        if torch.get_default_device().type != "cpu":
            # Only what has memory here can be followed, and the tensors of a model have theirs here now.
            stack.enter_context(torch.device("cpu"))
        if model is not None:
            for tensor, original in stack.enter_context(shadowed(model, names=names)):
                recorder.track_existing(tensor, original)
        yield Recording(recorder, generator, others_moved, torch_moved)


def _leave_memory(undo: contextlib.ExitStack) -> None:
    """Under deterministic algorithms torch fills what ``empty`` gives; that would touch all of it."""
    options: Any = torch.utils.deterministic
    undo.callback(setattr, options, "fill_uninitialized_memory", options.fill_uninitialized_memory)
    options.fill_uninitialized_memory = False


_memory_not_filled: ProcessWide[bool] = ProcessWide(_leave_memory)
