"""The short benchmarks: ours, the peer and the limit, in one run; and the ratios of the run that was kept.

    make bench, or: python benchmarks/short.py [--only SUBSTRING] [--long] [--keep] [--json]

Times drift from machine to machine and from hour to hour, so what is compared is ours over the limit, taken
in turn in this run, beside the same ratio of the run that was kept in kept.json; ``--keep`` keeps this one
instead. The limit of a row is the least that can be, and the table says what that is. Nothing is judged: a
ratio that has grown by a half is marked, to be measured again. Takes less than five minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import initcfg
from initcfg._stream.bits import kernel
from initcfg._stream.writing.stream import StreamWriter, fill_stream
from initcfg.values import Normal, TruncNormal, Uniform, Value

KEPT = Path(__file__).with_name("kept.json")
SECONDS = 3.0
FEWEST, MOST = 3, 101
GROWN = 1.5
ORTHOGONAL = (512, 768, 1024, 2048, 4096)
Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One row: what runs, by whom, and what the limit is."""

    name: str
    ours: Run
    limit: Run
    least: str
    peer: Run | None = None
    whose: str = ""
    before: Run | None = None


def in_turn(*runs: Run, before: Run | None = None) -> list[float]:
    """The median seconds of each, taken in turn; ``before`` each, something that is not timed."""
    first = [timed(run, before) for run in runs]
    count = max(FEWEST, min(MOST, int(SECONDS / max(sum(first), 1e-9))))
    times = [[timed(run, before) for run in runs] for _ in range(count)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def timed(run: Run, before: Run | None = None) -> float:
    if before is not None:
        before()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def drawing(long: bool) -> Iterator[Case]:
    """A million elements, one thread; one small tensor; many; and orthogonal matrices."""
    values: dict[str, tuple[Value, Callable[[torch.Tensor], object]]] = {
        "uniform": (Uniform(-0.1, 0.1), lambda tensor: nn.init.uniform_(tensor, -0.1, 0.1)),
        "normal": (Normal(0.0, 0.02), lambda tensor: nn.init.normal_(tensor, 0.0, 0.02)),
        "truncated": (
            TruncNormal(0.0, 0.02, -0.04, 0.04),
            lambda tensor: nn.init.trunc_normal_(tensor, 0.0, 0.02, -0.04, 0.04),
        ),
    }
    for name, (value, theirs) in values.items():
        for dtype in (torch.float32, torch.bfloat16):
            tensor = torch.zeros(10**6, dtype=dtype)

            def ours(tensor: torch.Tensor = tensor, value: Value = value) -> None:
                fill_stream(tensor, value, seed=0, name="weight")

            def peer(
                tensor: torch.Tensor = tensor, theirs: Callable[[torch.Tensor], object] = theirs
            ) -> None:
                theirs(tensor)

            limit = torch.zeros_like(tensor).fill_
            label = f"{name}, 10⁶ {str(dtype).removeprefix('torch.')}"
            yield Case(label, ours, lambda limit=limit: limit(1.0), "Tensor.fill_", peer, "torch.nn.init")
    small, value = torch.zeros(1000), Normal(0.0, 0.02)
    yield Case(
        "one tensor of 1,000",
        lambda: fill_stream(small, value, seed=0, name="weight"),
        lambda: kernel_alone([small]),
        "the kernel's call alone",
        lambda: nn.init.normal_(small, 0.0, 0.02),
        "nn.init.normal_",
    )
    many = [torch.zeros(32, 32) for _ in range(600)]

    def all_of_them() -> None:
        writer = StreamWriter(0)
        for number, tensor in enumerate(many):
            writer.add(tensor, value, f"layers.{number}.weight")
        writer.flush()

    yield Case(
        "600 tensors of 1,024, one batch",
        all_of_them,
        lambda: kernel_alone(many),
        "the kernel's call alone",
        lambda: [tensor.normal_(0.0, 0.02) for tensor in many],
        "Tensor.normal_",
    )
    model = nn.ParameterList(many)
    plan = initcfg.plan(model, dict(type="Normal", param="*", std=0.02))
    yield Case(
        "600 tensors of 1,024, plan.apply",
        lambda: plan.apply(model, seed=0),
        lambda: kernel_alone(many),
        "the kernel's call alone",
        lambda: [nn.init.normal_(tensor, 0.0, 0.02) for tensor in many],
        "nn.init.normal_",
    )
    for size in ORTHOGONAL if long else ORTHOGONAL[:-1]:
        yield orthogonal(size)


def orthogonal(size: int) -> Case:
    """A square orthogonal matrix."""
    square = torch.zeros(size, size)
    return Case(
        f"orthogonal, {size} × {size}",
        lambda: fill_stream(square, initcfg.values.Orthogonal(), seed=0, name="weight"),
        lambda: torch.linalg.qr(torch.randn(size, size)),
        "torch.linalg.qr of a random matrix",
        lambda: nn.init.orthogonal_(square),
        "nn.init.orthogonal_",
    )


def kernel_alone(tensors: list[torch.Tensor]) -> None:
    """The kernel on these tensors, with all that it is told made before."""
    key = tuple(map(id, tensors))
    if key not in _TOLD:
        from initcfg._stream.bits import normal_recipe

        whole = kernel.WholeTensors()
        whole.kinds = [("float32", normal_recipe(0.0, 0.02, False))] * len(tensors)
        for tensor in tensors:
            whole.pointers.append(tensor.data_ptr())
            whole.counts.append(tensor.numel())
        whole.keys = range(len(tensors))
        _TOLD[key] = whole, *kernel._packed([], whole)
    kernel._run(_TOLD[key][1], 1, 0)


_TOLD: dict[tuple[int, ...], tuple[Any, ...]] = {}


def planning() -> Iterator[Case]:
    """Ten thousand parameters."""
    from planning import model, rules

    net, cfg = model(10_000), rules(5)
    yield Case(
        "plan, 10⁴ parameters, 5 rules",
        lambda: initcfg.plan(net, cfg),
        lambda: dict(net.named_parameters()),
        "dict(model.named_parameters())",
    )


def ready() -> Iterator[Case]:
    """A model from nothing."""

    def build() -> nn.Module:
        return nn.TransformerEncoder(
            nn.TransformerEncoderLayer(768, 12, 3072), 12, enable_nested_tensor=False
        )

    def ours() -> nn.Module:
        with initcfg.deferred():
            model = build()
        initcfg.plan(model).apply(model, seed=0)
        return model

    with torch.device("meta"):
        shapes = [each.shape for each in build().parameters()]
    yield Case(
        "85M parameters, ready",
        ours,
        lambda: [torch.empty(shape).fill_(1.0) for shape in shapes],
        "new memory and Tensor.fill_",
        build,
        "the constructors",
    )


def files(folder: Path) -> Iterator[Case]:
    """A checkpoint of 200 MB, in the system's cache, into a model; and one to disk."""
    from safetensors.torch import load_file, save_file

    def build() -> nn.Module:
        return nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(50)))

    file, written = folder / "model.safetensors", folder / "written.safetensors"
    with torch.device("meta"):
        shapes = {name: each.shape for name, each in build().state_dict().items()}
    save_file({name: torch.rand(shape) for name, shape in shapes.items()}, file)

    def ours() -> nn.Module:
        with initcfg.deferred():
            model = build()
        initcfg.init_weights(model, dict(type="Pretrained", checkpoint=str(file)), seed=0)
        return model

    def theirs() -> nn.Module:
        with torch.device("meta"):
            model = build()
        model.load_state_dict(load_file(file), assign=True)
        return model

    def limit() -> list[torch.Tensor]:
        with open(file, "rb") as stream:
            while stream.read(1 << 24):
                pass
        return [torch.empty(shape).fill_(1.0) for shape in shapes.values()]

    yield Case(
        "200 MB of safetensors, loaded",
        ours,
        limit,
        "reading it, and a fill_ of new memory",
        theirs,
        "load_file",
    )
    with initcfg.deferred():
        model = build()
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))

    def disk() -> None:
        words = ["dd", "if=/dev/zero", f"of={written}", "bs=1M", "count=200", "conv=fsync", "status=none"]
        subprocess.run(words, check=True)

    yield Case(
        "200 MB streamed to disk",
        lambda: plan.save_weights(folder / "saved", model, seed=0, overwrite=True),
        disk,
        "dd conv=fsync",
        before=idle_disk,
    )


