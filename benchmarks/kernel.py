"""Speed of the stream beside torch's own fills, in one process: nanoseconds per element.

    python benchmarks/kernel.py [--largest 100000000] [--json]

Ours is what a user calls, with keys, checks and all: a value into a tensor. Theirs is the function of
``torch.nn.init``; the limit is ``Tensor.fill_``. They take turns, on the same memory; each figure is a
median. torch draws on one thread whatever it is allowed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from initcfg._stream.bits import kernel
from initcfg._stream.writing.stream import StreamWriter, fill_stream
from initcfg.values import Constant, Normal, TruncNormal, Uniform, Value

CASES: dict[str, tuple[Value, Callable[[torch.Tensor], object]]] = {
    "uniform": (Uniform(-0.1, 0.1), lambda tensor: nn.init.uniform_(tensor, -0.1, 0.1)),
    "normal": (Normal(0.0, 0.02), lambda tensor: nn.init.normal_(tensor, 0.0, 0.02)),
    "normal, by Tensor.normal_": (Normal(0.0, 0.02), lambda tensor: tensor.normal_(0.0, 0.02)),
    "truncated, std 1, ±2": (
        TruncNormal(0.0, 1.0, -2.0, 2.0),
        lambda tensor: nn.init.trunc_normal_(tensor, 0.0, 1.0, -2.0, 2.0),
    ),
    "truncated, std 0.02, ±2": (
        TruncNormal(0.0, 0.02, -2.0, 2.0),
        lambda tensor: nn.init.trunc_normal_(tensor, 0.0, 0.02, -2.0, 2.0),
    ),
    "constant": (Constant(1.0), lambda tensor: nn.init.constant_(tensor, 1.0)),
}
SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8)
MOST_SECONDS = 2.0
FEWEST, MOST = 3, 101


@dataclass
class Row:
    """One line of the table, in nanoseconds per element."""

    case: str
    dtype: str
    elements: int
    torch: float
    one: float
    two: float
    # As much memory, touched before, written by Tensor.fill_ on one thread.
    limit: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is, on one thread."""
        return self.torch / self.one


def medians(*runs: Callable[[], object]) -> list[float]:
    """The median time of each, in seconds, taken in turn."""
    first = [_timed(run) for run in runs]
    count = max(FEWEST, min(MOST, int(MOST_SECONDS / max(sum(first), 1e-9))))
    times = [[_timed(run) for run in runs] for _ in range(count)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def on_threads(threads: int, run: Callable[[], object]) -> Callable[[], object]:
    """The same, with so many threads; to set their number takes less than a microsecond."""

    def limited() -> object:
        torch.set_num_threads(threads)
        return run()

    return limited


def row(case: str, dtype: torch.dtype, elements: int) -> Row:
    """Measure one case."""
    value, theirs = CASES[case]
    tensor = torch.empty(elements, dtype=dtype)
    tensor.zero_()

    def ours() -> None:
        fill_stream(tensor, value, seed=0, name="weight")

    times = medians(
        on_threads(1, lambda: theirs(tensor)),
        on_threads(1, ours),
        on_threads(2, ours),
        on_threads(1, lambda: tensor.fill_(1.0)),
    )
    name = str(dtype).removeprefix("torch.")
    return Row(case, name, elements, *(each / elements * 1e9 for each in times))


def batch() -> dict[str, float]:
    """600 tensors of 1,024 elements, in milliseconds: ours in one batch, torch's one by one."""
    tensors = [torch.zeros(32, 32) for _ in range(600)]

    def ours(value: Value) -> Callable[[], None]:
        def run() -> None:
            writer = StreamWriter(0)
            for number, tensor in enumerate(tensors):
                writer.add(tensor, value, f"layers.{number}.weight")
            writer.flush()

        return run

    def theirs(function: Callable[[torch.Tensor], object]) -> Callable[[], object]:
        return lambda: [function(tensor) for tensor in tensors] and None

    names = ["initcfg, normal", "initcfg, truncated", "initcfg, truncated, 2 threads"]
    names += ["Tensor.normal_", "nn.init.normal_", "nn.init.uniform_", "nn.init.kaiming_uniform_"]
    names += ["nn.init.trunc_normal_", "Tensor.fill_, the limit"]
    truncated = ours(TruncNormal(0.0, 0.02, -2.0, 2.0))
    torch.set_num_threads(1)
    times = medians(
        ours(Normal(0.0, 0.02)),
        truncated,
        on_threads(2, truncated),
        on_threads(1, theirs(lambda tensor: tensor.normal_(0.0, 0.02))),
        theirs(lambda tensor: nn.init.normal_(tensor, 0.0, 0.02)),
        theirs(lambda tensor: nn.init.uniform_(tensor, -0.1, 0.1)),
        theirs(nn.init.kaiming_uniform_),
        theirs(lambda tensor: nn.init.trunc_normal_(tensor, 0.0, 0.02)),
        theirs(lambda tensor: tensor.fill_(1.0)),
    )
    return {name: each * 1e3 for name, each in zip(names, times, strict=True)}


def without_kernel() -> dict[str, float]:
    """The fallback at 10⁶ elements, float32, in nanoseconds per element."""
    tensor = torch.zeros(10**6)
    torch.set_num_threads(1)
    os.environ["INITCFG_KERNEL"] = "0"
    try:
        return {
            case: medians(lambda value=value: fill_stream(tensor, value, seed=0, name="weight"))[0] * 1e3
            for case, (value, _) in CASES.items()
            if "Tensor" not in case
        }
    finally:
        del os.environ["INITCFG_KERNEL"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    arguments = parser.parse_args()
    rows = [
        row(case, dtype, elements)
        for case in CASES
        for dtype in (torch.float32, torch.bfloat16)
        for elements in SIZES
        if elements <= arguments.largest
    ]
    batched, fallback = batch(), without_kernel()
    if arguments.json:
        print(json.dumps({"rows": [asdict(each) for each in rows], "batch": batched, "fallback": fallback}))
        return
    print(
        f"kernel: {kernel.features() if kernel.available() else kernel.why_not()}; torch {torch.__version__}"
    )
    print(
        f"{'ns per element':<26}{'type':<10}{'elements':>12}{'torch':>8}{'ours':>8}{'×':>7}"
        f"{'2 threads':>11}{'×':>6}{'limit':>8}"
    )
    for each in rows:
        print(
            f"{each.case:<26}{each.dtype:<10}{each.elements:>12,}{each.torch:>8.2f}{each.one:>8.2f}"
            f"{each.ratio:>7.1f}{each.two:>11.2f}{each.one / each.two:>6.2f}{each.limit:>8.2f}"
        )
    print("\n600 tensors of 1,024 elements, ms")
    for name, each in batched.items():
        print(f"{name:<30}{each:>8.2f}")
    print("\nwithout the kernel: 10⁶ float32 elements, ns per element")
    for name, each in fallback.items():
        print(f"{name:<30}{each:>8.2f}")


if __name__ == "__main__":
    main()
