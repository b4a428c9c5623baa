"""Values: what a whole tensor is filled with, as pure data.

A Value holds resolved numbers and nothing else: no tensor, no shape, no generator. It compares,
hashes, prints, and goes through JSON without losing a bit. Writing one into a tensor is the work of
``_writing``; deciding which one a parameter gets is the work of the initializers and the planner.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

from initcfg.errors import PlanError
from initcfg.values.adaptation import Step, steps_text

_KINDS: dict[str, type[Value]] = {}


@dataclass(frozen=True)
class Value:
    """Base of all values.

    Attributes:
        random: Whether producing the value consumes random numbers.
        blockwise: Whether any rectangular block can be made alone; what is not is made whole.
    """

    random: ClassVar[bool] = False
    blockwise: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        _KINDS[cls.__name__] = cls

    @property
    def kind(self) -> str:
        """Name of the kind, as in JSON: ``"Normal"``."""
        return type(self).__name__

    @cached_property
    def args(self) -> dict[str, Any]:
        """The resolved numbers by name; nested values stay values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        inner = ", ".join(f"{name}={_short(item)}" for name, item in self.args.items() if item is not None)
        return f"{self.kind}({inner})"


@dataclass(frozen=True)
class Constant(Value):
    """Every element is ``val``."""

    val: float

    def __str__(self) -> str:
        return f"Constant({_short(self.val)})"


@dataclass(frozen=True)
class Uniform(Value):
    """U(a, b)."""

    random: ClassVar[bool] = True
    a: float
    b: float


@dataclass(frozen=True)
class Normal(Value):
    """N(mean, std²)."""

    random: ClassVar[bool] = True
    mean: float
    std: float


@dataclass(frozen=True)
class TruncNormal(Value):
    """N(mean, std²) given that it lies in [a, b]; the bounds are absolute values."""

    random: ClassVar[bool] = True
    mean: float
    std: float
    a: float
    b: float


@dataclass(frozen=True)
class Orthogonal(Value):
    """Matrices whose rows or columns, whichever are fewer, are orthogonal and of length ``gain``.

    The axes ``rows``, flattened, are the rows of a matrix, and the other axes its columns. The axes
    ``stack`` count matrices, each orthogonal on its own. Both are in increasing order, from 0 on.
    """

    random: ClassVar[bool] = True
    blockwise: ClassVar[bool] = False
    gain: float = 1.0
    rows: tuple[int, ...] = (0,)
    stack: tuple[int, ...] = ()

    def __str__(self) -> str:
        rows = "" if self.rows == (0,) else f", rows={self.rows}"
        stack = f", stack={self.stack}" if self.stack else ""
        return f"Orthogonal(gain={_short(self.gain)}{rows}{stack})"


