"""Every config of mmdet, mmsegmentation and mmpretrain that lies in their wheels, planned in one process.

    python benchmarks/all_configs.py [--only SUBSTRING] [--limit SECONDS] [--commands 20] [--json FILE]

Configs whose ``model`` is the same are planned once. A model is built without memory, as ``initcfg plan``
builds it, and nothing is fetched: a checkpoint that is not on this machine is a line of the plan. What
cannot be planned is grouped by its reason. Then ``--commands`` of them, chosen by a fixed seed, go through
the real command, each in a process of its own, whose plan must be the same.

Needs the packages of tests/peers/requirements.txt (make test-peers installs them). Exits with 1 if a model
that MMEngine can build is not planned, or the command says something else.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import hashlib
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PEERS = Path(__file__).resolve().parents[1] / "tests" / "peers"
SOURCES = Path(__file__).resolve().parents[1] / "src"
PACKAGES = ("mmdet", "mmseg", "mmpretrain")
COLUMNS = ("package", "configs", "models", "planned", "the original cannot build", "ours")


@dataclass
class Row:
    """A config, and what became of it.

    Attributes:
        planned: Parameters in its plan; None without one.
        digest: Of the whole plan as JSON.
        reason: Why there is no plan.
        original: Why MMEngine cannot build the model either; None where it can, or where it was not asked.
        same_as: The config whose model is the same, and was planned for both.
    """

    package: str
    config: str
    planned: int | None = None
    digest: str | None = None
    reason: str | None = None
    original: str | None = None
    same_as: str | None = None
    seconds: float = 0.0


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; returns 1 if something is ours to mend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="of PACKAGE/CONFIG")
    parser.add_argument("--limit", type=int, default=120, help="seconds for one config")
    parser.add_argument("--commands", type=int, default=20, help="how many go through the command")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every row")
    options = parser.parse_args(arguments)
    _quiet()
    rows = list(_walked(_configs(options.only), options.limit))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(_table(rows))
    print(_reasons(rows))
    ours = [row for row in rows if row.planned is None and row.original is None]
    different = _commands(rows, options.commands)
    return 1 if ours or different else 0


def _quiet() -> None:
    """The packages can be imported, say nothing, and fetch nothing."""
    sys.path.insert(0, str(PEERS))
    import openmmlab_stand_ins

    openmmlab_stand_ins.install()
    # Some constructors ask a hub for a tokenizer: told that there is none, they do not try again and again.
    os.environ.update(INITCFG_OFFLINE="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


def _configs(only: str) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed.")
        root = Path(spec.origin).parent / ".mim" / "configs"
        files = [(package, file) for file in sorted(root.glob("**/*.py"))]
        found += [(package, file) for package, file in files if only in f"{package}/{file.relative_to(root)}"]
    return found


def _walked(configs: list[tuple[str, Path]], limit: int) -> Iterator[Row]:
    first: dict[str, Row] = {}
    start = time.monotonic()
    for index, (package, file) in enumerate(configs):
        row = Row(package, str(file))
        began = time.monotonic()
        with _noted(row, limit):
            from initcfg._config import load_config

            loaded = load_config(str(file))
            if "model" not in loaded:
                row.reason = "no config of a model: it has no key 'model'"
            else:
                content = f"{package} {loaded.get('default_scope')} {_content(loaded['model'])}"
                same = first.setdefault(content, row)
                if same is row:
                    plan = _plan(loaded)
                    row.planned, row.digest = len(plan.parameters), _digest(plan.to_json())
                else:
                    row.same_as = same.config
                    row.planned, row.reason, row.original = same.planned, same.reason, same.original
        row.seconds = round(time.monotonic() - began, 2)
        if row.reason is not None and row.same_as is None and "no key 'model'" not in row.reason:
            row.original = _refused_by_original(package, file, limit)
        if index % 50 == 0 or row.reason is not None:
            passed = time.monotonic() - start
            print(
                f"{passed:6.0f} s {index + 1}/{len(configs)} {row.config}: {row.reason or row.planned}",
                file=sys.stderr,
                flush=True,
            )
        gc.collect()
        yield row


def _plan(loaded: Any) -> Any:
    import initcfg
    from initcfg._api import functions

    model = initcfg.build(loaded, init=False)
    return functions.located_plan(model, config=loaded, compat=None, strict=False)


def _digest(plan: Any) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True, default=str).encode()).hexdigest()


def _content(value: Any) -> str:
    """A text that is the same for equal values; classes and functions by their names."""
    return json.dumps(value, sort_keys=True, default=lambda item: getattr(item, "__qualname__", repr(item)))


@contextlib.contextmanager
def _noted(row: Row, limit: int) -> Iterator[None]:
    """What is raised within becomes the row's reason."""
    try:
        with _time_limit(limit):
            yield
    except Exception as error:
        row.reason = f"{type(error).__name__}: {getattr(error, 'problem', error)}"


