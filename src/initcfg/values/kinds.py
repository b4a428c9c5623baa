"""The kinds of values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from initcfg.errors import PlanError, shown
from initcfg.values.adaptation_steps import AdaptationStep, steps_text
from initcfg.values.formulas import check_program
from initcfg.values.value import JsonText, Value, from_json, number_text


@dataclass(frozen=True)
class Constant(Value):
    """Every element is ``val``."""

    val: float

    def __str__(self) -> str:
        return f"Constant({number_text(self.val)})"


@dataclass(frozen=True)
class Uniform(Value):
    """U(a, b)."""

    random = True
    a: float
    b: float


@dataclass(frozen=True)
class Normal(Value):
    """N(mean, std²)."""

    random = True
    mean: float
    std: float


@dataclass(frozen=True)
class TruncNormal(Value):
    """N(mean, std²) given that it lies in [a, b]; the bounds are absolute values, infinite for none."""

    random = True
    mean: float
    std: float
    a: float
    b: float


ORTHOGONAL_ALGORITHM = 2
"""The number of the algorithm for orthogonal matrices that this package knows: another makes other bits."""


@dataclass(frozen=True)
class Orthogonal(Value):
    """Matrices whose rows or columns, whichever are fewer, are orthogonal and of length ``gain``.

    The axes ``rows``, flattened, are the rows of a matrix, and the other axes its columns. The axes
    ``stack`` count matrices, each orthogonal on its own. Both are in increasing order, from 0 on. Of the
    ``algorithm`` that makes the matrix of the stream's numbers, the present one is 2.
    """

    random = True
    blockwise = False
    gain: float = 1.0
    rows: tuple[int, ...] = (0,)
    stack: tuple[int, ...] = ()
    algorithm: int = ORTHOGONAL_ALGORITHM

    def __str__(self) -> str:
        rows = "" if self.rows == (0,) else f", rows={self.rows}"
        stack = f", stack={self.stack}" if self.stack else ""
        other = "" if self.algorithm == ORTHOGONAL_ALGORITHM else f", algorithm={self.algorithm}"
        return f"Orthogonal(gain={number_text(self.gain)}{rows}{stack}{other})"


@dataclass(frozen=True)
class Sparse(Value):
    """A matrix of N(0, std²) where ``ceil(sparsity · rows)`` elements of each column are zero."""

    random = True
    sparsity: float
    std: float


@dataclass(frozen=True)
class Dirac(Value):
    """A convolution that passes its input on: in each of ``groups`` groups, channel d to channel d."""

    groups: int = 1


@dataclass(frozen=True)
class Eye(Value):
    """A matrix with ``gain`` on its diagonal, and zero elsewhere."""

    gain: float = 1.0


@dataclass(frozen=True)
class Hadamard(Value):
    """``gain`` or ``-gain``: Sylvester's Hadamard matrix, cut to the tensor's rows and columns.

    The sign of element (i, j) is that of (-1)^n, with n the number of binary digits that are 1 in both.
    """

    gain: float = 1.0


@dataclass(frozen=True)
class Keep(Value):
    """The tensor keeps what it holds (the value that its constructor gave it)."""

    def __str__(self) -> str:
        return "Keep"


@dataclass(frozen=True)
class FromCheckpoint(Value):
    """The tensor ``key`` of the checkpoint ``source``."""

    source: str
    key: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is read."""
        return (self.key,)


