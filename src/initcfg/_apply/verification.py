"""Verifying a checkpoint against its plan: which tensors still hold what they began with."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from initcfg._checkpoints.formats import OpenedCheckpoint, non_finite
from initcfg._plan import Assignment, Ledger, Plan, Written
from initcfg._stream.writing import fill_stream
from initcfg.errors import CheckpointError, nearest
from initcfg.values import Computed, Formula, FromCheckpoint, Keep, Opaque, Value


@dataclass(frozen=True)
class Verified:
    """What became of one tensor.

    Attributes:
        name: Its canonical name.
        status: ``"initial"`` (it holds its planned value, bit for bit), ``"changed"``, ``"unknown"`` (the
            plan does not say its numbers), ``"missing"`` (the checkpoint lacks it), ``"unplanned"`` (the
            plan does), or ``"shape"`` (the shapes differ).
        change: ‖w − w₀‖ / ‖w₀‖, the norm of the change against that of the planned value; infinite where that
            is zero.
        nan: How many of its elements are NaN.
        inf: How many are infinite.
        detail: What there is to say, in words.
    """

    name: str
    status: str
    change: float | None = None
    nan: int = 0
    inf: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Verification:
    """What became of each tensor of a checkpoint.

    Attributes:
        tensors: One entry a tensor, in the plan's order.
        seed: The seed of the planned values.
    """

    tensors: tuple[Verified, ...]
    seed: int

    def counts(self) -> dict[str, int]:
        """How many tensors have each status, and how many hold NaN or infinity."""
        found: dict[str, int] = {}
        for each in self.tensors:
            found[each.status] = found.get(each.status, 0) + 1
        bad = sum(bool(each.nan or each.inf) for each in self.tensors)
        return {**found, **({"not finite": bad} if bad else {})}

    @property
    def differs(self) -> bool:
        """Whether any tensor is not what it began as, or is not finite."""
        alike = ("initial", "unknown", "unplanned")
        return any(each.status not in alike or each.nan or each.inf for each in self.tensors)

    def to_json(self) -> dict[str, Any]:
        """The verification as JSON data."""
        tensors = [{**asdict(each), "change": _number(each.change)} for each in self.tensors]
        return {"seed": self.seed, "counts": self.counts(), "tensors": tensors}


def verified(reader: OpenedCheckpoint, planned: Plan | Ledger, seed: int | None = None) -> Verification:
    """Compare each tensor of a checkpoint with its planned value, made again from seed and name.

    One tensor is in memory at a time.

    Args:
        reader: The checkpoint.
        planned: A plan, or the ledger of its making.
        seed: The seed; that of the ledger if None.

    Raises:
        CheckpointError: There is no seed to make the values from, or no tensor that both know.
    """
    seed = planned.seed if seed is None and isinstance(planned, Ledger) else seed
    if isinstance(planned, Ledger) and planned.rng != "stream":
        raise CheckpointError(
            "These weights were drawn by torch's generator, which cannot make one tensor's numbers again.",
            fix="Compare two files; or initialize with rng='stream'.",
        )
    if seed is None:
        raise CheckpointError("There is no seed to make the planned values from.", fix="Give it: --seed N.")
    values = dict(_values(planned))
    keys = dict.fromkeys(reader.keys())
    names = {name: _key(name, keys, planned.aliases) for name in values}
    if not any(names.values()):
        first = next(iter(sorted(keys)), None)
        raise CheckpointError(
            f"No key of {reader.name!r} is the name of a planned tensor: keys are like {first!r}, names like "
            f"{next(iter(values), None)!r}.",
            meant=nearest(next(iter(values), ""), keys),
        )
    found = [
        _one(reader, name, key, *values[name], seed) if (key := names[name]) else _absent(name, *values[name])
        for name in values
    ]
    known = {key for key in names.values() if key} | set(planned.aliases)
    found += [_unplanned(reader, key) for key in keys if key not in known]
    return Verification(tuple(each for each in found if each is not None), seed)


def _values(planned: Plan | Ledger) -> Iterator[tuple[str, tuple[Value, tuple[int, ...]]]]:
    items: Mapping[str, Assignment] | Mapping[str, Written] = (
        {**planned.parameters, **planned.buffers} if isinstance(planned, Plan) else planned.entries
    )
    for name, item in items.items():
        value = item.value
        if isinstance(item, Written) and item.by == "nobody":
            value = Keep()
        if isinstance(item, Written) and item.by == "code":
            # What code wrote over a rule's value, it need not have written in words.
            value = Opaque(item.code or "code", value)
        yield name, (value, tuple(item.shape))


def _key(name: str, keys: Collection[str], aliases: Mapping[str, str]) -> str | None:
    """The key of a tensor: its name, or another name that is tied to it."""
    if name in keys:
        return name
    return next((other for other, canonical in aliases.items() if canonical == name and other in keys), None)


def _absent(name: str, value: Value, shape: tuple[int, ...]) -> Verified | None:
    # A ledger speaks of buffers that no file stores.
    return None if isinstance(value, Keep) else Verified(name, "missing")


def _one(
    reader: OpenedCheckpoint, name: str, key: str, value: Value, shape: tuple[int, ...], seed: int
) -> Verified:
    info = reader.info(key)
    if info.shape != shape:
        return Verified(name, "shape", detail=f"planned {list(shape)}, there {list(info.shape)}")
    tensor = reader.read(key)
    nan, inf = not_finite(tensor)
    if isinstance(value, Opaque) and _can_be_made(value.over):
        made = _initial(tensor, value.over, name, seed)
        if torch.equal(_bits(made), _bits(tensor)):
            return Verified(name, "initial", 0.0, nan, inf)
    if not _can_be_made(value):
        return Verified(name, "unknown", None, nan, inf, _why_unknown(value))
    initial = _initial(tensor, value, name, seed)
    if torch.equal(_bits(initial), _bits(tensor)):
        return Verified(name, "initial", 0.0, nan, inf)
    return Verified(name, "changed", _change(initial, tensor), nan, inf)


def _can_be_made(value: Value) -> bool:
    """Whether a value's numbers follow from seed and name alone."""
    if isinstance(value, Formula):
        return not value.begins_with_itself
    return not isinstance(value, (Keep, Opaque, Computed, FromCheckpoint))


