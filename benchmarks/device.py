"""The stream on a GPU, in less than six minutes: bits, speed, a model of 8 billion parameters, loading.

    python benchmarks/device.py [--shape 8b] [--largest 268435456] [--seconds 330] [--json] [--self-test]

In this order, so that what is cut short when the time is over is the least: every kind of value on the
device beside the same on the CPU, bit for bit; the first compile in an empty cache, and a start with a full
one; GB/s of the kernel in Triton beside ``Tensor.normal_``, ``trunc_normal_`` and, as the limit, ``fill_``;
600 small tensors; a Llama from nothing to ready weights on the device; a checkpoint loaded there. Ours is
what a user calls, with keys, checks and the launch. The sides take turns on the same memory, after a warm-up
of each; times are between two CUDA events. "copies" is ours with INITCFG_TRITON=0: numbers made in main
memory and copied.

``--self-test`` goes the same way without a GPU, with tiny sizes: bits by Triton's interpreter, all else on
the CPU, where its figures mean nothing. Without it and without a GPU it says so, and ends with 0.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import initcfg
from initcfg._stream.bits import Dim, Recipe, stream_key
from initcfg._stream.writing.cuda import device
from initcfg._stream.writing.stream import StreamWriter, fill_stream, recipe_of
from initcfg.values import (
    Constant,
    Normal,
    Orthogonal,
    PaddingRow,
    Parts,
    Repeat,
    Scaled,
    TruncNormal,
    Uniform,
    Value,
)

CASES: dict[str, tuple[Value, Callable[[torch.Tensor], object]]] = {
    "uniform": (Uniform(-0.1, 0.1), lambda tensor: tensor.uniform_(-0.1, 0.1)),
    "normal": (Normal(0.0, 0.02), lambda tensor: tensor.normal_(0.0, 0.02)),
    "truncated, ±2 sigmas": (
        TruncNormal(0.0, 0.02, -0.04, 0.04),
        lambda tensor: nn.init.trunc_normal_(tensor, 0.0, 0.02, -0.04, 0.04),
    ),
}
# One of each way to make numbers: by map of the kernel, and by what lies around it.
KINDS: dict[str, Value] = {
    "constant": Constant(0.1),
    "uniform": Uniform(-0.1, 0.7),
    "normal": Normal(0.1, 0.02),
    "truncated, cut": TruncNormal(0.0, 1.0, -2.0, 2.0),
    "truncated, flat": TruncNormal(0.0, 1.0, 1.0, 1.00000001),
    "truncated, upper tail": TruncNormal(0.0, 1.0, 6.0, 7.0),
    "truncated, lower tail": TruncNormal(0.0, 1.0, -7.0, -6.0),
    "truncated, both": TruncNormal(0.0, 1.0, -0.001, 0.002),
    "parts": Parts(0, (24, 40), (Normal(0.0, 1.0), Uniform(0.0, 1.0))),
    "padding row": PaddingRow(2, Normal(0.0, 1.0)),
    "repeated": Repeat(0, 2, Normal(0.0, 1.0)),
    "scaled": Scaled(Normal(0.0, 1.0), tuple(0.5 + row / 64 for row in range(64))),
    "orthogonal": Orthogonal(1.0),
}
BY_KERNEL = ("constant", "uniform", "normal", "truncated")
ALL_TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
TYPES = (torch.float32, torch.bfloat16, torch.float64)
SIZES = (1 << 16, 1 << 20, 1 << 24, 1 << 28)
WARM, MOST, FEWEST = 3, 30, 5
MOST_MILLISECONDS = 300.0


@dataclass
class Row:
    """One line of the table, in GB/s."""

    case: str
    dtype: str
    layout: str
    elements: int
    ours: float
    torch: float
    fill: float
    copies: float | None


class Bench:
    """Where it runs, and until when."""

    def __init__(self, where: torch.device, seconds: float) -> None:
        self.where = where
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the time is over."""
        return self._end - time.monotonic()

    def done(self) -> None:
        """Wait until the device has done everything."""
        if self.where.type == "cuda":
            torch.cuda.synchronize(self.where)

    def milliseconds(self, run: Callable[[], object]) -> float:
        """Between an event before and one after; nothing else is on the device."""
        self.done()
        if self.where.type != "cuda":
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start) * 1e3
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        run()
        after.record()
        after.synchronize()
        return before.elapsed_time(after)

    def seconds(self, run: Callable[[], object]) -> float:
        """From the call until the device has done it, the host's part included."""
        self.done()
        start = time.perf_counter()
        kept = run()
        self.done()
        found = time.perf_counter() - start
        del kept
        gc.collect()
        return found

    def medians(self, *runs: Callable[[], object]) -> list[float]:
        """The median milliseconds of each, taken in turn."""
        for run in runs:
            for _ in range(WARM):
                run()
        first = [self.milliseconds(run) for run in runs]
        count = max(FEWEST, min(MOST, int(MOST_MILLISECONDS / max(sum(first), 1e-6))))
        times = [[self.milliseconds(run) for run in runs] for _ in range(count)]
        return [statistics.median(column) for column in zip(*times, strict=True)]


