"""Where numbers first cease to be finite: the function, the line of code, and the parameters that entered it.

Modules alone do not tell: a division by a parameter between two of them is in neither. This looks at every
function's output, so it is run only where something is known to be broken.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from initcfg._diagnose.users_code import users_code
from initcfg.errors import DiagnosisError

_OURS = (str(Path(__file__).parents[2]), str(Path(torch.__file__).parent))
_SLOTS = {"truediv": "/", "div": "/", "mul": "*", "matmul": "@", "add": "+", "sub": "-", "pow": "**"}


@dataclass(frozen=True)
class Broken:
    """Where it began.

    Attributes:
        function: What gave the first number that is not finite: ``"/"``.
        place: File and line of the user's code, where there is one.
        parameters: Those that entered it, as they are or computed from parameters alone.
        given: Whether what entered it was not finite already: the batch, or a weight.
    """

    function: str
    place: str | None
    parameters: tuple[str, ...]
    given: bool


def first_broken(model: nn.Module, run: Any, names: Mapping[int, str]) -> Broken | None:
    """What the loss of a pass is not finite for; None if it is finite, or that cannot be told.

    Args:
        run: From the model to its loss.
        names: Of the model's parameters, by their identity.
    """
    looking = _Looking(names)
    try:
        with torch.enable_grad(), looking, users_code("The model failed on the batch"):
            loss = run(model)
    except DiagnosisError:
        return None
    return looking.origin(loss)


class _Looking(TorchFunctionMode):
    """Follows what is not finite from function to function: a mask's infinities end in a softmax."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self._names = names
        # Tensors are kept, so that no other takes their identity.
        self._broken: dict[int, tuple[torch.Tensor, Broken]] = {}
        self._made: dict[int, tuple[torch.Tensor, tuple[str, ...]]] = {}

    def origin(self, tensor: torch.Tensor) -> Broken | None:
        """What a tensor is not finite for."""
        for each in (tensor, tensor._base):
            if each is not None and id(each) in self._broken:
                return self._broken[id(each)][1]
        return None

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        named = named or {}
        given = [each for each in tree_leaves((arguments, named)) if isinstance(each, torch.Tensor)]
        known = next(filter(None, map(self.origin, given)), None)
        output = function(*arguments, **named)
        made = [each for each in tree_leaves(output) if isinstance(each, torch.Tensor)]
        for each in made:
            self._note(function, each, given, known)
        return output

    def _note(
        self, function: Any, made: torch.Tensor, given: list[torch.Tensor], known: Broken | None
    ) -> None:
        if id(made) in self._names or not made.is_floating_point():
            return
        from_parameters = [self._parameters(each) for each in given]
        if from_parameters and all(from_parameters):
            names = tuple(dict.fromkeys(name for each in from_parameters for name in each))
            self._made[id(made)] = made, names
        self._broken.pop(id(made), None)
        if made.numel() and not bool(torch.isfinite(made.detach()).all()):
            self._broken[id(made)] = made, known or self._began(function, made, given, from_parameters)

    def _parameters(self, tensor: torch.Tensor) -> tuple[str, ...]:
        for each in (tensor, tensor._base):
            if each is not None and id(each) in self._names:
                return (self._names[id(each)],)
            if each is not None and id(each) in self._made:
                return self._made[id(each)][1]
        return ()

    @staticmethod
    def _began(
        function: Any, made: torch.Tensor, given: list[torch.Tensor], from_parameters: list[tuple[str, ...]]
    ) -> Broken:
        others = [each for each in given if each is not made and each.is_floating_point()]
        before = any(not bool(torch.isfinite(each.detach()).all()) for each in others)
        name = getattr(function, "__name__", "").strip("_")
        names = tuple(dict.fromkeys(each for found in from_parameters for each in found))
        return Broken(_SLOTS.get(name, name), _users_line(), names, before)


def _frames() -> Iterator[Any]:
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _users_line() -> str | None:
    """The innermost line that is neither torch's nor ours."""
    for frame in _frames():
        file = frame.f_code.co_filename
        if not file.startswith((*_OURS, "<")):
            return f"{Path(file).name}:{frame.f_lineno}"
    return None
