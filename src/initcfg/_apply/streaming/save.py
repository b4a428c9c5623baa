"""From a plan to a checkpoint in a folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from initcfg._apply.apply import apply_plan, draw_seed, seed_for
from initcfg._apply.ranks import Agreement
from initcfg._apply.recorded_writes import apart_from_record
from initcfg._apply.streaming.folder import LEDGER, Folder, Identity, seed_in
from initcfg._apply.streaming.items import DTYPES, Item, Outline, outlined
from initcfg._apply.streaming.making import Maker
from initcfg._apply.streaming.shard_files import DEFAULT_SIZE, Shard, parsed_size, shards, weight_map
from initcfg._apply.streaming.world import ALONE, World, world_of
from initcfg._apply.streaming.writer import Writer
from initcfg._model import fewer_collections
from initcfg._plan import Ledger, Plan, Written
from initcfg._stream import check_settings
from initcfg._stream.bits import STREAM_VERSION, seed_number
from initcfg._stream.writing import limited_threads, threads_for
from initcfg._version import __version__
from initcfg.errors import OutputError

FORMATS = ("safetensors", "dcp")


@dataclass(frozen=True)
class Options:
    """How a checkpoint is written: see :meth:`Plan.save_weights`.

    ``checked``: the files that an earlier run finished are read, and compared with their digests.

    ``threads``: how many compute, or how many cores they leave to others if negative.

    ``progress`` is told how many bytes were written, now and then, in some thread.
    """

    shard_size: str | int | None = None
    dtype: str | None = None
    format: str = "safetensors"
    rng: str = "stream"
    overwrite: bool = False
    checked: bool = True
    dcp_key: str | None = None
    threads: int | None = None
    progress: Callable[[int], None] | None = None

    def check(self) -> None:
        """Raise OutputError unless they make sense."""
        if self.threads is not None:
            threads_for(self.threads)
        if self.format not in FORMATS:
            raise OutputError(f"{self.format!r} is not a format of a checkpoint.", meant=FORMATS)
        if self.dtype is not None and self.dtype not in DTYPES:
            raise OutputError(f"{self.dtype!r} is not a type for weights.", meant=DTYPES)
        if self.dcp_key is not None and self.format != "dcp":
            raise OutputError("A key for the weights is for the format 'dcp'.", fix="Add --format dcp.")
        if self.shard_size is not None:
            parsed_size(self.shard_size)
            if self.format == "dcp":
                raise OutputError(
                    "Shard sizes are for the format 'safetensors'; with 'dcp', each rank writes one file.",
                    fix="Omit --shard-size.",
                )


@dataclass(frozen=True)
class SavedFile:
    """A file; ``tensors`` is None where it holds pieces; what is ``kept``, an earlier run had finished."""

    name: str
    size: int
    tensors: int | None
    kept: bool = False


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was written: its files with tensors, what is in them, and how it was made.

    ``written`` is the number of bytes that were written now. If it was ``there``, whole, nothing was done.
    """

    folder: str
    ledger: Ledger
    files: tuple[SavedFile, ...]
    outline: Outline
    seconds: float
    written: int
    there: bool = False

    @property
    def ledger_path(self) -> str:
        """Path of the ledger."""
        return os.path.join(self.folder, LEDGER)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    def ways(self) -> dict[str, tuple[int, int]]:
        """For each way of making a tensor: how many tensors were made so, and their bytes."""
        found: dict[str, tuple[int, int]] = {}
        for item in self.outline.items:
            count, size = found.get(item.way, (0, 0))
            found[item.way] = count + 1, size + item.size
        return found


def save_planned_weights(
    plan: Plan,
    model: nn.Module,
    directory: str | Path,
    *,
    seed: int | None,
    process_group: Any = None,
    **options: Any,
) -> Ledger:
    """See :meth:`Plan.save_weights`; the options are those of :class:`Options`."""
    with apart_from_record(model, looking=True, draws=seed is None):
        world = world_of(process_group)
        return save_plan(plan, model, directory, seed=seed, options=Options(**options), world=world).ledger


def save_plan(
    plan: Plan,
    model: nn.Module,
    directory: str | Path,
    *,
    seed: int | None,
    options: Options,
    world: World = ALONE,
) -> Saved:
    """Write the checkpoint of a planned model, without the model: see :meth:`Plan.save_weights`.

    Without a seed it is that of what is in the folder, else drawn. The ranks of ``world`` share the work.
    """
    options.check()
    if not isinstance(directory, (str, os.PathLike)):
        raise OutputError(
            f"The folder is given by its path, not by a {type(directory).__name__}.",
            fix="Write plan.save_weights(directory, model).",
        )
    with limited_threads(options.threads), fewer_collections():
        return _saved(plan, model, Path(directory), seed, options, world)