@contextmanager
def without_triton() -> Iterator[None]:
    before = os.environ.get("INITCFG_TRITON")
    os.environ["INITCFG_TRITON"] = "0"
    try:
        yield
    finally:
        del os.environ["INITCFG_TRITON"]
        if before is not None:
            os.environ["INITCFG_TRITON"] = before


def different_bits(bench: Bench) -> dict[str, int]:
    """By kind, type and layout: how many elements of the device's tensor differ from the CPU's."""
    found: dict[str, int] = {}
    for kind, value in KINDS.items():
        for dtype in ALL_TYPES:
            for layout in ("plain", "transposed", "odd"):
                here, there = (
                    _laid_out(layout, dtype, where) for where in (torch.device("cpu"), bench.where)
                )
                fill_stream(here, value, seed=7, name="weight")
                if bench.where.type == "cuda":
                    fill_stream(there, value, seed=7, name="weight")
                elif kind.split(",")[0] in BY_KERNEL and device.triton_version() is not None:
                    _interpreted(there, recipe_of(value, dtype == torch.float64))
                else:
                    continue
                pattern = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
                equal = here.contiguous().view(pattern) == there.cpu().contiguous().view(pattern)
                found[f"{kind}, {str(dtype).removeprefix('torch.')}, {layout}"] = int((~equal).sum())
    return found


def _laid_out(layout: str, dtype: torch.dtype, where: torch.device) -> torch.Tensor:
    if layout == "transposed":
        return torch.zeros(48, 64, dtype=dtype, device=where).t()
    # Neither the memory nor the rows begin where blocks of words begin.
    return torch.zeros(64 * 49, dtype=dtype, device=where)[: 64 * 47].view(64, 47)[:, int(layout == "odd") :]


def _interpreted(tensor: torch.Tensor, recipe: Recipe) -> None:
    """The kernel in Triton's interpreter, on a tensor here."""
    from initcfg._stream.writing.blocks import Block, dims_of

    dims, base = dims_of(tensor, Block.whole(tensor.shape))
    key = stream_key(7, "weight")
    device.launch(tensor, recipe, key, base, tuple(Dim(*each) for each in dims))


FIRST = """
import time, torch
from initcfg._stream.writing.stream import fill_stream
from initcfg.values import Normal
tensor = torch.zeros(1 << 20, device={where!r})
synchronize = torch.cuda.synchronize if tensor.is_cuda else lambda: None
synchronize()
start = time.perf_counter()
fill_stream(tensor, Normal(0.0, 0.02), seed=0, name="weight")
synchronize()
print(time.perf_counter() - start)
"""


