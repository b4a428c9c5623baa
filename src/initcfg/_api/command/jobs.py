"""The jobs behind the commands: from a config file to a plan, a checkpoint, or a list."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from initcfg._api import functions
from initcfg._api.command.request import Request
from initcfg._apply import Verification, apply_plan, check_output, save_weights, verified
from initcfg._apply.ranks import Agreement
from initcfg._apply.streaming import (
    Options,
    Ranks,
    Saved,
    check_folder,
    launched_ranks,
    outlined,
    save_plan,
    seed_in,
)
from initcfg._checkpoints.formats import open_path
from initcfg._checkpoints.sources import locate
from initcfg._config import load_config, prepared
from initcfg._config.builders import is_builder
from initcfg._config.files import SUFFIXES, Config, replacing
from initcfg._plan import Ledger, Plan
from initcfg._plan.compare import Comparison, compare, read_saved
from initcfg._record import trace
from initcfg._version import __version__
from initcfg.errors import ConfigError, OutputError


@dataclass
class Done:
    """What ``initcfg init`` made."""

    plan: Plan
    ledger: Ledger
    weights: str
    ledger_path: str
    size: int

    def counts(self) -> dict[str, int]:
        """How many tensors were written, by whom."""
        by = [entry.by for entry in self.ledger.entries.values()]
        return {
            "by_rule": by.count("rule"),
            "by_code": by.count("code"),
            "by_default": by.count("default"),
            "kept": by.count("nobody"),
        }


def planned(request: Request, *, seed: int | None = None) -> tuple[nn.Module, Plan]:
    """The model of a config file or builder, and its plan."""
    loaded = loaded_target(request)
    with _busy("building the model"):
        model = functions.build(loaded, init=False, seed=seed)
    with _busy("planning"):
        made = functions.plan(
            model, compat=request.compat, strict=request.strict, locate=functions.locator(loaded)
        )
    return model, made


def loaded_target(request: Request) -> Config | dict[str, Any]:
    """The config that a request names, or what stands for one, changed as it says."""
    # Configs name modules of the folder that one works in.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return load_config(request.config, overrides=request.overrides, use_python=not request.no_python)


def initialized(request: Request, output: str, *, seed: int | None, rng: Any) -> Done:
    """Build, plan, apply, save."""
    check_output(output)
    if seed is None:
        # A new process's torch generator always begins alike.
        seed = secrets.randbits(64)
    model, made = planned(request, seed=seed)
    ledger = _applied(made, model, seed, rng)
    with _busy("writing the file"):
        ledger_path = save_weights(model, ledger, output)
    return Done(made, ledger, output, ledger_path, os.path.getsize(output))


def streamed(request: Request, output: str, *, seed: int | None, options: Options) -> Saved:
    """Build, plan, and stream the checkpoint into a folder; the weights are never in memory together."""
    options.check()
    folder = Path(output)
    check_folder(folder)

    def draw() -> int:
        found = None if options.overwrite else seed_in(folder)
        return secrets.randbits(64) if found is None else found

    with launched_ranks() as ranks:
        # Before the model is built: what its constructors draw depends on the seed, too.
        with Agreement(ranks.sets) as agreement:
            seed = agreement.on({"initcfg": __version__}, seed=seed, draw=draw)
        model, made = planned(request, seed=seed)
        if ranks.first and sys.stderr.isatty():
            return _streamed_with_bar(made, model, folder, seed, options, ranks)
        return save_plan(made, model, folder, seed=seed, options=options, ranks=ranks)


def _streamed_with_bar(
    made: Plan, model: nn.Module, folder: Path, seed: int, options: Options, ranks: Ranks
) -> Saved:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("writing"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        size = outlined(made, model, dtype=options.dtype, rng=options.rng).size
        task = progress.add_task("", total=size // ranks.world)
        telling = replace(options, progress=lambda count: progress.update(task, advance=count))
        return save_plan(made, model, folder, seed=seed, options=telling, ranks=ranks)


@dataclass
class Traced:
    """What ``initcfg trace`` found, and the files that it wrote."""

    plan: Plan
    files: list[str]


def traced_target(
    request: Request, output: str | None = None, plan_file: str | None = None, *, buffers: bool = False
) -> Traced:
    """The plan of what a target's own code does.

    Args:
        request: The target.
        output: A config to write: the target with its plan as rules. Only of a builder.
        plan_file: A JSON file to write the plan to.
        buffers: Whether the config's rules say buffers too that nothing random is in.
    """
    if output is not None:
        check_output(output, SUFFIXES)
    if plan_file is not None:
        check_output(plan_file, (".json",))
    files = [file for file in (output, plan_file) if file is not None]
    if len({os.path.realpath(file) for file in files}) < len(files):
        raise OutputError("The config and the plan cannot both be written to one file.")
    loaded = loaded_target(request)
    cfg = functions.model_cfg(loaded)[1]
    if output is not None and not (isinstance(cfg.get("type"), str) and is_builder(cfg["type"])):
        raise ConfigError(
            f"{request.config!r} builds its model by a config already, so no config is written of it.",
            fix="Leave -o away, or trace a builder: timm:NAME, package.module:function.",
        )
    with _busy("tracing"), prepared(loaded, cfg):
        made = trace(lambda: functions.construct(cfg))
    with contextlib.ExitStack() as stack:
        # Both files appear, or neither does.
        texts: list[str] = []
        if output is not None:
            model = {**cfg, "init_cfg": made.to_init_cfg(buffers=buffers)}
            texts.append(Config({"model": model}).dump(file_format=Path(output).suffix))
        if plan_file is not None:
            texts.append(json.dumps(made.to_json(), indent=1, default=str) + "\n")
        for file, text in zip(files, texts, strict=True):
            Path(stack.enter_context(replacing(file))).write_text(text, encoding="utf-8")
    return Traced(made, files)


def compared(a: Request, b: Request) -> Comparison:
    """What differs between two targets, plans or ledgers."""
    return compare(_side(a, "--set-a"), _side(b, "--set-b"))


def verified_checkpoint(
    checkpoint: str, plan_file: str | None, request: Request | None, *, seed: int | None, part: str | None
) -> Verification:
    """What became of the tensors of a checkpoint since they were initialized."""
    if plan_file is not None and request is not None:
        raise ConfigError("--plan and --config both say what was planned.", fix="Give one of them.")
    if plan_file is not None and not os.path.isfile(plan_file):
        raise ConfigError(f"There is no file {plan_file!r}.")
    saved: Plan | Ledger | None
    if request is not None:
        saved = planned(request)[1]
    else:
        saved = read_saved(plan_file or checkpoint)
    if saved is None:
        raise ConfigError(
            f"{plan_file or checkpoint!r} holds no plan and no ledger.",
            fix="Give --plan FILE.json, or --config CONFIG and --seed N.",
        )
    located = locate(checkpoint)
    assert located.path is not None
    with _busy("comparing"), open_path(located.path, name=checkpoint, part=part) as reader:
        return verified(reader, saved, seed)


def _side(request: Request, option: str) -> Plan | Ledger:
    saved = read_saved(request.config)
    if saved is None:
        return planned(request)[1]
    if request.overrides:
        kind = "plan" if isinstance(saved, Plan) else "ledger"
        raise ConfigError(f"{request.config!r} is a {kind}: there is nothing that {option} could change.")
    return saved


def _applied(made: Plan, model: nn.Module, seed: int, rng: Any) -> Ledger:
    """Apply, with a bar on a terminal."""
    if not sys.stderr.isatty():
        return made.apply(model, seed=seed, rng=rng)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    elements = sum(item.elements for item in made.values())
    columns = (TextColumn("writing the weights"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=elements)
        return apply_plan(
            made, model, seed=seed, rng=rng, progress=lambda count: progress.update(task, advance=count)
        )


def listed(what: str, imports: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of ``initcfg list``."""
    for name in imports:
        try:
            importlib.import_module(name)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"The module {name!r} cannot be imported: {error}.") from error
    if what == "layers":
        from initcfg._rules import known_layer_names

        return [{"name": name} for name in sorted(known_layer_names(), key=str.lower) if "." not in name]
    from initcfg._config import MODELS
    from initcfg._rules.initializers import INITIALIZERS

    if what == "models":
        return [
            {"name": name, "class": f"{item.__module__}.{item.__qualname__}"}
            for name, item in sorted(MODELS.module_dict.items())
        ]
    len(INITIALIZERS)
    INITIALIZERS.get("Constant")
    return [
        {"name": name, "arguments": _arguments(item), "what": _first_line(item)}
        for name, item in sorted(INITIALIZERS.module_dict.items())
    ]


def _arguments(cls: Any) -> str:
    own = [
        parameter
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
        and parameter.name not in ("bias", "bias_prob", "layer")
    ]
    return ", ".join(
        each.name if each.default is each.empty else f"{each.name}={each.default!r}" for each in own
    )


def _first_line(cls: Any) -> str:
    return (inspect.getdoc(cls) or "").split("\n")[0]


@contextlib.contextmanager
def _busy(what: str) -> Iterator[None]:
    """A spinner on a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