def _initial(like: torch.Tensor, value: Value, name: str, seed: int) -> torch.Tensor:
    made = torch.empty(like.shape, dtype=like.dtype)
    fill_stream(made, value, seed=seed, name=name)
    return made


def _unplanned(reader: OpenedCheckpoint, key: str) -> Verified:
    return Verified(key, "unplanned", None, *not_finite(reader.read(key)))


def _why_unknown(value: Value) -> str:
    if isinstance(value, FromCheckpoint):
        return f"from {value.source}"
    return "kept as it was built" if isinstance(value, Keep) else f"written by code: {value}"


def not_finite(tensor: torch.Tensor) -> tuple[int, int]:
    """How many elements are NaN, and how many are infinite."""
    if not non_finite(tensor):
        return 0, 0
    return int(torch.isnan(tensor).sum()), int(torch.isinf(tensor).sum())


def _change(initial: torch.Tensor, tensor: torch.Tensor) -> float:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        initial, tensor = initial.double(), tensor.double()
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    norm = float(torch.linalg.vector_norm(initial, dtype=wide).real)
    # Through float64 piece by piece, for the sake of memory.
    difference = math.sqrt(
        sum(
            float((a.to(wide) - b.to(wide)).abs().square().sum())
            for a, b in zip(initial.flatten().split(1 << 20), tensor.flatten().split(1 << 20), strict=True)
        )
    )
    return difference / norm if norm else math.inf


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes: NaN equals itself, and 0 is not -0."""
    return tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor.flatten()


def _number(number: float | None) -> Any:
    return repr(number) if number is not None and not math.isfinite(number) else number
