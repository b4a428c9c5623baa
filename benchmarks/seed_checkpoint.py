"""Sharded weights to begin with: a seed checkpoint, as people make it today, against the stream.

    python benchmarks/seed_checkpoint.py [--shape 1b] [--ranks 2] [--repeats 2] [--folder FOLDER]

A Llama-shaped bfloat16 model is to be sharded by FSDP2 over gloo processes, every rank with its part of the
same initial weights. Ways:

- *torch.save*: one process builds and initializes the model and writes it with ``torch.save``; a second step
  makes a distributed checkpoint of that (``torch_save_to_dcp``); the ranks load it by DCP;
- *dcp.save*: one process builds and initializes the model and writes a distributed checkpoint ("seed
  checkpoint"); the ranks load it;
- *initcfg init*: the checkpoint is streamed by ``initcfg init --format dcp``; the ranks load it;
- *plan.apply*: no checkpoint: each rank makes its own shards.

Seconds and peak memory are those of whole processes, imports included; of the ranks, the largest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WAYS = ("torch.save", "dcp.save", "initcfg init", "plan.apply")


def make(way: str, shape: str, folder: str) -> None:
    """The first step, in a process of its own."""
    import torch
    import torch.distributed.checkpoint as dcp
    from llama_shape import llama

    torch.set_default_dtype(torch.bfloat16)
    torch.manual_seed(0)
    model = llama(shape)
    if way == "dcp.save":
        dcp.save(model.state_dict(), checkpoint_id=folder, no_dist=True)
        return
    from torch.distributed.checkpoint.format_utils import torch_save_to_dcp

    torch.save(model.state_dict(), f"{folder}.pt")
    del model
    torch_save_to_dcp(f"{folder}.pt", folder)


def load(way: str, shape: str, folder: str) -> None:
    """The second step, on each rank."""
    import torch
    import torch.distributed.checkpoint as dcp
    from llama_shape import llama
    from torch.distributed.checkpoint.state_dict import get_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        model = llama(shape)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if way == "plan.apply":
        import initcfg

        plan = initcfg.trace(lambda: llama(shape))
        model.to_empty(device="cpu")
        plan.apply(model, seed=0)
    else:
        model.to_empty(device="cpu")
        dcp.load(get_model_state_dict(model), checkpoint_id=folder)
    torch.distributed.destroy_process_group()


def measured(words: list[str], environments: list[dict[str, str]]) -> tuple[float, float]:
    """Seconds of some processes together, and the largest peak, in MB."""
    begun = time.perf_counter()
    running = [
        subprocess.Popen(words, cwd=HERE, env={**os.environ, **each}, stdout=subprocess.DEVNULL)
        for each in environments
    ]
    peaks: list[float] = []
    for process in running:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{words} ended with {process.returncode}")
        peaks.append(usage.ru_maxrss / 1e3)
    return time.perf_counter() - begun, max(peaks)


def run(way: str, shape: str, ranks: int, folder: Path) -> dict[str, Any]:
    """Both steps of a way."""
    found: dict[str, Any] = {"way": way, "make": 0.0, "make_mb": 0.0, "disk": 0.0}
    own = [sys.executable, __file__]
    place = str(folder / "checkpoint")
    if way == "initcfg init":
        words = [sys.executable, "-m", "initcfg", "init", "llama_shape:llama", "--set", f"shape={shape}"]
        words += ["-o", place, "--format", "dcp", "--dtype", "bfloat16", "--seed", "0"]
        found["make"], found["make_mb"] = measured(words, [{}])
    elif way != "plan.apply":
        found["make"], found["make_mb"] = measured([*own, "--make", way, shape, place], [{}])
    found["disk"] = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()) / 1e9
    port = str(29500 + os.getpid() % 1000)
    shared = {
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1",
    }
    environments = [{**shared, "RANK": str(rank)} for rank in range(ranks)]
    found["load"], found["load_mb"] = measured([*own, "--load", way, shape, place], environments)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="1b")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--ways", nargs="*", default=WAYS)
    parser.add_argument("--make", nargs=3)
    parser.add_argument("--load", nargs=3)
    options = parser.parse_args()
    if options.make:
        make(*options.make)
        return
    if options.load:
        load(*options.load)
        return
    rows: dict[str, list[dict[str, Any]]] = {way: [] for way in options.ways}
    for _ in range(options.repeats):
        for way in options.ways:
            folder = Path(tempfile.mkdtemp(dir=options.folder))
            try:
                rows[way].append(run(way, options.shape, options.ranks, folder))
                print(json.dumps(rows[way][-1]), file=sys.stderr, flush=True)
            except RuntimeError as error:
                print(f"{way}: {error}", file=sys.stderr, flush=True)
            finally:
                shutil.rmtree(folder)
    print("| way | seconds: make | load | together | disk, GB | peak MB: make | load, a rank |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for way, found in rows.items():
        if not found:
            print(f"| {way} | cannot be done | | | | | |")
            continue
        at = {key: statistics.median(each[key] for each in found) for key in found[0] if key != "way"}
        print(
            f"| {way} | {at['make']:.1f} | {at['load']:.1f} | {at['make'] + at['load']:.1f} "
            f"| {at['disk']:.2f} | {at['make_mb']:,.0f} | {at['load_mb']:,.0f} |"
        )


if __name__ == "__main__":
    main()
