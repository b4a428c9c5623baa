"""The checks before the first byte is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from initcfg._apply.overlaps import Neighbors, check_overlaps, neighbors_in
from initcfg._model import Entry, Names, is_sharded, local_blocks, local_of
from initcfg._plan import Assignment, Plan, distinct_values, has_kind, make_up_of, unnamed
from initcfg._record import waits
from initcfg._stream.writing import (
    READ_ONLY,
    form_problem,
    is_plain,
    memory_problem,
    plain_among,
    read_only_among,
    value_problem,
)
from initcfg.errors import ApplyError, TensorError, nearest
from initcfg.values import (
    Computed,
    Formula,
    FromBatch,
    FromCheckpoint,
    Keep,
    Opaque,
    dtype_name,
)


class Seen(NamedTuple):
    """What a look at a model has shown.

    Attributes:
        names: Its tensors.
        neighbors: The parameters that have memory in common, in pairs.
        plain: The tensors that are each one run of this machine's memory, by ``id``, with no parametrization.
    """

    names: Names
    neighbors: Neighbors
    plain: set[int]


def check_fits(plan: Plan, names: Names, rng: str, *, memory: bool = True) -> Seen:
    """The plan must be for this model, and every tensor that it writes (in ``memory``) must be writable."""
    items = unnamed(plan.parameters) | unnamed(plan.buffers)
    entries = names.by_name
    has_code = has_kind(plan, Opaque)
    if plan.tape is None and plan.record is None:
        if rng == "torch":
            raise ApplyError(
                "A plan that was read from JSON, or of a ledger, has no record of the draws in their order, "
                "and rng='torch' needs one.",
                fix="Use rng='stream', or plan the model again.",
            )
        if has_code:
            raise ApplyError(
                "This plan was read from JSON, or is that of a ledger, and holds code of the model's own, "
                "which JSON cannot carry, nor a ledger.",
                fix="Plan the model again.",
            )
    if has_kind(plan, FromBatch):
        _check_batches(plan, _named_items(plan), rng)
    sharded = sharded_in(names)
    if sharded:
        _check_sharded(plan, _named_items(plan), sharded, rng, has_code)
    runs_code = bool(plan.tape and plan.tape.calls) and not sharded
    if not runs_code:
        _check_make_up(plan, names)
    found = [entry for entry in map(entries.get, items) if entry is not None]
    plain = plain_among([entry.tensor for entry in found if entry.holder is None]) if memory else set[int]()
    if len(found) < len(items) or plan.before_code or not _all_fit(plan, items, found, plain, runs_code):
        _check_each(plan, names, plain, runs_code, memory)
    neighbors = neighbors_in(names)
    if neighbors:
        check_overlaps(_named_items(plan), neighbors)
    for entry in names.parameters:
        if entry.name in plan.parameters or (runs_code and entry.name in plan.before_code):
            continue
        if entry.name in plan.aliases:
            raise ApplyError(
                f"The parameter {entry.name!r} is one tensor with {plan.aliases[entry.name]!r} where the "
                "plan was made, and in this model they are two, which training would drive apart.",
                fix="Tie them again: parallelize_module and copies take them apart, and fully_shard keeps "
                "what is tied.",
                **_about(entry),
            )
        raise ApplyError(
            f"This model has a parameter {entry.name!r} that the plan does not know: it was made for "
            "another one.",
            fix="Plan this model.",
        )
    return Seen(names, neighbors, plain)


def _named_items(plan: Plan) -> dict[str, Assignment]:
    return {**plan.parameters, **plan.buffers}


def _all_fit(
    plan: Plan, items: Mapping[str, Assignment], found: list[Entry], plain: set[int], runs_code: bool
) -> bool:
    """Whether all fit, and what is written is plain; if not so, each is to be looked at by itself."""
    # Each kind of tensor once: most plans have few.
    dtypes = [entry.tensor.dtype for entry in found]
    names = {dtype: dtype_name(dtype) for dtype in {*dtypes}}
    if [item.shape for item in items.values()] != [entry.shape for entry in found]:
        return False
    if [item.dtype for item in items.values()] != [names[dtype] for dtype in dtypes]:
        return False
    known = {name: dtype for dtype, name in names.items()}
    for value, shape, dtype in distinct_values(plan):
        if value_problem(value, shape, known[dtype]) is not None:
            return False
    written = found
    if has_kind(plan, Keep):
        pairs = list(zip(items.values(), found, strict=True))
        if any(isinstance(item.value, Keep) and waits(entry.tensor) for item, entry in pairs):
            return False
        if not runs_code:
            written = [entry for item, entry in pairs if not isinstance(item.value, Keep)]
    held = any(entry.holder is not None for entry in written)
    return not held and plain.issuperset([id(entry.tensor) for entry in written])


def _check_each(plan: Plan, names: Names, plain: set[int], runs_code: bool, memory: bool) -> None:
    """Every tensor that is written must be writable, and be what the plan says; ``plain``: these are."""
    items, entries = _named_items(plan), names.by_name
    # What fits one tensor fits all that are alike: by identity of the value, which the plan keeps.
    fitting: set[tuple[object, ...]] = set()
    written: list[tuple[Entry, torch.Tensor]] = []
    for name, item in items.items():
        entry = entries.get(name)
        if name in plan.before_code and runs_code:
            _check_before(plan, name, entry)
            continue
        if entry is None:
            kind = "parameter" if name in plan.parameters else "buffer"
            raise ApplyError(
                f"The plan has a {kind} {name!r} that this model lacks: it was made for another model.",
                meant=nearest(name, entries),
                fix="Plan this model.",
            )
        _check_item(item, entry, fitting)
        if not runs_code and isinstance(item.value, Keep):
            continue
        if id(entry.tensor) in plain:
            continue
        for tensor in map(local_of, entry.stored):
            if not isinstance(item.value, Keep):
                written.append((entry, tensor))
            if memory and is_plain(tensor):
                continue
            if (problem := _problem(tensor, memory)) is not None:
                raise _not_writable(entry, problem)
    read_only = read_only_among(tensor for _, tensor in written) if memory else set[int]()
    for entry, tensor in written if read_only else ():
        if id(tensor) in read_only:
            raise _not_writable(entry, READ_ONLY)


def check_put_by_code(entry: Entry) -> None:
    """Refuse to write a tensor that code of the model's own has put there, if it can only be read."""
    if read_only_among(map(local_of, entry.stored)):
        raise _not_writable(entry, READ_ONLY)


