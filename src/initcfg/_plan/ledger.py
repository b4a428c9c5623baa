"""The ledger: what apply did, tensor by tensor. Exact: it is written as the writes are made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from initcfg._config.files import write_atomically
from initcfg._model import doors
from initcfg._plan.as_json import plain, record_to_json
from initcfg._plan.frozen import Frozen, renamed
from initcfg._plan.loads import Load, Loaded
from initcfg._plan.reading import (
    check_aliases,
    check_known,
    check_tensor,
    check_tune,
    json_of,
    loads_of,
    read_whole,
)
from initcfg.errors import PlanError, as_annotated, plural, render
from initcfg.values import Constant, Keep, Misfit, Value, record, typed

if TYPE_CHECKING:
    import torch

    from initcfg._plan.plan import Plan

FORMAT = "initcfg-ledger"
VERSION = 1
# What stands in JSON before the tensors.
_HEAD: dict[str, Any] = {
    "rng": Literal["stream", "torch"],
    "seed": int | None,
    "stream_version": int | None,
    "plan_digest": str,
    "versions": Mapping[str, str],
    "aliases": Mapping[str, str],
}


Writer = Literal["rule", "default", "code", "nobody"]
"""Who wrote a tensor."""


@dataclass(frozen=True)
class Written(Frozen):
    """What one tensor got.

    Attributes:
        name: Canonical name.
        shape: Its shape.
        dtype: Its data type.
        by: ``"rule"``, ``"default"`` (its constructor's value, written by the plan of a deferred build),
            ``"code"`` (a user's own code) or ``"nobody"`` (it keeps what its constructor wrote).
        value: What a rule or default wrote last, or what the code's writes mean where the stream did them;
            :class:`Keep` if there is neither.
        rule: Path of that rule; the constructor, for a default.
        initializer: Type and arguments of its initializer.
        code: The user's code that wrote last, if any did.
        operations: How that code wrote: the in-place operations in order (``aten.normal_``); ``data`` if it
            gave the tensor other memory (``p.data = t``), ``new`` if it put another tensor under the name,
            ``memory`` if it wrote through NumPy or an address.
        altered: For a parametrized weight: its parametrization makes something else of what was written
            (spectral_norm divides by the norm, orthogonal takes the nearest such matrix).
        loaded: For a tensor from a checkpoint: what was read, and how it was made to fit.
        computed: For a value that a batch of data decided: how.
        meant: The value is what the code's writes mean, and was made by the stream; without it, nobody but
            that code knows what it wrote.
        buffer: Whether it is a buffer.
        tune: Multipliers of the optimizer's numbers, which go with the value.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    by: Writer = "nobody"
    value: Value = field(default_factory=Keep)
    rule: str | None = None
    initializer: Mapping[str, Any] | None = None
    code: str | None = None
    operations: tuple[str, ...] = ()
    altered: bool = False
    loaded: Loaded | None = None
    computed: str | None = None
    meant: bool = False
    buffer: bool = False
    tune: Mapping[str, float | str] = field(default_factory=dict)

    def named(self, name: str) -> Written:
        """The same of another tensor."""
        return renamed(self, name)


@dataclass(frozen=True)
class KeptBuffer(Frozen):
    """What a constructor left in a buffer that a ``state_dict`` has, and that nobody wrote.

    Attributes:
        shape: Its shape.
        dtype: Its data type.
        value: The one number that it holds everywhere; None if there are several.
        sha256: Then the digest of its numbers.
    """

    shape: tuple[int, ...]
    dtype: str
    value: Value | None = None
    sha256: str | None = None


@as_annotated(PlanError)
@dataclass(frozen=True)
class Ledger(Frozen, Mapping[str, Written]):
    """What apply did: a mapping from canonical name to :class:`Written`, parameters then buffers.

    Attributes:
        entries: One entry a tensor.
        rng: ``"stream"`` or ``"torch"``.
        seed: The seed; under ``rng="torch"`` the one torch's generator was seeded with, if any.
        stream_version: Version of the stream; None under ``rng="torch"``.
        plan_digest: Digest of the plan that was carried out.
        aliases: Other names of tied tensors.
        versions: Versions of initcfg and torch.
        loads: The account of each checkpoint.
        drawn_by: The rank that drew the seed, in a job whose ranks did not agree on one: what DDP sends it
            later has the seed of rank 0. None otherwise.
        kept: Buffers that nobody wrote, as far as a file has them and they are not large: what they hold.
        unsaved: Buffers that were written, and that no ``state_dict`` has.
    """

    entries: Mapping[str, Written]
    rng: str
    seed: int | None
    stream_version: int | None
    plan_digest: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    loads: tuple[Load, ...] = ()
    drawn_by: int | None = None
    kept: Mapping[str, KeptBuffer] = field(default_factory=dict)
    unsaved: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Of buffers that nobody wrote, a ledger says nothing.
        there = {name: of for name, of in self.aliases.items() if of in self.entries}
        object.__setattr__(self, "aliases", there)
        super().__post_init__()

    def __getitem__(self, name: str) -> Written:
        return self.entries[self.aliases.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        drawn = "torch's generator" if self.rng == "torch" else f"seed {self.seed}"
        return f"<Ledger of {plural(len(self), 'tensor')}, {drawn}>"

    def __str__(self) -> str:
        from initcfg._plan.report import ledger_view

        return render(ledger_view(self))

    def _repr_html_(self) -> str:
        from initcfg._plan.report.html import ledger_short

        return ledger_short(self)

    def to_html(self, path: str | Path | None = None, lang: str = "en") -> str:
        """The ledger as a page; see :meth:`Plan.to_html`."""
        from initcfg._plan.report.html import ledger_page

        return ledger_page(self, path, lang)

    def summary(self) -> dict[str, int]:
        """The ledger as flat numbers, for loggers: how many tensors and elements, by whom, of which kinds.

        Example:
            >>> import initcfg
            >>> from torch import nn
            >>> ledger = initcfg.init_weights(nn.Linear(2, 1), dict(type="Normal", layer="Linear"), seed=0)
            >>> found = ledger.summary()
            >>> found["tensors"], found["elements/by_rule"], found["kind/Normal"]
            (2, 3, 1)
        """
        from initcfg._plan.report import ledger_summary

        return ledger_summary(self)

    def written(self) -> list[str]:
        """Names of the tensors that somebody wrote."""
        return [name for name, entry in self.entries.items() if entry.by != "nobody"]

    def tensor(self, name: str, *, block: Sequence[slice] | None = None) -> torch.Tensor:
        """One tensor as it was written, made again without the model: see :meth:`Plan.tensor`.

        Raises:
            PlanError: There is no such tensor; torch's generator drew it; it was kept, or code wrote it; or
                its checkpoint is gone, or has changed since.

        Example:
            >>> import initcfg
            >>> from torch import nn
            >>> model = nn.Linear(4, 2)
            >>> ledger = initcfg.init_weights(model, dict(type="Xavier", layer="Linear"))
            >>> bool((ledger.tensor("weight") == model.weight).all())
            True
        """
        return doors.make_tensor(self, name, block=block)

    @property
    def plan(self) -> Plan:
        """What was done, as a plan: applied with the same seed, it gives the same bits, and needs no data.

        What a batch of data decided stands in it as numbers, which are right for that seed alone.

        Raises:
            PlanError: The numbers came from torch's generator.
        """
        from initcfg._plan.finished import finished_plan

        return finished_plan(self)

    def to_json(self) -> dict[str, Any]:
        """The ledger as JSON data."""
        head = {"format": FORMAT, "version": VERSION}
        head |= {name: plain(getattr(self, name)) for name in _HEAD}
        loads = {"loads": [load.to_json() for load in self.loads]} if self.loads else {}
        drawn = {} if self.drawn_by is None else {"drawn_by": self.drawn_by}
        about = ("value", "sha256")
        kept = {name: record_to_json(each, unless_empty=about) for name, each in self.kept.items()}
        tensors = {name: _to_json(entry) for name, entry in self.entries.items()}
        last = {"kept": kept, "unsaved": list(self.unsaved)}
        return {
            **head,
            **drawn,
            **loads,
            "tensors": tensors,
            **{key: each for key, each in last.items() if each},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Ledger:
        """The ledger that :meth:`to_json` wrote.

        Raises:
            PlanError: ``data`` is not a ledger.
        """
        return read_whole(data, "ledger", FORMAT, VERSION, _ledger_of)

    def save(self, path: str | Path) -> None:
        """Write the ledger as JSON; the file appears whole or not at all."""
        write_atomically(path, (json.dumps(self.to_json(), indent=1) + "\n").encode())

    @staticmethod
    def load(path: str | Path) -> Ledger:
        """The ledger in a JSON file, or in the metadata of a safetensors file.

        Raises:
            PlanError: The file holds none.
        """
        if not os.path.exists(path):
            raise PlanError(f"There is no file {str(path)!r}.", fix="Check the path.")
        if not os.path.isfile(path):
            # To open a pipe is to wait for whoever writes to it.
            raise PlanError(
                f"{str(path)!r} is not a file.", fix="Give a plan or a ledger that initcfg wrote."
            )
        try:
            text = _text_of(path)
        except (OSError, ValueError) as error:
            if isinstance(error, PlanError):
                raise
            raise PlanError(
                f"{str(path)!r} holds no ledger: {error}.", fix="Give a plan or a ledger that initcfg wrote."
            ) from error
        return Ledger.from_json(json_of(text, str(path)))


def _ledger_of(data: Mapping[str, Any]) -> Ledger:
    check_known(data, (*_HEAD, "tensors"), ("loads", "drawn_by", "kept", "unsaved"))
    read: dict[str, Any] = {}
    optional = {"drawn_by": int | None} if "drawn_by" in data else {}
    for name, type_ in (_HEAD | optional).items():
        try:
            read[name] = typed(data[name], type_, name)
        except Misfit as misfit:
            raise misfit.inside(name) from misfit
    if read["seed"] is not None and not 0 <= read["seed"] < 1 << 64:
        raise Misfit("A seed is from 0 to 2**64 - 1.", under=("seed",))
    if (read.get("drawn_by") or 0) < 0:
        raise Misfit("A rank is 0 or more.", under=("drawn_by",))
    if (read["stream_version"] is None) != (read["rng"] == "torch"):
        raise Misfit("The stream has a version, and torch's generator has none.", under=("stream_version",))
    try:
        entries = _entries_of(data["tensors"])
    except Misfit as misfit:
        raise misfit.inside("tensors") from misfit
    check_aliases(read["aliases"], entries)
    try:
        kept = _kept_of(data.get("kept", {}), entries)
    except Misfit as misfit:
        raise misfit.inside("kept") from misfit
    try:
        unsaved = typed(data.get("unsaved", []), tuple[str, ...], "unsaved")
        if not all(name in entries and entries[name].buffer for name in unsaved):
            raise Misfit("Those that no state_dict has are buffers that were written.")
    except Misfit as misfit:
        raise misfit.inside("unsaved") from misfit
    loads = loads_of(data.get("loads", ()))
    return Ledger(entries, loads=loads, kept=kept, unsaved=unsaved, **read)


def _kept_of(data: Any, entries: Mapping[str, Written]) -> dict[str, KeptBuffer]:
    if not isinstance(data, Mapping):
        raise Misfit("The buffers that were kept are an object.")
    found: dict[str, KeptBuffer] = {}
    for name, item in data.items():
        try:
            each = found[name] = record(KeptBuffer, item)
            check_tensor(each.shape, each.dtype, each.value)
            if (each.value is None) == (each.sha256 is None) or not isinstance(each.value, Constant | None):
                raise Misfit("A buffer that was kept has one number, a Constant, or a sha256.")
            if name in entries:
                raise Misfit("A tensor that was written was not kept.")
        except Misfit as misfit:
            raise misfit.inside(name) from misfit
    return found


def _entries_of(data: Any) -> dict[str, Written]:
    if not isinstance(data, Mapping):
        raise Misfit("The tensors are an object.")
    entries: dict[str, Written] = {}
    for name, item in data.items():
        try:
            entry = entries[name] = record(Written, item, name=name)
            check_tensor(entry.shape, entry.dtype, entry.value)
            check_tune(entry.tune)
        except Misfit as misfit:
            raise misfit.inside(name) from misfit
    return entries


def carries_ledger(path: str | Path) -> bool:
    """Whether the metadata of a safetensors file have a ledger."""
    return "initcfg.ledger" in _metadata(path)


def _text_of(path: str | Path) -> str:
    if not str(path).endswith(".safetensors"):
        return Path(path).read_text(encoding="utf-8")
    metadata = _metadata(path)
    if "initcfg.ledger" not in metadata:
        raise PlanError(
            f"{str(path)!r} carries no ledger.", fix="Give --plan FILE.json, or --config CONFIG and --seed N."
        )
    return metadata["initcfg.ledger"]


def _metadata(path: str | Path) -> Mapping[str, str]:
    """What a safetensors file says of itself."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as opened:
            return opened.metadata() or {}
    except SafetensorError as error:
        raise PlanError(f"{str(path)!r} is damaged: {error}.", fix="Fetch or save it again.") from error


def _to_json(entry: Written) -> dict[str, Any]:
    """An entry; its operations, even if there are none, are told with the code."""
    without = ("name",) if entry.code else ("name", "code", "operations")
    unless_empty = ("altered", "loaded", "computed", "meant", "buffer", "tune")
    return record_to_json(entry, without=without, unless_empty=unless_empty)
