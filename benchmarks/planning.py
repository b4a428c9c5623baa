"""Time of planning: microseconds per parameter, by number of parameters and of rules.

    python benchmarks/planning.py [--json]

Each cell is the median of several runs on one model in one process. The models are chains of blocks
of a convolution and a normalization (with bias: four parameters a block); every fourth rule selects
by name, the others by class, and each has the whole model to look at. The limit is torch's own walk over it,
``dict(model.named_parameters())``.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time

import torch
from torch import nn

import initcfg


class Block(initcfg.BaseModule):
    """Four parameters, and rules of its own in every tenth."""

    def __init__(self, index: int) -> None:
        super().__init__(
            dict(type="Constant", val=0, override=dict(name="norm")) if index % 10 == 0 else None
        )
        self.conv = nn.Conv2d(8, 8, 3)
        self.norm = nn.BatchNorm2d(8)


def model(parameters: int) -> nn.Module:
    """A chain with about so many parameters, as 20 stages of blocks."""
    with torch.device("meta"):
        blocks = [Block(index) for index in range(max(1, parameters // 4))]
    size = max(1, len(blocks) // 20)
    stages = [initcfg.Sequential(*blocks[start : start + size]) for start in range(0, len(blocks), size)]
    return initcfg.Sequential(*stages)


def rules(count: int) -> list[dict[str, object]]:
    """So many rules, each of which reaches something."""
    kinds = [
        dict(type="Kaiming", layer="Conv2d"),
        dict(type="Constant", layer="_BatchNorm", val=1),
        dict(type="Normal", layer=["Conv2d", "Linear"], std=0.01),
        dict(type="Xavier", layer="Conv2d", name="*.conv"),
    ]
    return [kinds[index % 4] for index in range(count)]


def microseconds(net: nn.Module, cfg: list[dict[str, object]], repeats: int) -> float:
    """Median time of one plan, per parameter."""
    count = sum(1 for _ in net.parameters())
    times = []
    for _ in range(repeats):
        gc.collect()
        start = time.perf_counter()
        initcfg.plan(net, cfg)
        times.append(time.perf_counter() - start)
    return statistics.median(times) / count * 1e6


def limit(net: nn.Module, repeats: int) -> float:
    """Median time of one walk, per parameter."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = dict(net.named_parameters())
        times.append((time.perf_counter() - start) / len(found))
    return statistics.median(times) * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--largest", type=int, default=100_000)
    arguments = parser.parse_args()
    sizes = [size for size in (100, 1_000, 10_000, 100_000) if size <= arguments.largest]
    counts = (1, 5, 10, 50)
    table: dict[int, dict[int, float]] = {}
    limits: dict[int, float] = {}
    for size in sizes:
        net = model(size)
        repeats = max(3, min(50, 30_000 // size))
        table[size] = {count: microseconds(net, rules(count), repeats) for count in counts}
        limits[size] = limit(net, repeats)
    if arguments.json:
        print(json.dumps({"plan": table, "limit": limits}))
        return
    print("µs per parameter" + "".join(f"{count:>10} rules" for count in counts) + f"{'limit':>16}")
    for size, row in table.items():
        print(f"{size:>16,}" + "".join(f"{row[count]:>16.1f}" for count in counts) + f"{limits[size]:>16.1f}")


if __name__ == "__main__":
    main()