def starts(bench: Bench) -> dict[str, float]:
    """Seconds of the first fill of a process, with an empty cache of Triton's, and with what that left."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("first compile", "cached start"):
            environment = {**os.environ, "TRITON_CACHE_DIR": cache}
            words = [sys.executable, "-c", FIRST.format(where=str(bench.where))]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
            found[name] = float(done.stdout.split()[-1])
    return found


def row(bench: Bench, case: str, dtype: torch.dtype, layout: str, elements: int) -> Row:
    """Measure one case."""
    value, theirs = CASES[case]
    tensor = torch.zeros(elements, dtype=dtype, device=bench.where)
    if layout != "whole":
        rows = 1 << (elements.bit_length() // 2)
        tensor = tensor.view(elements // rows, rows)
        tensor = tensor.t() if layout == "transposed" else tensor[:, 1:-1]

    def ours() -> None:
        fill_stream(tensor, value, seed=0, name="weight")

    def copies() -> None:
        with without_triton():
            fill_stream(tensor, value, seed=0, name="weight")

    times = bench.medians(ours, lambda: theirs(tensor), lambda: tensor.fill_(0.5))
    size = tensor.numel() * tensor.element_size()
    first, second, third = (size / (each * 1e6) for each in times)
    # What takes a second is left out.
    by_copies = size / (bench.milliseconds(copies) * 1e6) if elements <= 1 << 24 else None
    name = str(dtype).removeprefix("torch.")
    return Row(case, name, layout, elements, first, second, third, by_copies)


def rows(bench: Bench, largest: int, reserve: float) -> Iterator[Row]:
    """All cases that time is left for: whole tensors from large to small, then other layouts."""
    layouts = [("whole", size) for size in reversed(SIZES)] + [("transposed", 1 << 24), ("columns", 1 << 24)]
    room = torch.cuda.mem_get_info(bench.where)[0] // 2 if bench.where.type == "cuda" else 1 << 30
    for layout, elements in layouts:
        for dtype in TYPES:
            for case in CASES:
                fits = elements <= largest and elements * dtype.itemsize <= room
                if fits and bench.left() > reserve:
                    yield row(bench, case, dtype, layout, elements)


def batch(bench: Bench) -> dict[str, float]:
    """600 tensors of 1,024 elements, in milliseconds from the first launch to the end of the last."""
    tensors = [torch.zeros(32, 32, device=bench.where) for _ in range(600)]

    def ours() -> None:
        writer = StreamWriter(0)
        for number, tensor in enumerate(tensors):
            writer.add(tensor, Normal(0.0, 0.02), f"layers.{number}.weight")
        writer.flush()

    def each(run: Callable[[torch.Tensor], object]) -> Callable[[], object]:
        return lambda: [run(tensor) for tensor in tensors]

    names = ("initcfg, normal", "Tensor.normal_", "Tensor.fill_, the limit")
    runs = (ours, each(lambda tensor: tensor.normal_(0.0, 0.02)), each(lambda tensor: tensor.fill_(0.5)))
    return dict(zip(names, bench.medians(*runs), strict=True))


def ready(bench: Bench, shape: str) -> dict[str, float]:
    """A Llama in bfloat16 from nothing, in seconds; the most that the device held, in GB."""
    from llama_shape import llama

    def build(where: str | torch.device) -> nn.Module:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device(where):
                return llama(shape)
        finally:
            torch.set_default_dtype(before)

    def ours() -> nn.Module:
        plan = initcfg.trace(lambda: build("cpu"))
        model = build("meta")
        initcfg.materialize(model, plan=plan, device=bench.where, seed=0)
        return model

    shapes = [each.shape for each in build("meta").parameters()]

    def limit() -> list[torch.Tensor]:
        return [torch.empty(each, dtype=torch.bfloat16, device=bench.where).fill_(0.5) for each in shapes]

    found = {"parameters": float(sum(each.numel() for each in shapes))}
    runs: dict[str, Callable[[], object]] = {
        "initcfg": ours,
        "the constructors on the device": lambda: build(bench.where),
        "new memory and fill_, the limit": limit,
    }
    for name, run in runs.items():
        if bench.where.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(bench.where)
        found[name] = bench.seconds(run)
        if bench.where.type == "cuda":
            found[f"{name}, peak GB"] = torch.cuda.max_memory_allocated(bench.where) / 1e9
    return found


def loading(bench: Bench, megabytes: int) -> dict[str, float]:
    """A checkpoint in the system's cache, to the device, in seconds."""
    from safetensors.torch import load_file, save_file

    def build() -> nn.Module:
        return nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(max(1, megabytes // 4))))

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        with torch.device("meta"):
            shapes = {name: each.shape for name, each in build().state_dict().items()}
        save_file({name: torch.rand(each) for name, each in shapes.items()}, file)
        pinned = torch.zeros(file.stat().st_size, dtype=torch.uint8, pin_memory=bench.where.type == "cuda")

        def ours() -> nn.Module:
            with torch.device("meta"):
                model = build()
            initcfg.materialize(
                model, dict(type="Pretrained", checkpoint=str(file)), device=bench.where, seed=0
            )
            return model

        runs: dict[str, Callable[[], object]] = {
            "initcfg": ours,
            "safetensors' load_file": lambda: load_file(file, device=str(bench.where)),
            "a copy of pinned memory, the limit": lambda: pinned.to(bench.where, copy=True),
        }
        return {name: min(bench.seconds(run) for _ in range(3)) for name, run in runs.items()}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--shape", default="8b", help="of llama_shape.py")
    parser.add_argument("--seconds", type=float, default=330.0, help="after these nothing new is begun")
    parser.add_argument("--self-test", action="store_true", help="without a GPU, and with tiny sizes")
    options = parser.parse_args()
    if options.self_test:
        if os.environ.get("TRITON_INTERPRET") != "1":
            # Triton looks when it is imported.
            os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "TRITON_INTERPRET": "1"})
        where, options.largest, options.shape = torch.device("cpu"), 1 << 16, "100m"
    elif not torch.cuda.is_available():
        print("There is no CUDA device here, so nothing was measured.")
        return
    else:
        where = torch.device("cuda", torch.cuda.current_device())
    report(Bench(where, options.seconds), options)


