"""From a plan to a checkpoint in a folder."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from initcfg import _random
from initcfg._apply import draw_seed
from initcfg._ledger import Ledger, Written
from initcfg._plan import Plan
from initcfg._streaming.folder import LEDGER, Folder, Identity, seed_in
from initcfg._streaming.items import DTYPES, Item, Outline, outlined
from initcfg._streaming.making import Maker
from initcfg._streaming.shards import DEFAULT_SIZE, Shard, parsed_size, shards, weight_map
from initcfg._streaming.writer import Writer
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
        progress: Told how many bytes were written, now and then, in some thread.
    """

    shard_size: str | int | None = None
    dtype: str | None = None
    format: str = "safetensors"
    rng: str = "stream"
    overwrite: bool = False
    progress: Callable[[int], None] | None = None

    def check(self) -> None:
        """Raise OutputError unless they make sense."""
        if self.format not in FORMATS:
            raise OutputError(f"{self.format!r} is no format of a checkpoint.", meant=FORMATS)
        if self.dtype is not None and self.dtype not in DTYPES:
            raise OutputError(f"{self.dtype!r} is no type for weights.", meant=DTYPES)
        if self.shard_size is not None:
            parsed_size(self.shard_size)


@dataclass(frozen=True)
class File:
    """A file that was written.

    Attributes:
        name: Its name in the folder.
        size: Its size in bytes.
        tensors: How many tensors are in it, wholly or in part.
        kept: Whether an earlier run had finished it.
    """

    name: str
    size: int
    tensors: int
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


def save_plan(
    plan: Plan, model: nn.Module, directory: str | Path, *, seed: int | None, options: Options
) -> Saved:
    """Write the checkpoint of a planned model, without the model: see :meth:`Plan.save`."""
    options.check()
    path = Path(directory)
    outline = outlined(plan, model, dtype=options.dtype, rng=options.rng)
    if seed is None:
        seed = None if options.overwrite else seed_in(path)
        seed = draw_seed() if seed is None else seed
    _random.stream_key(seed, "")
    return _save_safetensors(plan, model, path, outline, seed, options)


def _save_safetensors(
    plan: Plan, model: nn.Module, path: Path, outline: Outline, seed: int, options: Options
) -> Saved:
    begun = time.perf_counter()
    most = parsed_size(options.shard_size or DEFAULT_SIZE)
    told = {"initcfg.digest": outline.plan.digest, "initcfg.seed": str(seed)}
    files = shards(outline.items, most, {"format": "pt", **told})
    identity = identity_of(outline, seed, options, [(each.name, each.items) for each in files])
    with Folder(path, identity) as folder:
        there = None if options.overwrite else folder.complete(files)
        if there is not None:
            return Saved(str(path), there, _files(files, files), outline, 0.0, 0, there=True)
        maker = Maker(plan, model, outline, seed, options.rng)
        kept = folder.begin(files, size=sum(each.size for each in files), overwrite=options.overwrite)
        try:
            accounts = _write(path, maker, files, kept, options.progress)
            ledger = maker.ledger(accounts)
            folder.finish(ledger, files, _index(files, outline, told) if len(files) > 1 else None)
        except BaseException:
            folder.give_up(files)
            raise
        finally:
            maker.close()
    written = sum(each.size for each in files if each not in kept)
    return Saved(str(path), ledger, _files(files, kept), outline, time.perf_counter() - begun, written)


def _write(
    path: Path,
    maker: Maker,
    files: Sequence[Shard],
    kept: Sequence[Shard],
    progress: Callable[[int], None] | None,
) -> dict[str, Written]:
    """Write the files that are not there, and give account of all."""
    items = [item for each in files for item in each.items]
    maker.prepare(items)
    with Writer(path, maker, progress or _nobody) as writer:
        for each in files:
            if each in kept:
                (progress or _nobody)(each.size)
                maker.survey(each.items)
            else:
                writer.write(each)
    return maker.accounts(items)


def _nobody(count: int) -> None:
    """Nobody wants to know."""


def _index(files: Sequence[Shard], outline: Outline, told: Mapping[str, str]) -> dict[str, Any]:
    elements = sum(item.elements for item in outline.items)
    metadata = {"total_size": outline.size, "total_parameters": elements, **told}
    return {"metadata": metadata, "weight_map": weight_map(files)}


def identity_of(
    outline: Outline, seed: int, options: Options, files: Sequence[tuple[str, Sequence[Item]]]
) -> Identity:
    """What is to be written, in a few words.

    Args:
        outline: What is stored.
        seed: The seed.
        options: How.
        files: Which tensors lie in which file.
    """
    content = [
        [name, [[item.key, *item.others, str(item.dtype), *item.shape] for item in items]]
        for name, items in files
    ]
    tensors = hashlib.sha256(json.dumps(content).encode("utf-8", "surrogatepass")).hexdigest()
    return Identity(outline.plan.digest, seed, options.rng, _random.STREAM_VERSION, options.format, tensors)


def _files(files: Sequence[Shard], kept: Sequence[Shard]) -> tuple[File, ...]:
    return tuple(File(each.name, each.size, len(each.items), each in kept) for each in files)
