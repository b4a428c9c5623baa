"""What load hooks made of the tensors of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


class HookFailed(Exception):
    """A load hook raised an error, or did what no plan can say; ``hook`` says which, and where it stands."""

    def __init__(self, problem: str, hook: str, fix: str | None = None) -> None:
        super().__init__(problem)
        self.hook = hook
        self.fix = fix


@dataclass(frozen=True)
class Filled:
    """What one tensor of a module would be filled with.

    Attributes:
        tensor: The tensor; on the meta device where hooks ran on shapes alone.
        given: The name of the tensor that it is, where it is one that was given, and was not changed.
        depends: The names of what was given that its numbers come from, as far as is known.
        hook: The hook that made it, where one did.
    """

    tensor: torch.Tensor
    given: str | None = None
    depends: tuple[str, ...] = ()
    hook: str = ""


@dataclass
class HookOutcome:
    """What came of a ``state_dict`` that was loaded into a module with hooks; all names are the owner's.

    Attributes:
        filled: By the name of a tensor, what it gets.
        kept: Tensors that get nothing, and that hooks do not report as missing.
        unexpected: Names after the hooks that no tensor has, with the name of what was given, if it is that.
        dropped: Names of what was given that hooks took away.
        messages: What hooks reported as errors.
        own: The module's own tensors, by name, that hooks computed with, or decided by.
        random: Whether a hook drew random numbers.
    """

    filled: dict[str, Filled] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    unexpected: dict[str, str | None] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    own: dict[str, torch.Tensor] = field(default_factory=dict)
    random: bool = False