def idle_disk() -> None:
    """Have the disk do now what it still has to do, such as to forget the files that were removed."""
    os.sync()
    time.sleep(0.25)


def starting(folder: Path) -> Iterator[Case]:
    """Processes."""
    from startup import run, small_config

    config = small_config(folder)
    yield Case(
        "import initcfg", lambda: run("-c", "import initcfg"), lambda: run("-c", "pass"), "python -c pass"
    )
    yield Case(
        "initcfg plan of a small config",
        lambda: run("-m", "initcfg", "plan", str(config)),
        lambda: run("-c", "import torch"),
        "import torch, which the config imports",
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", metavar="SUBSTRING")
    parser.add_argument("--keep", action="store_true", help="keep the ratios of this run in kept.json")
    parser.add_argument("--long", action="store_true", help="also what takes minutes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    found: dict[str, dict[str, float]] = {}
    if not options.json:
        print(f"kernel: {kernel.features()}; torch {torch.__version__}; {os.cpu_count()} cores\n")
        if hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.0:
            print("Others use this machine: these times, and their ratios, may say little.\n")
        print("| work | ours, ms | peer, ms | limit, ms | ours / peer | kept | ours / limit | kept | limit |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for cases in (drawing(options.long), planning(), ready(), files(place), starting(place)):
            for case in cases:
                if options.only in case.name:
                    found[case.name] = measured(case)
                    if not options.json:
                        print(row(case, found[case.name], kept.get(case.name, {})), flush=True)
    if options.json:
        print(json.dumps(found))
    if options.keep:
        ratios = {
            name: {key: round(each, 3) for key, each in of.items() if key.startswith("/")}
            for name, of in found.items()
        }
        text = json.dumps({**kept, **ratios}, indent=1, ensure_ascii=False)
        KEPT.write_text(text + "\n", encoding="utf-8")


def measured(case: Case) -> dict[str, float]:
    """The seconds of each side, and the ratios."""
    peers = [] if case.peer is None else [case.peer]
    ours, limit, *peer = in_turn(case.ours, case.limit, *peers, before=case.before)
    found = {"ours": ours, "limit": limit, "/limit": ours / limit}
    return {**found, "peer": peer[0], "/peer": ours / peer[0]} if peer else found


def row(case: Case, found: dict[str, float], kept: dict[str, float]) -> str:
    """A line of the table."""
    peer = f"{found['peer'] * 1e3:.3f} ({case.whose})" if "peer" in found else ""
    cells = [case.name, f"{found['ours'] * 1e3:.3f}", peer, f"{found['limit'] * 1e3:.3f}"]
    for key in ("/peer", "/limit"):
        now, before = found.get(key), kept.get(key)
        grown = now is not None and before is not None and now > GROWN * before
        cells += ["" if now is None else f"{now:.2f}" + (" (grown)" if grown else "")]
        cells += ["" if before is None else f"{before:.2f}"]
    return "| " + " | ".join([*cells, case.least]) + " |"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
