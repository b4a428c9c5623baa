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

from initcfg._apply.apply import draw_seed
from initcfg._apply.ranks import Agreement
from initcfg._apply.streaming.folder import LEDGER, Folder, Identity, seed_in
from initcfg._apply.streaming.items import DTYPES, Item, Outline, outlined
from initcfg._apply.streaming.making import Maker
from initcfg._apply.streaming.ranks import ALONE, Ranks, ranks_of
from initcfg._apply.streaming.shards import DEFAULT_SIZE, Shard, parsed_size, shards, weight_map
from initcfg._apply.streaming.writer import Writer
from initcfg._model import doors
from initcfg._plan import Ledger, Plan, Written
from initcfg._stream.bits import STREAM_VERSION, stream_key
from initcfg._version import __version__
from initcfg.errors import OutputError

FORMATS = ("safetensors", "dcp")


@dataclass(frozen=True)
class Options:
    """How a checkpoint is written.

    Attributes:
        shard_size: Bytes of tensors in a file at most: ``"5GB"``.
        dtype: The type of floating-point tensors; their own if None.
        format: ``"safetensors"`` or ``"dcp"``.
        rng: ``"stream"`` or ``"torch"``.
        overwrite: Whether what is in the folder is removed.
        dcp_key: For ``"dcp"``: key of the table that the tensors are in; None if they are at the top.
        progress: Told how many bytes were written, now and then, in some thread.
    """

    shard_size: str | int | None = None
    dtype: str | None = None
    format: str = "safetensors"
    rng: str = "stream"
    overwrite: bool = False
    dcp_key: str | None = None
    progress: Callable[[int], None] | None = None

    def check(self) -> None:
        """Raise OutputError unless they make sense."""
        if self.format not in FORMATS:
            raise OutputError(f"{self.format!r} is no format of a checkpoint.", meant=FORMATS)
        if self.dtype is not None and self.dtype not in DTYPES:
            raise OutputError(f"{self.dtype!r} is no type for weights.", meant=DTYPES)
        if self.dcp_key is not None and self.format != "dcp":
            raise OutputError("A key for the weights is for the format 'dcp'.", fix="Add --format dcp.")
        if self.shard_size is not None:
            parsed_size(self.shard_size)
            if self.format == "dcp":
                raise OutputError(
                    "Shards of a size are for the format 'safetensors'; of 'dcp', each rank writes one file.",
                    fix="Leave --shard-size away.",
                )