def report(bench: Bench, options: argparse.Namespace) -> None:
    """All parts in their order, each printed as soon as it is there."""
    say: Callable[..., None] = (lambda *_, **__: None) if options.json else print
    cuda = bench.where.type == "cuda"
    name = torch.cuda.get_device_name(bench.where) if cuda else "no GPU: a test of this program"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "triton": device.triton_version()}
    say(f"{name}; torch {torch.__version__}; Triton {found['triton']}")

    bits = found["bits"] = different_bits(bench)
    wrong = {case: count for case, count in bits.items() if count}
    say(f"\n{len(bits)} kinds, types and layouts compared with the CPU; different: {wrong or 'none'}")
    found["not used"] = [
        each for each in (device.why_not(bench.where), *device.problems()) if each is not None
    ]
    for each in found["not used"]:
        say(f"The kernel in Triton is not used: {each}")

    def part(title: str, key: str, run: Callable[[], dict[str, float]], needed: float) -> None:
        if bench.left() < needed:
            say(f"\n{title}: left out, for want of time")
            return
        say(f"\n{title}")
        found[key] = run()
        for label, number in found[key].items():
            say(f"{label:<46}{number:>16,.3f}")

    part("The first fill of a process, seconds", "starts", lambda: starts(bench), 30.0)
    say(
        f"\n{'GB/s':<22}{'type':<10}{'layout':<12}{'elements':>12}{'ours':>10}{'torch':>10}{'fill_':>10}",
        end="",
    )
    say(f"{'copies':>10}")
    found["rows"] = []
    # The model and the checkpoint need the rest.
    for each in rows(bench, options.largest, 90.0):
        found["rows"].append(asdict(each))
        copies = "" if each.copies is None else f"{each.copies:>10.2f}"
        say(
            f"{each.case:<22}{each.dtype:<10}{each.layout:<12}{each.elements:>12,}{each.ours:>10.1f}"
            f"{each.torch:>10.1f}{each.fill:>10.1f}{copies}",
            flush=True,
        )
    part("600 tensors of 1,024 elements, ms", "batch", lambda: batch(bench), 10.0)
    title = f"A Llama, {options.shape}, bfloat16, from nothing, seconds"
    part(title, "ready", lambda: ready(bench, options.shape), 40.0)
    part("A checkpoint to the device, seconds", "loading", lambda: loading(bench, 2000 if cuda else 8), 20.0)
    if options.json:
        print(json.dumps(found))
    if wrong:
        sys.exit("Bits differ.")


if __name__ == "__main__":
    main()
