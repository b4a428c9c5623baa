"""Words for names, values and shapes; one text for several that differ in numbers alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from initcfg.errors import new_table
from initcfg.values import Adapted, Constant, FromCheckpoint, Keep, Opaque, Value, steps_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

    from initcfg._plan.assignment import Assignment
    from initcfg._plan.plan import Plan

# A number that is a whole part of a name, or ends one: not the index of a list in a rule, nor one that is
# written in another way (01).
_NUMBER = re.compile(r"(?<![\[0-9])(?:0|[1-9][0-9]{0,17})(?=\.|$)")
_DECIMAL = re.compile(r"-?[0-9]+\.?[0-9]*(?:e[-+]?[0-9]+)?")
_SHOWN = 8


def mask(name: str) -> tuple[str, ...]:
    """What stands between the numbers of a name: alike for parameters of repeated layers."""
    return tuple(_NUMBER.split(name))


def merge_names(names: Sequence[str]) -> str:
    """One name for several that differ in numbers alone.

    Example:
        >>> from initcfg._plan.report.words import merge_names
        >>> merge_names(["layer1.0.bn1.bias", "layer1.0.bn2.bias", "layer1.1.bn1.bias"])
        'layer1.{0,1}.bn{1,2}.bias'
    """
    columns = zip(*(map(int, _NUMBER.findall(name)) for name in names), strict=True)
    return _interleaved(_NUMBER.split(names[0]), [_number_set(sorted(set(numbers))) for numbers in columns])


def merge_exactly(names: Sequence[str]) -> list[str]:
    """As few names as say exactly which they are, of several that differ in numbers alone.

    Example:
        >>> from initcfg._plan.report.words import merge_exactly
        >>> merge_exactly(["a1.0.c", "a1.1.c", "a2.0.c", "a2.1.c", "a2.2.c"])
        ['a1.{0,1}.c', 'a2.{0..2}.c']
    """
    rows = [tuple(map(int, _NUMBER.findall(name))) for name in names]
    columns = [sorted(set(column)) for column in zip(*rows, strict=True)]
    if math.prod(map(len, columns)) == len(set(names)):
        return [
            _interleaved(_NUMBER.split(names[0]), [_number_set(each, most=len(each)) for each in columns])
        ]
    # Apart where the first number differs.
    first = next(place for place, column in enumerate(columns) if len(column) > 1)
    apart = {
        number: [name for name, row in zip(names, rows, strict=True) if row[first] == number]
        for number in columns[first]
    }
    return [merged for each in apart.values() for merged in merge_exactly(each)]


def _number_set(numbers: Sequence[int], most: int = 4) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    if len(numbers) > 2 and numbers[-1] - numbers[0] + 1 == len(numbers):
        return f"{{{numbers[0]}..{numbers[-1]}}}"
    return "{" + ",".join(map(str, numbers)) + "}" if len(numbers) <= most else "*"


def merge_texts(texts: list[str]) -> str:
    """One text for several that differ in numbers alone: ``std=0.0295…0.177``."""
    if len(set(texts)) == 1:
        return texts[0]
    columns = zip(*map(_DECIMAL.findall, texts), strict=False)
    ordered = [sorted(set(column), key=float) for column in columns]
    ranges = ["…".join(dict.fromkeys((found[0], found[-1]))) for found in ordered]
    return _interleaved(_DECIMAL.split(texts[0]), ranges)


def _interleaved(between: Sequence[str], numbers: Sequence[str]) -> str:
    return "".join(text + number for text, number in zip(between, [*numbers, ""], strict=True))


def value_text(value: Value) -> str:
    """A value for a person."""
    if isinstance(value, Keep):
        return "keeps its constructor's value"
    if isinstance(value, Adapted) and value.steps:
        return f"from {value.source}, {steps_text(value.steps)}"
    if isinstance(value, FromCheckpoint):
        return f"from {value.source}"
    return f"by its own {value.code}" if isinstance(value, Opaque) else str(value)


def default_text(item: Assignment) -> str:
    """What stands in the place of a rule where none reaches a tensor."""
    if isinstance(item.value, Opaque):
        return ""
    return f"default ({item.default.rule})" if item.default else "default"


def mask_value(value: Value) -> tuple[str, ...]:
    """What values have in common that differ in numbers alone; a constant's number counts."""
    if isinstance(value, Constant):
        return (str(value),)
    return tuple(_DECIMAL.split(value_text(value)))


def shape_text(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def count_text(names: Sequence[Any]) -> str:
    """How many there are, where that is worth a word."""
    return str(len(names)) if len(names) > 1 else ""


def uncalled_text(plan: Plan, name: str) -> str:
    """A module's method that does not run, and why."""
    library = plan.libraries.get(name)
    why = "since what holds it is no BaseModule; a rule dict(type='InitWeights') calls it"
    if library is not None:
        why = f"since {library} initializes in its constructors"
    return f"{name}.init_weights(), {why}"


def limited(items: Sequence[Any], full: bool, most: int = _SHOWN) -> list[Any]:
    """The first few, and how many more there are."""
    if full or len(items) <= most:
        return list(items)
    return [*items[: most - 1], f"... and {len(items) - most + 1} more"]


def plain_table(titles: Iterable[str]) -> Table:
    """A table without lines, whose cells are never broken."""
    table = new_table(expand=False)
    for title in titles:
        table.add_column(title, no_wrap=True, justify="right" if title == "×" else "left")
    return table


class TableOrLines:
    """A table where the terminal is wide enough for it, and these lines where it is not."""

    def __init__(self, table: Table, lines: Sequence[Text]) -> None:
        self.table = table
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich calls to draw this."""
        from rich.measure import Measurement

        needed = Measurement.get(console, options.update(width=10_000), self.table).maximum
        yield from [self.table] if needed <= options.max_width else self.lines
