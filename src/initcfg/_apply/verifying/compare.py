"""Verifying a checkpoint against its plan: which tensors still hold what they began with."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping

import torch

from initcfg._apply.finite import non_finite
from initcfg._apply.kept_buffers import kept_digest
from initcfg._apply.verifying.distance import distance
from initcfg._apply.verifying.initial import InitialValues, UnknownError
from initcfg._apply.verifying.results import Verification, Verified
from initcfg._apply.written_digests import changed_files
from initcfg._checkpoints import OpenedCheckpoint, prefixes_of, without_wrappers
from initcfg._plan import Assignment, KeptBuffer, Ledger, Plan, Written, weight_of
from initcfg._stream.bits import STREAM_VERSION, seed_number
from initcfg._stream.writing import same_bits
from initcfg.errors import CheckpointError, ConfigError, InitcfgError, nearest, plural
from initcfg.values import Constant, FromCheckpoint, Keep, Opaque, Originals, Value, dtype_name, formulas_in

Item = Assignment | Written


def verified(
    reader: OpenedCheckpoint,
    planned: Plan | Ledger,
    seed: int | None = None,
    *,
    fetch: bool = False,
    kept: Mapping[str, KeptBuffer] | None = None,
    unsaved: Collection[str] = (),
    plain: bool = False,
) -> Verification:
    """Compare each tensor of a checkpoint with what it began with.

    Values are made again from seed and name; what was loaded is read again from its source, if that is what
    it was. One tensor is in memory at a time. Without a seed it is that of the ledger. ``fetch``: sources
    that are not on this machine may be fetched. ``kept``: what constructors left in buffers, where the model
    was at hand, and ``unsaved``, buffers that no file stores; a ledger has both itself. ``plain``: it is the
    checkpoint's own, in which formulas are an error.
    """
    seed = planned.seed if seed is None else seed
    seed = None if seed is None else seed_number(seed)
    _check_stream(planned)
    items: Mapping[str, Item] = (
        {**planned.parameters, **planned.buffers} if isinstance(planned, Plan) else planned.entries
    )
    if seed is None and any(item.value.random for item in items.values()):
        raise CheckpointError("There is no seed to make the planned values from.", fix="Give it: --seed N.")
    kept = planned.kept if isinstance(planned, Ledger) else kept or {}
    keys = _keys(reader, planned, items, kept)
    unsaved = planned.unsaved if isinstance(planned, Ledger) else unsaved
    if plain:
        _check_plain(reader, items, [*keys.of, *keys.stored_as])
    buffers = planned.buffers if isinstance(planned, Plan) else _buffers(planned)
    found: list[Verified] = []
    with contextlib.closing(InitialValues(planned.loads, seed, fetch=fetch)) as initial:
        for name, item in items.items():
            if name in keys.of:
                found.append(_compared(reader, initial, name, keys.of[name], item))
            elif name in keys.stored_as:
                found += _compared_originals(reader, initial, name, keys.stored_as[name], item)
            elif isinstance(item.value, Keep) or name in unsaved:
                # It may be a buffer that no file stores, and it would say nothing.
                continue
            elif name in buffers:
                found.append(Verified(name, "unknown", detail="a buffer, which the file does not store"))
            else:
                found.append(Verified(name, "missing"))
        found += [_compared_kept(reader, name, key, kept[name]) for name, key in keys.kept.items()]
    for key in keys.unplanned:
        try:
            counts = _nan_and_inf(reader.read(key))
        except CheckpointError as error:
            found.append(Verified(key, "unplanned", detail=_unreadable(error)))
        else:
            found.append(Verified(key, "unplanned", nan=counts[0], inf=counts[1]))
    return Verification(tuple(found), seed, () if reader.path is None else changed_files(reader.path))


def _check_plain(reader: OpenedCheckpoint, items: Mapping[str, Item], names: Iterable[str]) -> None:
    """A ledger out of the checkpoint itself is data, and nothing that is computed."""
    found = [name for name in names if formulas_in(items[name].value)]
    if found:
        raise ConfigError(
            f"The ledger of {reader.name!r} itself has formulas, for {plural(len(found), 'tensor')} such as "
            f"{found[0]!r}: operations of torch that whoever wrote the file chose.",
            fix="If you trust it, add --trust-ledger; or give a plan or ledger of your own: --plan FILE.",
        )


def _check_stream(planned: Plan | Ledger) -> None:
    if isinstance(planned, Plan):
        return
    if planned.rng != "stream":
        raise CheckpointError(
            "These weights were drawn by torch's generator, which cannot make one tensor's numbers again.",
            fix="Compare two files: initcfg diff --values A B; or initialize with rng='stream'.",
        )
    if planned.stream_version != STREAM_VERSION:
        raise CheckpointError(
            f"These weights were drawn by version {planned.stream_version} of the stream; this package knows "
            f"version {STREAM_VERSION}.",
            fix="Use the version of initcfg that wrote them.",
        )


class _Keys:
    """Which keys of a checkpoint are which planned tensors.

    ``of`` has the key of a name, ``stored_as`` the keys that a parametrization stores a weight as, ``kept``
    those of buffers that constructors filled.
    """

    def __init__(
        self, of: dict[str, str], stored_as: dict[str, list[str]], kept: dict[str, str], unplanned: list[str]
    ) -> None:
        self.of, self.stored_as, self.kept, self.unplanned = of, stored_as, kept, unplanned


def _keys(
    reader: OpenedCheckpoint, planned: Plan | Ledger, items: Mapping[str, Item], buffers: Collection[str]
) -> _Keys:
    keys = list(reader.keys())
    known = {**dict.fromkeys(items), **dict.fromkeys(planned.aliases), **dict.fromkeys(buffers)}
    before = prefixes_of(keys, [*known, *(key for key in keys if weight_of(key) in known)])
    # Names as the plan has them; what is not below the prefix keeps its own.
    named: dict[str, str] = {}
    for key in keys:
        if key.startswith(before.a):
            named.setdefault(before.b + key[len(before.a) :], key)
    named = without_wrappers(named, known)
    # Of a tied tensor, a file may have another name.
    tied = {name: named[alias] for alias, name in reversed(dict(planned.aliases).items()) if alias in named}
    of = {name: named.get(name) or tied[name] for name in items if name in named or name in tied}
    stored_as: dict[str, list[str]] = {}
    for name, key in named.items():
        weight = weight_of(name)
        if weight != name and weight in items and weight not in of:
            stored_as.setdefault(weight, []).append(key)
    if not of and not stored_as:
        name = next(iter(items), "")
        raise CheckpointError(
            f"No key of {reader.name!r} is the name of a planned tensor: keys are like "
            f"{min(keys, default=None)!r}, names like {name!r}.",
            meant=nearest(name, keys),
        )
    used = {*of.values(), *(key for each in stored_as.values() for key in each)}
    used |= {named[alias] for alias in planned.aliases if alias in named}
    kept = {name: named[name] for name in buffers if name in named and named[name] not in used}
    used.update(kept.values())
    return _Keys(of, stored_as, kept, [key for key in keys if key not in used])


def _buffers(ledger: Ledger) -> set[str]:
    return {name for name, entry in ledger.entries.items() if entry.buffer}


def _value(item: Item) -> Value:
    if isinstance(item, Written) and item.by == "code":
        # What code wrote over a rule's value, it need not have written in words.
        return Opaque(item.code or "code", item.value)
    return item.value


def _compared(reader: OpenedCheckpoint, initial: InitialValues, name: str, key: str, item: Item) -> Verified:
    planned, there = tuple(item.shape), reader.info(key).shape
    if there != planned:
        return Verified(name, "shape", detail=f"planned {list(planned)}, there {list(there)}")
    return _against(reader, initial, name, key, _value(item), item.dtype)


def _compared_kept(reader: OpenedCheckpoint, name: str, key: str, kept: KeptBuffer) -> Verified:
    """A buffer beside what its constructor left in it."""
    try:
        tensor = reader.read(key)
    except CheckpointError as error:
        return Verified(name, "unknown", detail=_unreadable(error))
    if tuple(tensor.shape) != kept.shape:
        return Verified(name, "shape", detail=f"built as {list(kept.shape)}, there {list(tensor.shape)}")
    bad = _nan_and_inf(tensor)
    if isinstance(kept.value, Constant):
        made = torch.full(kept.shape, kept.value.val, dtype=getattr(torch, kept.dtype), device="cpu").to(
            tensor.dtype
        )
        if same_bits(made, tensor):
            return Verified(name, "initial", 0.0, 0.0, *bad, "as its constructor left it")
        return _changed(name, made, tensor, bad, "its constructor")
    if kept.dtype != dtype_name(tensor.dtype):
        return Verified(name, "unknown", None, None, *bad, f"built as {kept.dtype}, by code")
    if kept_digest(tensor) == kept.sha256:
        return Verified(name, "initial", 0.0, 0.0, *bad, "as its constructor left it")
    return Verified(name, "changed", None, None, *bad, "its constructor left other numbers")


def _compared_originals(
    reader: OpenedCheckpoint, initial: InitialValues, name: str, keys: list[str], item: Item
) -> list[Verified]:
    """What a parametrization stores, which is not what the plan says of the weight; but if it was loaded."""
    value = item.value
    if not isinstance(value, Originals) or len(value.values) != len(keys):
        why = "stored by a parametrization, from which only the model makes the weight"
        return [_unknown(reader, key, why) for key in keys]
    pairs = zip(sorted(keys), value.values, strict=True)
    return [_against(reader, initial, key, key, each, item.dtype) for key, each in pairs]


def _against(
    reader: OpenedCheckpoint, initial: InitialValues, name: str, key: str, value: Value, dtype: str
) -> Verified:
    """A tensor beside what its value makes; ``dtype`` is the type that it was planned in."""
    try:
        tensor = reader.read(key)
    except CheckpointError as error:
        return Verified(name, "unknown", detail=_unreadable(error))
    if not tensor.numel():
        return Verified(name, "initial", 0.0, 0.0)
    nan, inf = _nan_and_inf(tensor)
    # Code may have left alone what was there before.
    before = value.over if isinstance(value, Opaque) else value
    source = f"from {before.source}" if isinstance(before, FromCheckpoint) else ""
    try:
        made = initial.tensor(name, before, tuple(tensor.shape), getattr(torch, dtype)).to(tensor.dtype)
    except UnknownError as error:
        why = str(error) if before is value else f"written by code: {value}"
        return Verified(name, "unknown", nan=nan, inf=inf, detail=why)
    except (InitcfgError, RuntimeError) as error:
        if isinstance(error, InitcfgError) and dtype == dtype_name(tensor.dtype):
            raise
        why = f"planned as {dtype}, there {dtype_name(tensor.dtype)}"
        return Verified(name, "unknown", nan=nan, inf=inf, detail=why)
    if same_bits(made, tensor):
        return Verified(name, "initial", 0.0, 0.0, nan, inf, source)
    if before is not value:
        return Verified(name, "unknown", nan=nan, inf=inf, detail=f"written by code: {value}")
    return _changed(name, made, tensor, (nan, inf), source)


def _changed(
    name: str, made: torch.Tensor, tensor: torch.Tensor, bad: tuple[int, int], source: str
) -> Verified:
    apart = distance([(made, tensor)])
    told = [source] if source else []
    if bad == (0, 0) and not apart.start and apart.norm:
        told.append(f"from zero, to a norm of {apart.norm:.2g}")
    elif bad == (0, 0) and not apart.norm:
        told.append("only the sign of zeros, or the bits of NaN")
    if any(bad):
        return Verified(name, "changed", None, None, *bad, ", ".join(told))
    return Verified(name, "changed", apart.relative, apart.norm, *bad, ", ".join(told))


def _unknown(reader: OpenedCheckpoint, key: str, why: str) -> Verified:
    try:
        nan, inf = _nan_and_inf(reader.read(key))
    except CheckpointError as error:
        return Verified(key, "unknown", detail=_unreadable(error))
    return Verified(key, "unknown", nan=nan, inf=inf, detail=why)


def _unreadable(error: CheckpointError) -> str:
    return str(error).partition("\n")[0]


def _nan_and_inf(tensor: torch.Tensor) -> tuple[int, int]:
    """How many elements are NaN, and how many are infinite."""
    bad = non_finite(tensor)
    if not bad:
        return 0, 0
    pieces = tensor.reshape(-1).split(1 << 20)
    nan = sum(int(torch.isnan(each.float() if each.dtype.itemsize == 1 else each).sum()) for each in pieces)
    return nan, bad - nan
