"""One tensor of a plan or a ledger, made without its model: what initializing writes, bit for bit."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch

from initcfg._apply.apply import seed_for
from initcfg._apply.verifying import InitialValues, UnknownError
from initcfg._model import doors
from initcfg._plan import Ledger, Plan, Written
from initcfg._stream.bits import STREAM_VERSION, seed_number
from initcfg._stream.writing import Block, StreamWriter, narrowed
from initcfg.errors import ArgumentValueError, PlanError, nearest
from initcfg.values import FromCheckpoint


@doors.make_tensor.leads_to
def made_tensor(
    planned: Plan | Ledger, name: str, *, seed: int | None = None, block: Sequence[slice] | None = None
) -> torch.Tensor:
    """See :meth:`Plan.tensor` and :meth:`Ledger.tensor`."""
    item = _item(planned, name)
    seed = _seed(planned, seed)
    if isinstance(item, Written) and item.by == "code":
        raise _impossible(name, f"written by code of the model's own ({item.code})")
    shape, dtype = tuple(item.shape), getattr(torch, item.dtype)
    if seed is None and item.value.random:
        raise PlanError(f"{name!r} is drawn, and there is no seed.", parameter=name, fix="Give it: seed=0.")
    with contextlib.closing(InitialValues(planned.loads, seed, fetch=True)) as initial:
        try:
            if block is None:
                return initial.tensor(item.name, item.value, shape, dtype)
            offsets, sizes = _place(block, shape)
            if isinstance(item.value, FromCheckpoint):
                whole = initial.tensor(item.name, item.value, shape, dtype)
                return narrowed(whole, offsets, sizes).clone()
            initial.check(item.value)
        except UnknownError as error:
            raise _impossible(name, str(error)) from error
    made = torch.empty(sizes, dtype=dtype, device="cpu")
    writer = StreamWriter(seed or 0)
    with torch.no_grad():
        writer.add(made, item.value, item.name, block=Block(shape, offsets))
        writer.flush()
    return made


def _item(planned: Plan | Ledger, name: str):
    try:
        return planned[name]
    except KeyError:
        names = [*planned, *planned.aliases, *(planned.buffers if isinstance(planned, Plan) else ())]
        near = nearest(name, names)
        fix = None if near else "Print it to see its names."
        raise PlanError(f"There is no tensor {name!r}.", meant=near, fix=fix) from None


def _seed(planned: Plan | Ledger, seed: int | None) -> int | None:
    if isinstance(planned, Plan):
        found = seed_for(planned, seed)
        return None if found is None else seed_number(found)
    if planned.rng != "stream":
        raise PlanError(
            "These weights were drawn by torch's generator, which cannot make one tensor's numbers again.",
            fix="Initialize with rng='stream'.",
        )
    if planned.stream_version != STREAM_VERSION:
        raise PlanError(
            f"These weights were drawn by version {planned.stream_version} of the stream; this package knows "
            f"version {STREAM_VERSION}.",
            fix="Use the version of initcfg that wrote them.",
        )
    return planned.seed


def _impossible(name: str, why: str) -> PlanError:
    return PlanError(
        f"{name!r} cannot be made without its model: it is {why}.",
        parameter=name,
        fix="Initialize the model, and take it from there; or, of a checkpoint, put the file back.",
    )


def _place(block: Sequence[slice], shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where a block begins, and its sizes."""
    if len(block) > len(shape) or not all(
        isinstance(each, slice) and each.step in (None, 1) for each in block
    ):
        raise ArgumentValueError(
            f"{block!r} is no block of a tensor of shape {shape}.",
            fix="Give a slice for each dimension, without a step: (slice(0, 2), slice(None)).",
        )
    whole = [*block, *(slice(None) for _ in shape[len(block) :])]
    ends = [each.indices(size)[:2] for each, size in zip(whole, shape, strict=True)]
    return tuple(start for start, _ in ends), tuple(max(stop - start, 0) for start, stop in ends)
