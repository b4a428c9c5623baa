"""Misfits: what in JSON data is not what it should be, and where."""

from __future__ import annotations

from typing import Any

from initcfg.errors import InitcfgError, PlanError


class Misfit(PlanError):
    """A fault in JSON data; on its way up it learns where it lies.

    Example:
        >>> from initcfg.values.misfits import Misfit
        >>> print(Misfit("It is 5.").inside("std").inside(3).inside("writes").at_the_door())
        writes[3].std: It is 5.
    """

    def __init__(self, problem: str, *, under: tuple[str | int, ...] = (), fix: str | None = None) -> None:
        super().__init__(problem, fix=fix)
        # From the inside out.
        self.steps: list[str | int] = list(under)

    def inside(self, step: str | int) -> Misfit:
        """The same fault, seen from the object or list that holds the faulty item under ``step``."""
        self.steps.append(step)
        return self

    def at_the_door(self, error: type[InitcfgError] = PlanError) -> InitcfgError:
        """The error for the reader's caller: it begins with the path."""
        path = path_text(self.steps[::-1])
        return error(f"{path}: {self.problem}" if path else self.problem, fix=self.fix)


def path_text(steps: list[str | int]) -> str:
    """A path in JSON data, as Python would write it.

    Example:
        >>> from initcfg.values.misfits import path_text
        >>> path_text(["parameters", "0.weight", "value", "sizes", 1])
        "parameters['0.weight'].value.sizes[1]"
    """
    parts = [
        f".{step}"
        if isinstance(step, str) and step.isidentifier() and len(step) <= 100
        else f"[{short(step, 200)}]"
        for step in steps
    ]
    return "".join(parts).removeprefix(".")


def short(item: Any, most: int = 80) -> str:
    """An item of somebody else's data, in a message: not all of it where it is long."""
    if isinstance(item, (list, tuple, dict)) and len(item) > 100:
        return f"{type(item).__name__} of {len(item):,} items"
    try:
        text = repr(item)
    except (ValueError, RecursionError):
        # Integers of thousands of digits, and what nests too deeply, have no text.
        return f"a very long {type(item).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."
