"""What each rank of a sharded model does, by number of ranks: peak memory, elements, CPU seconds.

    python benchmarks/scale.py [--worlds 1 2 4 8] [--repeats 3]

A model in the shape of Llama, 310 million float32 parameters, built on the meta device, sharded by
``fully_shard``, and materialized, on gloo; each rank is a process with one thread. The memory is the peak
above what there was after the imports and a first small model. The times are CPU times of a rank: of
writing, and of ``materialize`` in all, with planning and the agreement. Figures are the largest of the
ranks; medians of the repeats. Values that are not blockwise, such as orthogonal matrices, are made whole by
each rank that holds a part of them: the last rows, a model of eight such matrices.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

KINDS = ("normal", "orthogonal")


def worker(kind: str) -> dict[str, Any]:
    """One rank, in this process."""
    import torch
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    import initcfg

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))

    class Block(nn.Module):
        def __init__(self, width: int, hidden: int) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
            self.q, self.o = (nn.Linear(width, width, bias=False) for _ in range(2))
            self.k, self.v = (nn.Linear(width, width // 4, bias=False) for _ in range(2))
            self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
            self.down = nn.Linear(hidden, width, bias=False)

    def build(depth: int, width: int, words: int) -> nn.Module:
        model = nn.Module()
        model.embed = nn.Embedding(words, width)
        model.blocks = nn.ModuleList(Block(width, 4 * width) for _ in range(depth))
        model.norm, model.head = nn.RMSNorm(width), nn.Linear(width, words, bias=False)
        return model

    def build_orthogonal(count: int, width: int) -> nn.Module:
        model = nn.Module()
        model.blocks = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(count))
        return model

    counted, writing = count_elements()

    def measure(make: Any, rules: list[dict[str, Any]]) -> dict[str, Any]:
        with torch.device("meta"):
            model = make()
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        torch.distributed.barrier()
        counted.clear()
        writing.clear()
        start = time.process_time()
        initcfg.materialize(model, rules, seed=0)
        seconds = time.process_time() - start
        local = [parameter.to_local() for parameter in model.parameters()]
        return {
            "cpu": seconds,
            "writing": sum(writing),
            "shards": sum(each.numel() * each.element_size() for each in local),
            "parameters": sum(each.numel() for each in model.parameters()),
            "elements": sum(counted),
        }

    rules: list[dict[str, Any]] = [dict(type="Normal", layer=["Linear", "Embedding"], std=0.02)]
    if kind == "orthogonal":
        rules = [dict(type="Orthogonal", layer="Linear")]

    def make(small: bool) -> Any:
        if kind == "orthogonal":
            return lambda: build_orthogonal(8, 64 if small else 768)
        return lambda: build(2, 64, 64) if small else build(16, 1024, 32768)

    measure(make(small=True), rules)
    # From here on the peak is counted anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    found = measure(make(small=False), rules)
    found["peak"] = status("VmHWM") - before
    ranks: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(ranks, found)
    torch.distributed.destroy_process_group()
    return {name: max(rank[name] for rank in ranks) for name in found}


def count_elements() -> tuple[list[int], list[float]]:
    """Kept for each write: elements that are generated, all where a value is made whole; and CPU seconds."""
    from initcfg._stream.writing import stream

    counted: list[int] = []
    seconds: list[float] = []
    writer = stream.StreamWriter
    make_whole, tell, add, flush = stream.whole_values.block, writer._tell, writer.add, writer.flush

    def whole(value: Any, shape: Any, *arguments: Any) -> Any:
        made = make_whole(value, shape, *arguments)
        # What is written of it is told, too.
        counted.append(math.prod(shape) - made.size)
        return made

    def told(self: Any, elements: int) -> None:
        counted.append(elements)
        tell(self, elements)

    def timed(method: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> None:
            start = time.thread_time()
            outer, nested[0] = nested[0], True
            method(*arguments, **keywords)
            nested[0] = outer
            if not outer:
                seconds.append(time.thread_time() - start)

        return call

    nested = [False]
    stream.whole_values.block = whole
    writer._tell = told  # type: ignore[method-assign]
    writer.add, writer.flush = timed(add), timed(flush)  # type: ignore[method-assign]
    return counted, seconds


def status(name: str) -> int:
    """A line of what the system knows of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def run(world: int, kind: str) -> dict[str, Any]:
    """All ranks, each a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(world), OMP_NUM_THREADS="1")
    common |= dict(INITCFG_THREADS="1", GLOO_SOCKET_IFNAME="lo", RES_OPTIONS="timeout:1 attempts:1")
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--worker", kind],
            env={**os.environ, **common, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(world)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"a rank of {world} failed: try one with --worker {kind}")
    return json.loads(outputs[0].splitlines()[-1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", choices=KINDS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(worker(arguments.worker)))
        return
    print(
        "| values | parameters | ranks | shards, MB | peak, MB | above | elements | × ranks | writing, CPU s "
        "| × ranks | all, CPU s |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for kind in KINDS:
        for world in arguments.worlds:
            runs = [run(world, kind) for _ in range(arguments.repeats)]
            found = {name: statistics.median(each[name] for each in runs) for name in runs[0]}
            megabytes = [found["shards"] / 1e6, found["peak"] / 1e6, (found["peak"] - found["shards"]) / 1e6]
            print(
                f"| {kind} | {found['parameters']:,} | {world} | "
                + " | ".join(f"{each:,.0f}" for each in megabytes)
                + f" | {found['elements']:,} | {world * found['elements'] / found['parameters']:.2f}"
                + f" | {found['writing']:.3f} | {world * found['writing']:.2f} | {found['cpu']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