def _not_writable(entry: Entry, problem: tuple[str, str]) -> TensorError:
    what, fix = problem
    return TensorError(f"{entry.name!r} cannot be initialized: it {what}.", fix=fix, **_about(entry))


def sharded_in(names: Names) -> list[Entry]:
    """The tensors of a model that are sharded."""
    plain = nn.Parameter
    return [
        entry
        for entry in names.by_name.values()
        if (type(entry.tensor) is not plain or entry.originals) and any(map(is_sharded, entry.stored))
    ]


def _problem(tensor: torch.Tensor, memory: bool) -> tuple[str, str] | None:
    """Why a tensor cannot be written, or once it has been given memory."""
    return memory_problem(tensor) if memory else form_problem(tensor)


def _check_before(plan: Plan, name: str, entry: Entry | None) -> None:
    """A tensor that the model's own code changes is as it was when the plan was made, or changed already."""
    before = plan.before_code[name]
    item = plan.parameters.get(name) or plan.buffers.get(name)
    if entry is None:
        if before is None or item is None:
            return
        raise ApplyError(
            f"The plan was made for a model that has {name!r} before its own code runs; this one lacks it.",
            fix="Plan this model.",
        )
    fits = [(each.shape, each.dtype) for each in (before, item) if each is not None]
    if (entry.shape, dtype_name(entry.tensor.dtype)) not in fits:
        known = before or item
        assert known is not None
        raise ApplyError(
            f"The plan was made for {known.dtype} of shape {known.shape}, and this model has "
            f"{dtype_name(entry.tensor.dtype)} of shape {entry.shape}.",
            fix="Plan this model.",
            **_about(entry),
        )


def _check_make_up(plan: Plan, names: Names) -> None:
    """Where the code that changes which tensors there are will not run, it must have run already."""
    if not plan.before_code:
        return
    known = make_up_of(names)
    for name, before in plan.before_code.items():
        canonical = plan.aliases.get(name, name)
        item = plan.parameters.get(canonical) or plan.buffers.get(canonical)
        here = known.get(name)
        wanted = None if item is None else (item.shape, item.dtype, canonical)
        if wanted == (None if here is None else (here.shape, here.dtype, here.canonical)):
            continue
        change = (
            "makes" if before is None else "takes away" if item is None else "gives another shape or type to"
        )
        if canonical != name:
            change = f"makes one with {canonical!r} what is"
        if plan.record is not None:
            raise ApplyError(
                f"The traced code {change} {name!r}, and a plan writes tensors and no more.",
                parameter=name,
                fix="Apply it to a model on which the code has run, or trace the code that builds the model.",
            )
        raise ApplyError(
            f"The model's own code {change} {name!r}, and here it cannot run: the plan was read from JSON, "
            "or is that of a ledger, or the model is sharded.",
            parameter=name,
            fix="Plan the model again, and initialize it before it is sharded.",
        )