@dataclass(frozen=True)
class Adapted(FromCheckpoint):
    """What ``steps`` make of the tensor ``key`` of a checkpoint, and of the ``others``, so that it fits."""

    blockwise = False
    steps: tuple[AdaptationStep, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is read."""
        return (self.key, *self.others)

    @property
    def random(self) -> bool:  # type: ignore[override]
        return any(step[:2] == ("grow", "covariance") for step in self.steps)

    def __str__(self) -> str:
        then = f": {steps_text(self.steps)}" if self.steps else ""
        said = f"{type(self).__name__}(source={self.source}, key={', '.join(self.keys)}{then})"
        return shown(said)


@dataclass(frozen=True)
class Hooked(Adapted):
    """What the model's own load hooks make of a checkpoint, for one tensor; then the ``steps``.

    They run when the rule at the path ``rule`` loads; ``name`` is what they call the tensor; its numbers come
    from ``key`` and the ``others``, as far as is known.
    """

    # Where it was written makes no other value.
    rule: str = field(default="", compare=False)
    name: str = ""


@dataclass(frozen=True)
class Originals(FromCheckpoint):
    """The tensors that a parametrization stores a weight as, each by itself: from a checkpoint, or kept."""

    blockwise = False
    values: tuple[Value, ...] = ()

    @property
    def loaded(self) -> tuple[FromCheckpoint, ...]:
        """Those that are from the checkpoint."""
        return tuple(value for value in self.values if isinstance(value, FromCheckpoint))

    @property
    def in_part(self) -> bool:
        """Whether some are kept: they are what the write before this one leaves."""
        return len(self.loaded) < len(self.values)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is read."""
        return tuple(key for value in self.loaded for key in value.keys)

    @property
    def random(self) -> bool:  # type: ignore[override]
        return any(value.random for value in self.values)

    def __str__(self) -> str:
        return shown(f"Originals(source={self.source}, key={', '.join(self.keys)})")


@dataclass(frozen=True)
class Parts(Value):
    """A fused tensor: independent parts side by side along dimension ``dim``.

    ``sizes`` are the lengths along ``dim``; ``values`` the value of each part, in order.
    """

    dim: int
    sizes: tuple[int, ...]
    values: tuple[Value, ...]

    @property
    def random(self) -> bool:  # type: ignore[override]
        return any(value.random for value in self.values)

    @property
    def blockwise(self) -> bool:  # type: ignore[override]
        return all(value.blockwise for value in self.values)

    def __str__(self) -> str:
        if len(set(self.values)) == 1:
            return f"{len(self.values)} × {self.values[0]}"
        return "[" + " | ".join(str(value) for value in self.values) + "]"


class _OfAnother:
    """What a value is that changes or repeats another one."""

    value: Value

    @property
    def random(self) -> bool:
        return self.value.random

    @property
    def blockwise(self) -> bool:
        return self.value.blockwise


@dataclass(frozen=True)
class PaddingRow(_OfAnother, Value):  # type: ignore[misc]
    """``value``, but row ``index`` (the padding row of an embedding) is zero."""

    index: int
    value: Value

    def __str__(self) -> str:
        return f"{self.value}, row {self.index} zero"


@dataclass(frozen=True)
class Repeat(_OfAnother, Value):  # type: ignore[misc]
    """Each slice of ``value`` along dimension ``dim``, ``times`` times, one after the other."""

    dim: int
    times: int
    value: Value

    def __str__(self) -> str:
        return f"{self.value}, each {self.times} times along {self.dim}"


@dataclass(frozen=True)
class CopyOf(_OfAnother, Value):  # type: ignore[misc]
    """A copy that was made while building: the numbers that ``value`` gives the tensor ``source``.

    They are made again from that name, so that neither tensor waits for the other.
    """

    source: str
    value: Value

    def __str__(self) -> str:
        return shown(f"copy of {self.source}: {self.value}")


@dataclass(frozen=True)
class Seeded(CopyOf):
    """The numbers that ``value`` gives the tensor ``source`` under a seed of its own, whatever the plan's.

    Code that initializes by initcfg, with a seed, and is recorded itself means these.
    """

    random = False  # type: ignore[assignment]
    seed: int

    def __str__(self) -> str:
        return shown(f"{self.value} of seed {self.seed} as {self.source}")


@dataclass(frozen=True)
class Formula(Value):
    """What a few operations of torch make of other values.

    ``program`` is a list of instructions, in compact JSON. Each makes the next slots, counted from 0:

    - ``["value", shape, dtype, value, key]``: a tensor filled with a value, or with a number;
    - ``["empty", shape, strides, dtype]``: one that is not filled yet;
    - ``["data", shape, dtype, numbers]``: numbers that stand in the code;
    - ``["initial"]``: what the tensor itself holds before;
    - ``[name, *arguments, keywords]``: the results of an ATen operation; one in place makes no slot;
    - ``["draw", name, *arguments, keywords, key]``: of one that draws random numbers;
    - ``["fill", tensor, value, key]``: fills a tensor with a value or a number, and makes no slot;
    - ``["layout", tensor, sizes, strides]``: has that shape, and lies so in memory from here on; no slot;
    - ``["result", tensor]``: the last.

    A tensor is ``"$slot"``, or a view of it, ``"$slot:sizes:strides:offset"``, with ``":dtype"`` where it is
    seen as numbers of another type. A key is the number of the
    first part that is drawn, or ``[name, part]`` where another tensor's name gives the numbers; where nothing
    is random, and where there are no keywords, they are left out.
    """

    blockwise = False
    program: JsonText

    def __post_init__(self) -> None:
        check_program(self.instructions, _filling_problem)

    @cached_property
    def instructions(self) -> list[list[Any]]:
        """The program, read."""
        try:
            return json.loads(self.program)
        except (ValueError, TypeError, RecursionError) as error:
            raise PlanError(f"program: it is no JSON: {error}.") from error

    @property
    def begins_with_itself(self) -> bool:
        """Whether it changes what its tensor holds before."""
        return any(each[0] == "initial" for each in self.instructions)

    @property
    def random(self) -> bool:  # type: ignore[override]
        return any(map(self.draws, self.instructions))

    @staticmethod
    def draws(instruction: list[Any]) -> bool:
        """Whether an instruction draws random numbers; then it ends with their key."""
        return instruction[0] == "draw" or len(instruction) == {"value": 5, "fill": 4}.get(instruction[0])

    def __str__(self) -> str:
        parts: list[str] = []
        for name, *rest in self.instructions:
            if name in ("value", "fill"):
                parts.append(_filling_text(rest[2 if name == "value" else 1]))
            elif name not in ("result", "empty", "layout"):
                parts.append(str(rest[0] if name == "draw" else name).partition(".")[0].removesuffix("_"))
        if len(parts) > 7:
            parts[3:-3] = [f"{len(parts) - 6} more"]
        return shown(f"Formula({', '.join(parts)})")


def _filling_text(item: Any) -> str:
    """What a formula fills a tensor with: a value, or a number, of which JSON does not hold each."""
    if not isinstance(item, dict):
        return str(item)
    return str(from_json(item)) if "kind" in item else item["float"]


def _filling_problem(item: Any) -> str | None:
    """Why a formula may not fill a tensor with what this says; None if it may."""
    value = from_json(item)
    parts = [value]
    while parts:
        each = parts.pop()
        if isinstance(each, Parts):
            parts += each.values
        elif isinstance(each, (PaddingRow, Repeat, CopyOf)):
            parts.append(each.value)
        elif not isinstance(each, _FILLINGS):
            return f"nothing in a formula is filled with {each.kind}"
    return None


def formulas_in(value: Value) -> list[Formula]:
    """The formulas that a value is, or is made of."""
    if isinstance(value, Formula):
        return [value]
    inner = value.args.values()
    within = [each for item in inner for each in (item if isinstance(item, tuple) else (item,))]
    return [found for each in within if isinstance(each, Value) for found in formulas_in(each)]


_FILLINGS = (Constant, Uniform, Normal, TruncNormal, Orthogonal, Sparse, Dirac, Eye, Hadamard)


@dataclass(frozen=True)
class Scaled(_OfAnother, Value):  # type: ignore[misc]
    """``value``, where what has the index i along ``axis`` is multiplied by ``factors[i]``."""

    value: Value
    factors: tuple[float, ...]
    axis: int = 0

    def __str__(self) -> str:
        return f"{self.value}, times {_span(self.factors)} along axis {self.axis}"


@dataclass(frozen=True)
class Numbers(Value):
    """These numbers, in the order of memory (row-major)."""

    blockwise = False
    numbers: tuple[float, ...]

    def __str__(self) -> str:
        return f"Numbers({_span(self.numbers)})"


def _span(numbers: tuple[float, ...]) -> str:
    ends = f"{number_text(min(numbers, default=0.0))}…{number_text(max(numbers, default=0.0))}"
    return f"{len(numbers)} numbers, {ends}"


@dataclass(frozen=True)
class FromBatch(_OfAnother, Value):  # type: ignore[misc]
    """What ``scheme`` makes of ``value`` once it has seen a batch of data in the model.

    Which numbers these are is known when the plan has been applied; the ledger has them, as other values.
    """

    scheme: str
    value: Value

    def __str__(self) -> str:
        return shown(f"Computed({self.scheme}) from {self.value}")


@dataclass(frozen=True)
class Computed(Value):
    """What ``code`` computed while the model was built, since it read a weight: outside the stream."""

    code: str

    def __str__(self) -> str:
        return shown(f"Computed({self.code})")


@dataclass(frozen=True)
class Opaque(Value):
    """Whatever the user's own ``code`` writes; ``over`` is what the tensor holds before it runs."""

    blockwise = False
    code: str
    over: Value

    def __str__(self) -> str:
        over = "" if isinstance(self.over, Keep) else f" over {self.over}"
        return f"Opaque({self.code}){over}"