@contextlib.contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _refused_by_original(package: str, file: Path, limit: int) -> str | None:
    """Why MMEngine cannot read the config and build its model; None where it can."""
    row = Row(package, str(file))
    with _noted(row, limit):
        import importlib

        importlib.import_module(f"{package}.models")
        import torch
        from mmengine.config import Config
        from mmengine.registry import MODELS, DefaultScope

        config = Config.fromfile(file)
        # On the meta device: whether it can be built is asked, not what is in it.
        with DefaultScope.overwrite_default_scope(package):
            try:
                with torch.device("meta"):
                    # Some constructors change the dict that they are given.
                    MODELS.build(copy.deepcopy(config.model))
            except (RuntimeError, NotImplementedError):
                MODELS.build(config.model)
    return row.reason


def _table(rows: list[Row]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    for package in (*PACKAGES, "together"):
        own = [row for row in rows if package in (row.package, "together") and not _is_part(row)]
        cells = (
            len(own),
            sum(row.same_as is None for row in own),
            sum(row.planned is not None for row in own),
            sum(row.planned is None and row.original is not None for row in own),
            sum(row.planned is None and row.original is None for row in own),
        )
        lines.append(f"| {package} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    return "\n".join(lines)


def _is_part(row: Row) -> bool:
    """Whether a file is no config of a model: a schedule, a dataset, a script."""
    return row.reason is not None and "no key 'model'" in row.reason


def _reasons(rows: list[Row]) -> str:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.planned is None and not _is_part(row):
            said = (_grouped(row.reason or ""), _grouped(row.original or "MMEngine builds it"))
            groups.setdefault(said, []).append(row)
    lines = ["", "| configs | reason | MMEngine | such as |", "|---:|---|---|---|"]
    for (reason, original), members in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"| {len(members)} | {reason} | {original} | {Path(members[0].config).stem} |")
    return "\n".join(lines)


def _grouped(reason: str) -> str:
    """The first line of a reason, without what differs from config to config."""
    first = reason.strip().partition("\n")[0]
    return re.sub(r"/\S*/", "", first)[:160].replace("|", "/")


def _commands(rows: list[Row], count: int) -> list[str]:
    """Which of some configs the command plans otherwise than this process."""
    planned = [row.config for row in rows if row.planned is not None and row.same_as is None]
    chosen = random.Random(13).sample(planned, min(count, len(planned)))
    different = []
    for config in chosen:
        expected = next(row.digest for row in rows if row.config == config)
        launched = [
            sys.executable,
            str(PEERS / "launch_with_stand_ins.py"),
            str(SOURCES / "initcfg/__main__.py"),
        ]
        began = time.monotonic()
        done = subprocess.run(
            [*launched, "plan", config, "--json"], check=False, capture_output=True, text=True
        )
        taken = time.monotonic() - began
        found = json.loads(done.stdout) if done.returncode == 0 else {"parameters": ()}
        same = _digest(found) == expected
        count, verdict = (
            len(found["parameters"]),
            "the same plan" if same else f"ANOTHER PLAN {done.stderr[-400:]}",
        )
        name = f"{Path(config).parent.name}/{Path(config).stem}"
        print(
            f"initcfg plan {name}: exit {done.returncode}, {taken:.1f} s, {count} parameters, {verdict}",
            flush=True,
        )
        different += [] if same else [config]
    return different


if __name__ == "__main__":
    sys.exit(main())
