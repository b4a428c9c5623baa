"""Filling CUDA tensors: GB/s of the kernel in Triton beside ``Tensor.normal_``, ``uniform_`` and ``fill_``.

    python benchmarks/device.py [--largest 268435456] [--json]

Ours is what a user calls, with keys, checks and the launch; theirs is the method of the tensor. They take
turns on the same memory, after a warm-up of each; each figure is a median of times between two CUDA events.
"copies" is ours with INITCFG_TRITON=0: numbers made in main memory and copied. Without a CUDA device it says
so and ends with 0.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from initcfg._stream.writing.cuda import device
from initcfg._stream.writing.stream import StreamWriter, fill_stream
from initcfg.values import Normal, TruncNormal, Uniform, Value

CASES: dict[str, tuple[Value, Callable[[torch.Tensor], object]]] = {
    "uniform": (Uniform(-0.1, 0.1), lambda tensor: tensor.uniform_(-0.1, 0.1)),
    "normal": (Normal(0.0, 0.02), lambda tensor: tensor.normal_(0.0, 0.02)),
    "truncated, ±2 sigmas": (
        TruncNormal(0.0, 0.02, -0.04, 0.04),
        lambda tensor: torch.nn.init.trunc_normal_(tensor, 0.0, 0.02, -0.04, 0.04),
    ),
}
TYPES = (torch.float32, torch.bfloat16, torch.float64)
SIZES = (1 << 16, 1 << 20, 1 << 24, 1 << 28)
WARM, MOST, FEWEST = 3, 50, 5
MOST_MILLISECONDS = 1000.0


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
    copies: float


def medians(*runs: Callable[[], object]) -> list[float]:
    """The median time of each on the device, in milliseconds, taken in turn."""
    for run in runs:
        for _ in range(WARM):
            run()
    first = [timed(run) for run in runs]
    count = max(FEWEST, min(MOST, int(MOST_MILLISECONDS / max(sum(first), 1e-6))))
    times = [[timed(run) for run in runs] for _ in range(count)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def timed(run: Callable[[], object]) -> float:
    """Milliseconds between an event before and one after; nothing else is on the device."""
    torch.cuda.synchronize()
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    before.record()
    run()
    after.record()
    after.synchronize()
    return before.elapsed_time(after)


@contextmanager
def without_triton() -> Any:
    os.environ["INITCFG_TRITON"] = "0"
    try:
        yield
    finally:
        del os.environ["INITCFG_TRITON"]


def row(case: str, dtype: torch.dtype, layout: str, elements: int) -> Row:
    """Measure one case."""
    value, theirs = CASES[case]
    tensor = torch.zeros(elements, dtype=dtype, device="cuda")
    if layout != "whole":
        rows = 1 << (elements.bit_length() // 2)
        tensor = tensor.view(elements // rows, rows)
        tensor = tensor.t() if layout == "transposed" else tensor[:, 1:-1]

    def ours() -> None:
        fill_stream(tensor, value, seed=0, name="weight")

    def copies() -> None:
        with without_triton():
            fill_stream(tensor, value, seed=0, name="weight")

    def fill() -> None:
        tensor.fill_(0.5)

    times = medians(ours, lambda: theirs(tensor), fill)
    # Once is enough for what takes seconds.
    times.append(medians(copies)[0] if elements <= 1 << 24 else timed(copies))
    size = tensor.numel() * tensor.element_size()
    speeds = [size / (each * 1e6) for each in times]
    return Row(case, str(dtype).removeprefix("torch."), layout, elements, *speeds)


def batch() -> dict[str, float]:
    """600 tensors of 1,024 elements, in milliseconds from the first launch to the end of the last."""
    tensors = [torch.zeros(32, 32, device="cuda") for _ in range(600)]

    def ours() -> None:
        writer = StreamWriter(0)
        for number, tensor in enumerate(tensors):
            writer.add(tensor, Normal(0.0, 0.02), f"layers.{number}.weight")
        writer.flush()

    def theirs() -> None:
        for tensor in tensors:
            tensor.normal_(0.0, 0.02)

    return dict(zip(("initcfg, normal", "Tensor.normal_"), medians(ours, theirs), strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no CUDA device here, so nothing was measured.")
        return
    where = torch.device("cuda", torch.cuda.current_device())
    room = torch.cuda.mem_get_info(where)[0] // 2
    layouts = [("whole", size) for size in SIZES] + [("transposed", SIZES[2]), ("columns", SIZES[2])]
    rows = [
        row(case, dtype, layout, elements)
        for case in CASES
        for dtype in TYPES
        for layout, elements in layouts
        if elements <= arguments.largest and elements * dtype.itemsize <= room
    ]
    batched = batch()
    reason = device.why_not(where)
    found = {
        "device": torch.cuda.get_device_name(where),
        "torch": torch.__version__,
        "triton": device.triton_version(),
        "not used": [each for each in (reason, *device.problems()) if each is not None],
    }
    if arguments.json:
        print(json.dumps({**found, "rows": [asdict(each) for each in rows], "batch": batched}))
        return
    print(f"{found['device']}; torch {found['torch']}; Triton {found['triton']}")
    for each in found["not used"]:
        print(f"The kernel in Triton is not used: {each}")
    print(
        f"{'GB/s':<22}{'type':<10}{'layout':<12}{'elements':>12}{'ours':>10}{'torch':>10}{'fill_':>10}{'copies':>10}"
    )
    for each in rows:
        print(
            f"{each.case:<22}{each.dtype:<10}{each.layout:<12}{each.elements:>12,}{each.ours:>10.1f}"
            f"{each.torch:>10.1f}{each.fill:>10.1f}{each.copies:>10.2f}"
        )
    print("\n600 tensors of 1,024 elements, ms")
    for name, milliseconds in batched.items():
        print(f"{name:<30}{milliseconds:>8.2f}")


if __name__ == "__main__":
    main()