@dataclass(frozen=True)
class Sparse(Value):
    """A matrix of N(0, std²) where ``ceil(sparsity · rows)`` elements of each column are zero."""

    random: ClassVar[bool] = True
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
    """What ``steps`` make of the tensor ``key`` of a checkpoint, and of the ``others``, so that it fits.

    The steps are in ``_steps.py``.
    """

    blockwise: ClassVar[bool] = False
    steps: tuple[Step, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is read."""
        return (self.key, *self.others)

    @property
    def random(self) -> bool:  # type: ignore[override]
        return any(step[:2] == ("grow", "covariance") for step in self.steps)

    def __str__(self) -> str:
        return f"Adapted(source={self.source}, key={', '.join(self.keys)}: {steps_text(self.steps)})"


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


@dataclass(frozen=True)
class PaddingRow(Value):
    """``value``, but row ``index`` (the padding row of an embedding) is zero."""

    index: int
    value: Value

    @property
    def random(self) -> bool:  # type: ignore[override]
        return self.value.random

    @property
    def blockwise(self) -> bool:  # type: ignore[override]
        return self.value.blockwise

    def __str__(self) -> str:
        return f"{self.value}, row {self.index} zero"


@dataclass(frozen=True)
class CopyOf(Value):
    """A copy that was made while building: the numbers that ``value`` gives the tensor ``source``.

    They are made again from that name, so that neither tensor waits for the other.
    """

    source: str
    value: Value

    @property
    def random(self) -> bool:  # type: ignore[override]
        return self.value.random

    @property
    def blockwise(self) -> bool:  # type: ignore[override]
        return self.value.blockwise

    def __str__(self) -> str:
        return f"copy of {self.source}: {self.value}"


@dataclass(frozen=True)
class Formula(Value):
    """What a few operations of torch make of other values.

    ``program`` is a list of instructions, in compact JSON. Each makes the next slots, counted from 0:

    - ``["value", shape, dtype, value, key]``: a tensor filled with a value, or with a number;
    - ``["empty", shape, strides, dtype]``: one that is not filled yet;
    - ``["data", shape, dtype, numbers]``: numbers that stand in the code, at most 16;
    - ``["initial"]``: what the tensor itself holds before;
    - ``[name, *arguments, keywords]``: the results of an ATen operation; one in place makes no slot;
    - ``["draw", name, *arguments, keywords, key]``: of one that draws random numbers;
    - ``["fill", tensor, value, key]``: fills a tensor with a value or a number, and makes no slot;
    - ``["result", tensor]``: the last.

    A tensor is ``"$slot"``, or a view of it, ``"$slot:sizes:strides:offset"``. A key is the number of the
    first part that is drawn, or ``[name, part]`` where another tensor's name gives the numbers; where nothing
    is random, and where there are no keywords, they are left out.
    """

    blockwise: ClassVar[bool] = False
    program: str

    @cached_property
    def instructions(self) -> list[list[Any]]:
        """The program, read."""
        found = json.loads(self.program)
        if not isinstance(found, list) or not all(isinstance(each, list) and each for each in found):
            raise PlanError("A formula's program is a list of instructions.")
        return found

    @property
    def begins_with_itself(self) -> bool:
        """Whether it changes what its tensor holds before."""
        return any(each[0] == "initial" for each in self.instructions)

    @property
    def random(self) -> bool:  # type: ignore[override]
        lengths = {"value": 5, "fill": 4}
        return any(each[0] == "draw" or len(each) == lengths.get(each[0]) for each in self.instructions)

    def __str__(self) -> str:
        shown: list[str] = []
        for each in self.instructions:
            if each[0] in ("value", "fill"):
                filling = each[3 if each[0] == "value" else 2]
                shown.append(str(from_json(filling) if isinstance(filling, dict) else filling))
            elif each[0] not in ("result", "empty"):
                shown.append(str(each[each[0] == "draw"]).partition(".")[0].removesuffix("_"))
        if len(shown) > 7:
            shown[3:-3] = [f"{len(shown) - 6} more"]
        return f"Formula({', '.join(shown)})"


@dataclass(frozen=True)
class Computed(Value):
    """What ``code`` computed while the model was built, since it read a weight: outside the stream."""

    code: str

    def __str__(self) -> str:
        return f"Computed({self.code})"


@dataclass(frozen=True)
class Opaque(Value):
    """Whatever the user's own ``code`` writes; ``over`` is what the tensor holds before it runs."""

    blockwise: ClassVar[bool] = False
    code: str
    over: Value

    def __str__(self) -> str:
        over = "" if isinstance(self.over, Keep) else f" over {self.over}"
        return f"Opaque({self.code}){over}"


def _short(item: Any) -> str:
    if isinstance(item, float):
        return f"{item:.4g}"
    return str(item) if not isinstance(item, str) else item


# -- JSON ----------------------------------------------------------------------------------------

_NON_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def number_to_json(number: Any) -> Any:
    """A float as JSON can hold it: non-finite ones become strings."""
    if isinstance(number, float) and not math.isfinite(number):
        return repr(number)
    return number


def to_json(value: Value) -> dict[str, Any]:
    """A value as JSON data; floats round-trip exactly (shortest repr).

    Example:
        >>> from initcfg.values.kinds import Normal, to_json, from_json
        >>> to_json(Normal(0.0, 0.02))
        {'kind': 'Normal', 'mean': 0.0, 'std': 0.02}
        >>> from_json(to_json(Normal(0.0, 0.02))) == Normal(0.0, 0.02)
        True
    """
    data: dict[str, Any] = {"kind": value.kind}
    if isinstance(value, Formula):
        return {**data, "program": value.instructions}
    for name, item in value.args.items():
        if isinstance(item, Value):
            data[name] = to_json(item)
        elif isinstance(item, tuple):
            data[name] = [_member_to_json(each) for each in item]
        else:
            data[name] = number_to_json(item)
    return data


def _member_to_json(item: Any) -> Any:
    if isinstance(item, tuple):
        return [_member_to_json(each) for each in item]
    return to_json(item) if isinstance(item, Value) else item


def from_json(data: Any) -> Value:
    """The value that :func:`to_json` wrote.

    Raises:
        PlanError: ``data`` is no such thing.
    """
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        raise PlanError(f"A value must be an object with a 'kind', not {data!r}.")
    cls = _KINDS.get(data["kind"])
    if cls is None:
        raise PlanError(f"{data['kind']!r} is no kind of value.", meant=[])
    names = [field.name for field in fields(cls)]
    unknown = set(data) - {"kind", *names}
    missing = [name for name in names if name not in data]
    if unknown or missing:
        raise PlanError(f"A value of kind {cls.__name__} has {names}, but these are given: {sorted(data)}.")
    if cls is Formula:
        return Formula(json.dumps(data["program"], separators=(",", ":")))
    return cls(**{name: _item_from_json(cls, name, data[name]) for name in names})


def _item_from_json(cls: type[Value], name: str, item: Any) -> Any:
    if isinstance(item, dict):
        return from_json(item)
    if isinstance(item, list):
        return tuple(_item_from_json(cls, "", each) for each in item)
    if cls is Constant or (isinstance(item, str) and name in ("val", "a", "b", "mean", "std", "gain")):
        return _NON_FINITE.get(item, item) if isinstance(item, str) else item
    return item
