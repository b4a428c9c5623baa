"""``initcfg init``: weights in one file, made in memory, or in a folder, streamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from torch import nn

from initcfg._api.command.hugging_face_folder import complete_folder
from initcfg._api.command.planning import planned
from initcfg._api.command.request import Request
from initcfg._api.command.terminal import prints_apart, spinner, table
from initcfg._apply import apply_plan, check_output, save_weights, stand_in_model
from initcfg._apply.ranks import Agreement
from initcfg._apply.streaming import (
    Options,
    Saved,
    check_folder,
    launched_world,
    outlined,
    save_plan,
    seed_in,
)
from initcfg._checkpoints.sources import progress_bar
from initcfg._plan import Ledger, Plan
from initcfg._plan.compare import read_saved
from initcfg._plan.report import attention, ledger_view
from initcfg._version import __version__
from initcfg.errors import ConfigError, add_row, in_bytes, line, plural

_SHOWN = 12
_WAYS = {
    "streamed": "streamed piece by piece",
    "whole": "made whole, one at a time",
    "loaded": "read from checkpoints",
    "resident": "taken from the model's memory",
}
_Views = Callable[[], Iterator[RenderableType]]


@dataclass(frozen=True)
class Beginning:
    """Where the model and its plan come from: a config, or a saved plan or ledger that does without."""

    request: Request
    saved: Plan | Ledger | None = None

    @staticmethod
    def of(request: Request, plan_file: str | None, ledger_file: str | None) -> Beginning:
        """From the words of the command."""
        given = [each for each in (request.config, plan_file, ledger_file) if each]
        if len(given) != 1:
            what = (
                "Nothing says what to initialize."
                if not given
                else f"{' and '.join(map(repr, given))} both say it."
            )
            raise ConfigError(what, fix="Give one of CONFIG, --plan FILE and --ledger FILE.")
        if request.config:
            return Beginning(request)
        if request != Request(""):
            raise ConfigError(
                f"{given[0]!r} says everything: --set, --compat, --strict and the like change nothing.",
                fix="Leave them out, or give the config.",
            )
        if not os.path.exists(given[0]):
            raise ConfigError(f"There is no file {given[0]!r}.", fix="Check the path.")
        saved, wanted = read_saved(given[0]), Ledger if ledger_file else Plan
        if not isinstance(saved, wanted):
            kind = {Plan: "plan", Ledger: "ledger"}
            found = f"; it is a {kind[type(saved)]}" if saved is not None else ""
            fix = "--ledger" if isinstance(saved, Ledger) else "--plan"
            raise ConfigError(
                f"{given[0]!r} is no {kind[wanted]}{found}.",
                fix=f"Give it as {fix} FILE." if saved is not None else "Give what initcfg wrote.",
            )
        return Beginning(request, saved)

    def seed(self, given: int | None) -> int | None:
        """The seed that was given, else that of the ledger."""
        return self.saved.seed if given is None and self.saved is not None else given

    def planned(self, seed: int | None, *, memory: bool) -> tuple[nn.Module, Plan]:
        """The model and its plan; of a saved one, a stand-in, on the meta device without ``memory``."""
        if self.saved is None:
            return planned(self.request, seed=seed)
        if isinstance(self.saved, Ledger):
            made = self.saved.plan
            return stand_in_model(made, memory=memory, kept=self.saved.kept), made
        return stand_in_model(self.saved, memory=memory), self.saved

    def left_out(self) -> Iterator[RenderableType]:
        """For a person: what only the model has, so that it is not in the file."""
        if isinstance(self.saved, Plan):
            yield line(
                "A plan says nothing of buffers that only constructors fill, as BatchNorm's statistics: they "
                "are not in the file. CONFIG or --ledger gives them."
            )
        elif self.saved is not None:
            names = [name for name, each in self.saved.kept.items() if each.value is None]
            if names:
                told = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                count = plural(len(names), "buffer")
                yield line(f"Left out, since only the model has their numbers: {count} ({told}).")


def initialized(
    begin: Beginning, output: str, *, seed: int | None, rng: Any
) -> tuple[dict[str, Any], _Views]:
    """Build, plan, apply, save to a file; what was done as JSON data, and for a person."""
    check_output(output)
    seed = begin.seed(seed)
    if seed is None:
        # A new process's torch generator always begins alike.
        seed = secrets.randbits(64)
    model, made = begin.planned(seed, memory=True)
    elements = sum(item.elements for item in made.values())
    with progress_bar("writing the weights", elements, in_bytes=False) as moved, prints_apart():
        ledger = apply_plan(made, model, seed=seed, rng=rng, progress=moved)
    with spinner("writing the file"):
        ledger_path = save_weights(model, ledger, output)

    def views() -> Iterator[RenderableType]:
        yield from attention(made, logged=True)
        yield ledger_view(ledger)
        yield line(f"{output} ({os.path.getsize(output) / 1e6:,.1f} MB), {ledger_path}")
        yield from begin.left_out()

    by = Counter(entry.by for entry in ledger.entries.values())
    counts = {"by_rule": by["rule"], "by_code": by["code"], "by_default": by["default"], "kept": by["nobody"]}
    return {"weights": output, "ledger": ledger_path, "seed": ledger.seed, **counts}, views


def streamed(begin: Beginning, output: str, *, seed: int | None, options: Options) -> Saved:
    """Build, plan, and stream the checkpoint into a folder; the weights are never in memory together."""
    options.check()
    seed = begin.seed(seed)
    folder = Path(output)
    check_folder(folder)

    def draw() -> int:
        found = None if options.overwrite else seed_in(folder)
        return secrets.randbits(64) if found is None else found

    with launched_world() as world, contextlib.ExitStack() as stack:
        # Before the model is built: what its constructors draw depends on the seed, too.
        with Agreement(world.sets) as agreement:
            seed = agreement.on({"initcfg": __version__}, seed=seed, draw=draw)
        model, made = begin.planned(seed, memory=False)
        if world.first and sys.stderr.isatty():
            size = outlined(made, model, dtype=options.dtype, rng=options.rng).size // world.size
            options = replace(options, progress=stack.enter_context(progress_bar("writing", size)))
        stack.enter_context(prints_apart())
        saved = save_plan(made, model, folder, seed=seed, options=options, world=world)
        if world.first and options.format == "safetensors":
            complete_folder(model, folder, dtype=options.dtype, overwrite=options.overwrite)
        return saved


def streamed_views(saved: Saved) -> Iterator[RenderableType]:
    """For a person: the files, how the tensors were made, and how long it took."""
    outline, ledger = saved.outline, saved.ledger
    yield from attention(outline.plan, logged=not saved.there)
    if saved.there:
        yield line(f"{saved.folder} is complete already (seed {ledger.seed}): nothing was written.")
        return
    shown = table("file", "tensors", "size", "", right=("tensors", "size"))
    for file in saved.files[: _SHOWN if len(saved.files) > _SHOWN + 1 else None]:
        tensors = "" if file.tensors is None else f"{file.tensors:,}"
        add_row(shown, file.name, tensors, in_bytes(file.size), "kept" if file.kept else "")
    yield shown
    if len(saved.files) > _SHOWN + 1:
        yield line(f"... and {len(saved.files) - _SHOWN} more files")
    yield line("")
    for way, (count, size) in saved.ways().items():
        yield line(f"{plural(count, 'tensor')} {_WAYS[way]} ({in_bytes(size)})")
    if outline.in_memory:
        yield line(f"The model was initialized in memory first: {outline.in_memory}.")
    if outline.left_out:
        names = ", ".join(outline.left_out[:3]) + (", ..." if len(outline.left_out) > 3 else "")
        yield line(f"Left out, since they are not tensors: {names}.")
    kept = sum(file.kept for file in saved.files)
    if kept:
        yield line(f"{plural(kept, 'file')} had been finished before.")
    rate = f", {saved.written / saved.seconds / 1e9:.2f} GB/s" if saved.seconds and saved.written else ""
    yield line(
        f"{saved.folder} ({in_bytes(saved.size)}) in {saved.seconds:.1f} s{rate}; rng {ledger.rng}, "
        f"seed {ledger.seed}."
    )


def streamed_json(saved: Saved) -> dict[str, Any]:
    """The same as JSON data."""
    return {
        "weights": saved.folder,
        "ledger": saved.ledger_path,
        "seed": saved.ledger.seed,
        "files": [vars(file) for file in saved.files],
        "bytes": saved.size,
        "written": saved.written,
        "seconds": saved.seconds,
        "there": saved.there,
        "ways": {way: {"tensors": count, "bytes": size} for way, (count, size) in saved.ways().items()},
        "in_memory": saved.outline.in_memory,
        "left_out": list(saved.outline.left_out),
    }
