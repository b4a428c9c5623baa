"""Formulas in the making: the operations of torch that make a tensor, written down one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from initcfg.values import Formula, Value, to_json
from initcfg.values.formulas import LONGEST


class Steps:
    """A formula's program, step by step; each step gives the text by which later ones name its tensor.

    Example:
        >>> from initcfg._rules.initializers.formula_steps import Steps
        >>> steps = Steps()
        >>> print(steps.result(steps.call("log", steps.numbers([1.0, 2.0]))))
        Formula(data, log)
    """

    def __init__(self) -> None:
        self._program: list[list[Any]] = []
        self._slots = 0
        self._drawn = 0

    def value(self, shape: Sequence[int], value: Value) -> str:
        """A tensor of this shape, filled with a value; random numbers of its own each time."""
        key = [self._drawn] if value.random else []
        self._drawn += value.random
        return self._add(["value", list(shape), "float32", to_json(value), *key])

    def shared(self, shape: Sequence[int], value: Value, name: str) -> str:
        """A tensor filled with a value by the random numbers of a name, the same for all who give it."""
        return self._add(["value", list(shape), "float32", to_json(value), [name, 0]])

    def numbers(self, numbers: Sequence[float]) -> str:
        """A row of numbers."""
        pieces = [list(numbers[at : at + LONGEST]) for at in range(0, len(numbers), LONGEST)] or [[]]
        made = [self._add(["data", [len(each)], "float32", each]) for each in pieces]
        return made[0] if len(made) == 1 else self.call("cat", made)

    def call(self, name: str, *arguments: Any, **named: Any) -> str:
        """What an ATen operation makes of its arguments: one tensor."""
        return self._add([name, *arguments, *([named] if named else [])])

    def several(self, count: int, name: str, *arguments: Any) -> list[str]:
        """What an ATen operation makes of its arguments, where that is several tensors."""
        first = self._slots
        self._add([name, *arguments], count)
        return [f"${first + at}" for at in range(count)]

    def result(self, tensor: str) -> Formula:
        """The formula of which this is the result."""
        return Formula(json.dumps([*self._program, ["result", tensor]], separators=(",", ":")))

    def _add(self, instruction: list[Any], made: int = 1) -> str:
        self._program.append(instruction)
        self._slots += made
        return f"${self._slots - 1}"


def view(tensor: str, sizes: Sequence[int], strides: Sequence[int], offset: int = 0) -> str:
    """What lies at a place of a tensor's memory."""
    return f"{tensor}:{','.join(map(str, sizes))}:{','.join(map(str, strides))}:{offset}"