def _about(entry: Entry) -> dict[str, Any]:
    return {"parameter": entry.name, "shape": entry.shape}


def _check_item(item: Assignment, entry: Entry, fitting: set[tuple[object, ...]]) -> None:
    key = id(item.value), item.shape, item.dtype, entry.shape, entry.tensor.dtype
    if key not in fitting:
        _check_kind(item, entry)
        fitting.add(key)
    if isinstance(item.value, Keep) and waits(entry.tensor):
        raise ApplyError(
            "The plan keeps this parameter as it is, but the model was built deferred: it holds nothing yet.",
            fix="Plan this model: initcfg.plan(model).",
            **_about(entry),
        )


def _check_kind(item: Assignment, entry: Entry) -> None:
    """Shape and type must be those of the plan, and hold its value."""
    dtype = dtype_name(entry.tensor.dtype)
    if item.shape != entry.shape or item.dtype != dtype:
        fix = "Plan this model."
        if item.shape == entry.shape:
            fix = (
                f"Trace the build with the change of dtype: initcfg.trace(lambda: build().to(torch.{dtype}))."
            )
        raise ApplyError(
            f"The plan was made for {item.dtype} of shape {item.shape}, and this model has {dtype} of shape "
            f"{entry.shape}.",
            fix=fix,
            **_about(entry),
        )
    found = value_problem(item.value, entry.shape, entry.tensor.dtype)
    if found is not None:
        raise ApplyError(f"{item.value} cannot be written: {found}.", where=item.rule, **_about(entry))


def _check_batches(plan: Plan, items: Mapping[str, Assignment], rng: str) -> None:
    """What waits for a batch must have one, and numbers that it can be measured with again."""
    for item in items.values():
        if not isinstance(item.value, FromBatch):
            continue
        if plan.tape is None:
            raise ApplyError(
                f"The plan was read from JSON, and {item.value} needs a batch, which JSON cannot carry.",
                parameter=item.name,
                fix="Plan the model again; or apply the finished plan that the ledger of an earlier run has, "
                "ledger.plan.",
            )
        if rng == "torch":
            raise ApplyError(
                f"{item.value} draws, measures and draws again, and rng='torch' gives no number twice.",
                where=item.rule,
                parameter=item.name,
                fix="Use rng='stream'.",
            )


def _check_sharded(
    plan: Plan, items: Mapping[str, Assignment], sharded: Sequence[Entry], rng: str, has_code: bool
) -> None:
    """What only whole tensors allow."""
    if not sharded:
        return
    if rng == "torch":
        raise ApplyError(
            "Some parameters are sharded, and torch's generator draws whole tensors one after another.",
            fix="Use rng='stream', which makes each shard alone.",
            **_about(sharded[0]),
        )
    if plan.tape is not None and plan.tape.calls and has_code:
        call = plan.tape.calls[0][1]
        raise ApplyError(
            f"{call.code} of {call.module or 'the model'} would run when the plan is applied, since what it "
            "does could not be said as values; and some parameters are sharded, which it does not know.",
            fix="Initialize before sharding, or say what it does by rules.",
            **_about(sharded[0]),
        )
    for entry in sharded:
        item = items.get(entry.name)
        if item is None or isinstance(item.value, Keep):
            continue
        if isinstance(item.value, FromBatch):
            raise ApplyError(
                f"{item.value} is sharded, and a batch is to run through the whole model first.",
                where=item.rule,
                fix="Apply the plan to the model before it is sharded, or to another one, and then the "
                "finished plan, ledger.plan, to this one.",
                **_about(entry),
            )
        if isinstance(item.value, Computed):
            raise ApplyError(
                f"{item.value} is sharded, and it was computed while the model was built, from random "
                "numbers that each rank drew for itself.",
                fix="Give it a rule.",
                **_about(entry),
            )
        try:
            for tensor in entry.stored:
                local_blocks(tensor)
        except TensorError as error:
            error.parameter = entry.name
            raise
        if entry.holder is not None and not isinstance(item.value, FromCheckpoint):
            needs_whole = (
                "This weight is parametrized and sharded: what the layer sees is computed from the whole."
            )
        elif isinstance(item.value, Formula) and item.value.begins_with_itself:
            needs_whole = (
                f"{item.value} begins with what the tensor holds, and it is sharded: no rank holds the whole."
            )
        else:
            continue
        fix = "Initialize the model before it is sharded."
        raise TensorError(needs_whole, where=item.rule, fix=fix, **_about(entry))