@dataclass(frozen=True)
class File:
    """A file that was written.

    Attributes:
        name: Its name in the folder.
        size: Its size in bytes.
        tensors: How many tensors are in it; None where it holds pieces.
        kept: Whether an earlier run had finished it.
    """

    name: str
    size: int
    tensors: int | None
    kept: bool = False


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was written.

    Attributes:
        folder: Where it is.
        ledger: The ledger, which lies there too.
        files: The files with tensors.
        outline: What is in them, and how it was made.
        seconds: How long it took.
        written: Bytes that were written now.
        there: Whether the whole checkpoint was there already, so that nothing was done.
    """

    folder: str
    ledger: Ledger
    files: tuple[File, ...]
    outline: Outline
    seconds: float
    written: int
    there: bool = False

    @property
    def ledger_path(self) -> str:
        """Path of the ledger."""
        return os.path.join(self.folder, LEDGER)

    def ways(self) -> dict[str, tuple[int, int]]:
        """For each way of making a tensor: how many tensors were made so, and their bytes."""
        found: dict[str, tuple[int, int]] = {}
        for item in self.outline.items:
            count, size = found.get(item.way, (0, 0))
            found[item.way] = count + 1, size + item.size
        return found


@doors.save_plan.leads_to
def save_weights(
    plan: Plan,
    model: nn.Module,
    directory: str | Path,
    *,
    seed: int | None,
    process_group: Any = None,
    **options: Any,
) -> Ledger:
    """See :meth:`Plan.save_weights`; the options are those of :class:`Options`."""
    ranks = ranks_of(process_group)
    return save_plan(plan, model, directory, seed=seed, options=Options(**options), ranks=ranks).ledger


def save_plan(
    plan: Plan,
    model: nn.Module,
    directory: str | Path,
    *,
    seed: int | None,
    options: Options,
    ranks: Ranks = ALONE,
) -> Saved:
    """Write the checkpoint of a planned model, without the model: see :meth:`Plan.save_weights`.

    Args:
        plan: The plan.
        model: The model.
        directory: The folder.
        seed: The seed; if None, that of what is in the folder, else drawn.
        options: How it is written.
        ranks: Who writes it together.
    """
    options.check()
    begun = time.perf_counter()
    path = Path(directory)
    outline = outlined(plan, model, dtype=options.dtype, rng=options.rng)
    with contextlib.ExitStack() as stack:
        with Agreement(ranks.sets) as agreement:
            work = _work(outline, options, seed=0)
            facts = {"initcfg": __version__, **{k: str(v) for k, v in asdict(work.identity).items()}}
            del facts["seed"]
            seed = agreement.on(
                facts, seed=seed, draw=lambda: _seed(path, options), details=outline.plan.digests
            )
            stream_key(seed, "")
            work = _work(outline, options, seed=seed)
            folder = Folder(path, work.identity)
            if ranks.first:
                stack.enter_context(folder)
                there = None if options.overwrite else folder.complete(work.shards, work.tensors)
                if there is None:
                    folder.begin(work.shards, size=work.size, overwrite=options.overwrite)
        if not folder.unfinished():
            ledger = Ledger.load(path / LEDGER)
            return Saved(str(path), ledger, _files(work, path, work.shards), outline, 0.0, 0, there=True)
        try:
            ledger, kept = _written(plan, model, folder, work, seed, options, ranks)
        except BaseException:
            if ranks.first:
                folder.give_up(work.shards, alone=ranks.world == 1)
            raise
    files = _files(work, path, kept)
    written = sum(file.size for file in files if not file.kept)
    return Saved(str(path), ledger, files, outline, time.perf_counter() - begun, written)


def _seed(path: Path, options: Options) -> int:
    found = None if options.overwrite else seed_in(path)
    return draw_seed() if found is None else found


@dataclass(frozen=True)
class _Work:
    """What is to be written: files of safetensors, or chunks."""

    outline: Outline
    identity: Identity
    shards: tuple[Shard, ...] = ()
    tensors: Mapping[str, Item] | None = None

    @property
    def size(self) -> int:
        if self.tensors is None:
            return sum(each.size for each in self.shards)
        return sum(item.size for item in self.tensors.values())

    def told(self) -> dict[str, str]:
        return {"initcfg.digest": self.identity.plan, "initcfg.seed": str(self.identity.seed)}


def _work(outline: Outline, options: Options, *, seed: int) -> _Work:
    def identity(files: Sequence[tuple[str, Sequence[Item]]]) -> Identity:
        tensors = [
            [name, [[item.key, *item.others, str(item.dtype), *item.shape] for item in items]]
            for name, items in files
        ]
        content = json.dumps(tensors).encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(content).hexdigest()
        stream = STREAM_VERSION
        return Identity(outline.plan.digest, seed, options.rng, stream, options.format, digest)

    if options.format == "dcp":
        prefix = options.dcp_key or ""
        tensors = {key: item for item in outline.items for key in (item.key, *item.others)}
        return _Work(outline, identity([(prefix, outline.items)]), (), tensors)
    most = parsed_size(options.shard_size or DEFAULT_SIZE)
    told = {"initcfg.digest": outline.plan.digest, "initcfg.seed": str(seed)}
    files = shards(outline.items, most, {"format": "pt", **told})
    return _Work(outline, identity([(each.name, each.items) for each in files]), tuple(files))


def _written(
    plan: Plan, model: nn.Module, folder: Folder, work: _Work, seed: int, options: Options, ranks: Ranks
) -> tuple[Ledger, list[Shard]]:
    """Write, each rank its part, and finish; the ledger, and the files that were whole before."""
    maker = Maker(plan, model, work.outline, seed, options.rng)
    try:
        kept = folder.kept(work.shards)
        with Agreement(ranks.sets) as agreement:
            agreement.on({"part": "writing"}, seed=seed, draw=lambda: seed)

            def told(count: int) -> None:
                agreement.check()
                if options.progress is not None:
                    options.progress(count)

            if work.tensors is None:
                accounts = _write_shards(folder.path, maker, work, kept, ranks, told)
            else:
                accounts = _write_chunks(folder.path, maker, work, options.dcp_key, ranks, told)
        gathered = ranks.gathered(accounts)
        ledger = maker.ledger({name: each for found in gathered for name, each in found.items()})
        with Agreement(ranks.sets):
            if ranks.first:
                folder.finish(ledger, _index(work) if len(work.shards) > 1 else None)
        return ledger, kept
    finally:
        maker.close()


def _write_shards(
    path: Path,
    maker: Maker,
    work: _Work,
    kept: Sequence[Shard],
    ranks: Ranks,
    told: Callable[[int], None],
) -> dict[str, Written]:
    old = {each.name for each in kept}
    mine = ranks.share([each for each in work.shards if each.name not in old])
    # What lies in files that were whole before has an account, too.
    known = kept if ranks.first else []
    items = [item for each in (*mine, *known) for item in each.items]
    maker.prepare(items)
    for each in known:
        told(each.size)
        maker.survey(each.items)
    with Writer(path, maker, told) as writer:
        for each in mine:
            writer.write(each)
    return maker.accounts(items)


def _write_chunks(
    path: Path, maker: Maker, work: _Work, prefix: str | None, ranks: Ranks, told: Callable[[int], None]
) -> dict[str, Written]:
    from initcfg._apply.streaming.distributed import chunks, share, write_distributed

    mine = share(chunks(work.outline.items), ranks)
    items = list(dict.fromkeys(chunk.item for chunk in mine))
    maker.prepare(items)
    write_distributed(path, maker, mine, prefix=prefix, ranks=ranks, told=told)
    return maker.accounts(items)


def _index(work: _Work) -> dict[str, Any]:
    elements = sum(item.elements for item in work.outline.items)
    metadata = {"total_size": work.outline.size, "total_parameters": elements, **work.told()}
    return {"metadata": metadata, "weight_map": weight_map(work.shards)}


def _files(work: _Work, path: Path, kept: Sequence[Shard]) -> tuple[File, ...]:
    old = {each.name for each in kept}
    if work.tensors is None:
        return tuple(File(each.name, each.size, len(each.items), each.name in old) for each in work.shards)
    found = sorted(path.glob("*.distcp"))
    return tuple(File(each.name, each.stat().st_size, None) for each in found)