def _saved(
    plan: Plan, model: nn.Module, path: Path, seed: int | None, options: Options, world: World
) -> Saved:
    begun = time.perf_counter()
    seed = seed_for(plan, seed)

    def draw() -> int:
        found = None if options.overwrite else seed_in(path)
        return draw_seed() if found is None else found

    applied = None
    if plan.before_code:
        # Which tensors there are is known when the model's own code has run.
        if seed is None and world.size > 1:
            raise OutputError(
                "The model's own code changes which tensors there are, and each rank runs it first.",
                fix="Give the seed.",
            )
        seed = draw() if seed is None else seed
        applied = apply_plan(plan, model, seed=seed, rng=options.rng)
    outline = outlined(plan, model, dtype=options.dtype, rng=options.rng)

    with contextlib.ExitStack() as stack:
        with Agreement(world.sets) as agreement:
            check_settings()
            facts = asdict(_work(outline, options, world, 0).identity)
            del facts["seed"]
            facts = {"initcfg": __version__, **{name: str(item) for name, item in facts.items()}}
            seed = None if seed is None else seed_number(seed)
            seed = agreement.on(facts, seed=seed, draw=draw, details=outline.plan.digests)
            work = _work(outline, options, world, seed)
            folder = Folder(path, work.identity, check=options.checked)
            if world.first:
                stack.enter_context(folder)
                there = None if options.overwrite else folder.complete(work.shards, work.tensors)
                if there is None:
                    folder.begin(work.shards, size=work.size, overwrite=options.overwrite)
        if not folder.unfinished():
            ledger = Ledger.load(path / LEDGER)
            return Saved(str(path), ledger, _files(work, path, work.shards), outline, 0.0, 0, there=True)
        try:
            kept = folder.kept(work.shards)
            with contextlib.closing(Maker(plan, model, outline, seed, options.rng, applied)) as maker:
                ledger = _written(maker, folder, work, kept)
        except BaseException:
            if world.first:
                folder.give_up(work.shards, alone=world.size == 1)
            raise
    files = _files(work, path, kept)
    written = sum(file.size for file in files if not file.kept)
    return Saved(str(path), ledger, files, outline, time.perf_counter() - begun, written)


@dataclass(frozen=True)
class _Work:
    """What is to be written and by whom, into which files of safetensors; of DCP into none of these."""

    outline: Outline
    options: Options
    world: World
    identity: Identity
    shards: tuple[Shard, ...]
    metadata: Mapping[str, str]

    @property
    def tensors(self) -> dict[str, Item]:
        return {key: item for item in self.outline.items for key in (item.key, *item.others)}

    @property
    def size(self) -> int:
        return sum(each.size for each in self.shards or self.tensors.values())


def _work(outline: Outline, options: Options, world: World, seed: int) -> _Work:
    metadata = {"initcfg.digest": outline.plan.digest, "initcfg.seed": str(seed)}
    if options.format == "dcp":
        files, division = (), [(options.dcp_key or "", outline.items)]
    else:
        most = parsed_size(options.shard_size or DEFAULT_SIZE)
        files = tuple(shards(outline.items, most, {"format": "pt", **metadata}))
        division = [(shard.name, shard.items) for shard in files]
    layout = [
        [name, [[item.key, *item.others, str(item.dtype), *item.shape] for item in items]]
        for name, items in division
    ]
    tensors = hashlib.sha256(json.dumps(layout).encode()).hexdigest()
    identity = Identity(outline.plan.digest, seed, options.rng, STREAM_VERSION, options.format, tensors)
    return _Work(outline, options, world, identity, files, metadata)


def _written(maker: Maker, folder: Folder, work: _Work, kept: Sequence[Shard]) -> Ledger:
    """Write, each rank its part, and finish."""
    seed, world = work.identity.seed, work.world
    with Agreement(world.sets) as agreement:
        agreement.on({"part": "writing"}, seed=seed, draw=lambda: seed)

        def told(count: int) -> None:
            agreement.check()
            if work.options.progress is not None:
                work.options.progress(count)

        if work.options.format == "dcp":
            accounts = _write_chunks(folder.path, maker, work, told)
        else:
            accounts = _write_shards(folder.path, maker, work, kept, told)
    gathered = world.gathered(accounts)
    ledger = maker.ledger({name: each for found in gathered for name, each in found.items()})
    with Agreement(world.sets):
        if world.first:
            folder.finish(ledger, _index(work) if len(work.shards) > 1 else None)
    return ledger


def _write_shards(
    path: Path, maker: Maker, work: _Work, kept: Sequence[Shard], told: Callable[[int], None]
) -> dict[str, Written]:
    mine = work.world.share([shard for shard in work.shards if shard not in kept])
    # What lies in files that were whole before has an account, too.
    known = kept if work.world.first else []
    items = [item for shard in (*mine, *known) for item in shard.items]
    maker.prepare(items)
    for shard in known:
        told(shard.size)
        maker.survey(shard.items)
    asked = work.options.threads
    with Writer(path, maker, told, threads=None if asked is None else threads_for(asked)) as writer:
        for shard in mine:
            writer.write(shard)
    return maker.accounts(items)


def _write_chunks(path: Path, maker: Maker, work: _Work, told: Callable[[int], None]) -> dict[str, Written]:
    from initcfg._apply.streaming.dcp_writer import chunks, share, write_dcp

    mine = share(chunks(work.outline.items), work.world)
    items = list(dict.fromkeys(chunk.item for chunk in mine))
    maker.prepare(items)
    write_dcp(path, maker, mine, prefix=work.options.dcp_key, world=work.world, told=told)
    return maker.accounts(items)


def _index(work: _Work) -> dict[str, Any]:
    elements = sum(item.elements for item in work.outline.items)
    metadata = {"total_size": work.outline.size, "total_parameters": elements, **work.metadata}
    return {"metadata": metadata, "weight_map": weight_map(work.shards)}


def _files(work: _Work, path: Path, kept: Sequence[Shard]) -> tuple[SavedFile, ...]:
    if work.options.format == "dcp":
        return tuple(
            SavedFile(each.name, each.stat().st_size, None) for each in sorted(path.glob("*.distcp"))
        )
    return tuple(SavedFile(shard.name, shard.size, len(shard.items), shard in kept) for shard in work.shards)
