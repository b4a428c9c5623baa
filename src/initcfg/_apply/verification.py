"""Verifying a checkpoint against its plan: which tensors still hold what they began with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from initcfg._apply.finite import non_finite
from initcfg._apply.written_digests import changed_files
from initcfg._checkpoints import OpenedCheckpoint
from initcfg._plan import Assignment, Ledger, Plan, Written
from initcfg._stream.bits import STREAM_VERSION, seed_number
from initcfg._stream.writing import fill_stream
from initcfg.errors import CheckpointError, nearest
from initcfg.values import Computed, Formula, FromBatch, FromCheckpoint, Keep, Opaque, Value, number_to_json


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
        changed_files: Names of its files that hold other bytes than were written, by the SHA-256 that they
            say of themselves: also of tensors whose numbers no plan says.
    """

    tensors: tuple[Verified, ...]
    seed: int
    changed_files: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many tensors have each status, and how many hold NaN or infinity."""
        found = Counter(each.status for each in self.tensors)
        found["not finite"] = sum(bool(each.nan or each.inf) for each in self.tensors)
        return dict(+found)

    @property
    def differs(self) -> bool:
        """Whether any tensor is not what it began as, or is not finite, or any file not what was written."""
        alike = ("initial", "unknown", "unplanned")
        differs = any(each.status not in alike or each.nan or each.inf for each in self.tensors)
        return differs or bool(self.changed_files)

    def to_json(self) -> dict[str, Any]:
        """The verification as JSON data."""
        tensors = [{**asdict(each), "change": number_to_json(each.change)} for each in self.tensors]
        files = {"changed_files": list(self.changed_files)}
        return {"seed": self.seed, "counts": self.counts(), **files, "tensors": tensors}


def verified(reader: OpenedCheckpoint, planned: Plan | Ledger, seed: int | None = None) -> Verification:
    """Compare each tensor of a checkpoint with its planned value, made again from seed and name.

    One tensor is in memory at a time. Without a seed it is that of the ledger.
    """
    seed = planned.seed if seed is None else seed
    seed = None if seed is None else seed_number(seed)
    if isinstance(planned, Ledger) and planned.rng != "stream":
        raise CheckpointError(
            "These weights were drawn by torch's generator, which cannot make one tensor's numbers again.",
            fix="Compare two files; or initialize with rng='stream'.",
        )
    if isinstance(planned, Ledger) and planned.stream_version != STREAM_VERSION:
        raise CheckpointError(
            f"These weights were drawn by version {planned.stream_version} of the stream; this package knows "
            f"version {STREAM_VERSION}.",
            fix="Use the version of initcfg that wrote them.",
        )
    if seed is None:
        raise CheckpointError("There is no seed to make the planned values from.", fix="Give it: --seed N.")
    items: Mapping[str, Assignment] | Mapping[str, Written] = (
        {**planned.parameters, **planned.buffers} if isinstance(planned, Plan) else planned.entries
    )
    keys = dict.fromkeys(reader.keys())
    # Of a tied tensor, a file may have another name.
    tied = {name: key for key, name in reversed(dict(planned.aliases).items()) if key in keys}
    key_of = {name: name if name in keys else tied[name] for name in items if name in keys or name in tied}
    if not key_of:
        name = next(iter(items), "")
        raise CheckpointError(
            f"No key of {reader.name!r} is the name of a planned tensor: keys are like "
            f"{min(keys, default=None)!r}, names like {name!r}.",
            meant=nearest(name, keys),
        )
    found: list[Verified] = []
    for name, item in items.items():
        value = item.value
        if isinstance(item, Written) and item.by == "code":
            # What code wrote over a rule's value, it need not have written in words.
            value = Opaque(item.code or "code", value)
        if name in key_of:
            found.append(_compared(reader, name, key_of[name], value, tuple(item.shape), seed))
        elif not isinstance(value, Keep):
            # What is kept may be a buffer that no file stores.
            found.append(Verified(name, "missing"))
    known = {*key_of.values(), *planned.aliases}
    unplanned = [key for key in keys if key not in known]
    found += [Verified(key, "unplanned", None, *_nan_and_inf(reader.read(key))) for key in unplanned]
    return Verification(tuple(found), seed, () if reader.path is None else changed_files(reader.path))


def _compared(
    reader: OpenedCheckpoint, name: str, key: str, value: Value, shape: tuple[int, ...], seed: int
) -> Verified:
    found = reader.info(key).shape
    if found != shape:
        return Verified(name, "shape", detail=f"planned {list(shape)}, there {list(found)}")
    tensor = reader.read(key)
    if 0 in shape:
        return Verified(name, "initial", 0.0)
    bad = _nan_and_inf(tensor)
    # Code may have left alone what was there before.
    before = value.over if isinstance(value, Opaque) else value
    if _can_be_made(before):
        initial = torch.empty(tensor.shape, dtype=tensor.dtype)
        fill_stream(initial, before, seed=seed, name=name)
        if torch.equal(_bytes(initial), _bytes(tensor)):
            return Verified(name, "initial", 0.0, *bad)
        if before is value:
            return Verified(name, "changed", _change(initial, tensor), *bad)
    if isinstance(value, FromBatch):
        why = f"{value}: only the ledger knows the numbers"
    elif isinstance(value, FromCheckpoint):
        why = f"from {value.source}"
    else:
        why = "kept as it was built" if isinstance(value, Keep) else f"written by code: {value}"
    return Verified(name, "unknown", None, *bad, why)


def _can_be_made(value: Value) -> bool:
    """Whether a value's numbers follow from seed and name alone."""
    if isinstance(value, Formula):
        return not value.begins_with_itself
    return not isinstance(value, (Keep, Opaque, Computed, FromBatch, FromCheckpoint))


def _nan_and_inf(tensor: torch.Tensor) -> tuple[int, int]:
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


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's memory: NaN equals itself there, and 0 is not -0."""
    return tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor.flatten()
