"""Planning and the arithmetic of blocks for 405 billion parameters on simulated meshes of thousands of ranks.

    python benchmarks/mesh.py [--layers 126]

The model has the shape of Llama 3.1 405B, in bfloat16, on the meta device; ``parallelize_module`` and
``fully_shard`` lay it out as rank 0 of a fake process group of 1,024 ranks (dp 128 × tp 8) and of 16,384
(dp 1,024 × tp 16). Seconds: to plan, by rules and by trace; for all blocks of a rank; and to fill everything
that a rank holds, with one thread. For sampled ranks and tensors, what the rank's blocks hold is compared
bit for bit with rows of the whole tensor, made alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from typing import Any

SHAPES = ((128, 8), (1024, 16))
RANKS, TENSORS, ROWS = 12, 6, 3


def worker(data: int, cut: int, layers: int) -> dict[str, Any]:
    """One mesh, in this process."""
    os.environ["INITCFG_THREADS"] = "1"
    import torch
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    from torch.testing._internal.distributed.fake_pg import FakeStore

    import initcfg
    from initcfg._model.shards import _products, local_blocks, runs_of
    from initcfg._stream.writing.blocks import Block
    from initcfg._stream.writing.stream import StreamWriter, fill_stream

    class Layer(nn.Module):
        def __init__(self, width: int, hidden: int, heads: int, groups: int) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
            self.q, self.o = (nn.Linear(width, width, bias=False) for _ in range(2))
            self.k, self.v = (nn.Linear(width, width // heads * groups, bias=False) for _ in range(2))
            self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
            self.down = nn.Linear(hidden, width, bias=False)

    def build() -> nn.Module:
        torch.set_default_dtype(torch.bfloat16)
        model = nn.Module()
        model.embed = nn.Embedding(128256, 16384)
        model.layers = nn.ModuleList(Layer(16384, 53248, 128, 8) for _ in range(layers))
        model.norm, model.head = nn.RMSNorm(16384), nn.Linear(16384, 128256, bias=False)
        torch.set_default_dtype(torch.float32)
        return model

    # What is imported at the first call is imported.
    initcfg.plan(nn.Linear(1, 1))
    found: dict[str, Any] = {"ranks": data * cut}
    clock = Clock(found)
    torch.distributed.init_process_group("fake", rank=0, world_size=data * cut, store=FakeStore())
    with clock("build"), torch.device("meta"):
        model = build()
    with clock("mesh"):
        mesh = init_device_mesh("cpu", (data, cut), mesh_dim_names=("dp", "tp"))
    styles: dict[str, Any] = {name: ColwiseParallel() for name in ("q", "k", "v", "gate", "up")}
    styles |= {name: RowwiseParallel() for name in ("o", "down")}
    with clock("shard"):
        for layer in model.layers:
            parallelize_module(layer, mesh["tp"], styles)
            fully_shard(layer, mesh=mesh["dp"])
        parallelize_module(model, mesh["tp"], {"embed": RowwiseParallel(), "head": ColwiseParallel()})
        fully_shard(model, mesh=mesh["dp"])
    with clock("plan"):
        rules: list[dict[str, Any]] = [
            dict(type="Normal", layer=["Linear", "Embedding"], std=0.02),
            dict(type="TruncNormal", name=["*.o", "*.down"], std=0.001, a=-0.003, b=0.003),
        ]
        plan = initcfg.plan(model, rules)
    with clock("trace"):
        initcfg.trace(build)
    parameters: dict[str, Any] = dict(model.named_parameters())
    found["parameters"] = sum(parameter.numel() for parameter in parameters.values())
    with clock("blocks"):
        pieces = {name: local_blocks(parameter) for name, parameter in parameters.items()}
    found["tensors"] = len(parameters)
    found["pieces"] = sum(len(each) for each in pieces.values())
    elements = 0
    with clock("fill"):
        writer = StreamWriter(0)
        for name, each in pieces.items():
            value = plan[name].value
            for piece, block in each if value.kind != "Keep" else ():
                writer.add(torch.empty(piece.shape, dtype=piece.dtype), value, name, block=block)
                elements += piece.numel()
            writer.flush()
    found["elements"] = elements
    choice = random.Random(0)
    compared = different = 0
    with clock("compare"):
        for _ in range(RANKS):
            coordinate = (choice.randrange(data), choice.randrange(cut))
            for name in choice.sample([name for name in parameters if "norm" not in name], TENSORS):
                tensor, value = parameters[name], plan[name].value
                shape = tuple(tensor.shape)
                runs = runs_of(shape, tuple(tensor.device_mesh.shape), coordinate, tensor.placements)
                for _, offsets, sizes in _products(runs):
                    mine = torch.empty(sizes, dtype=tensor.dtype)
                    fill_stream(mine, value, seed=0, name=name, block=Block(shape, offsets))
                    for _ in range(ROWS):
                        row = choice.randrange(sizes[0])
                        whole = torch.empty(1, shape[1], dtype=tensor.dtype)
                        place = Block(shape, (offsets[0] + row, 0))
                        fill_stream(whole, value, seed=0, name=name, block=place)
                        same = torch.equal(whole[0, offsets[1] : offsets[1] + sizes[1]], mine[row])
                        compared, different = compared + 1, different + (not same)
    found |= {"compared": compared, "different": different}
    return found


class Clock:
    """Seconds of what is done within it, by name."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found
        self._name = ""
        self._start = 0.0

    def __call__(self, name: str) -> Clock:
        self._name = name
        return self

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._found[self._name] = time.perf_counter() - self._start


COLUMNS = {
    "build": "build on meta",
    "mesh": "mesh",
    "shard": "parallelize, shard",
    "plan": "plan by rules",
    "trace": "trace",
    "blocks": "blocks of a rank",
    "fill": "fill a rank",
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=126)
    parser.add_argument("--worker", type=int, nargs=2)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(worker(*arguments.worker, arguments.layers)))
        return
    print(
        "| dp × tp | parameters | tensors | "
        + " | ".join(COLUMNS.values())
        + " | elements of a rank | rows compared | different |"
    )
    print("|---|" + "---:|" * (len(COLUMNS) + 5))
    for data, cut in SHAPES:
        command = [
            sys.executable,
            __file__,
            "--worker",
            str(data),
            str(cut),
            "--layers",
            str(arguments.layers),
        ]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {data:,} × {cut} | {found['parameters'] / 1e9:.1f}·10⁹ | {found['tensors']:,} | "
            + " | ".join(f"{found[name]:.2f}" for name in COLUMNS)
            + f" | {found['elements']:,} | {found['compared']} | {found['different']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
