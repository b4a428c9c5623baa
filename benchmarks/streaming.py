"""Streaming a Llama-shaped bfloat16 model of 8 billion parameters (16 GB) to disk: speed, memory, a kill.

    python benchmarks/streaming.py [--shape 8b] [--folder FOLDER] [--repeats 2] [--format safetensors]

The command ``initcfg init`` in a process of its own, and ``dd`` of as many bytes with ``conv=fsync`` to
the same disk, with ``oflag=direct`` and without, in turn. The memory is the peak of the process above
that of one that only imports torch. Then tensors of the files are compared, bit for bit, with blocks
made anew; and a run is killed (SIGKILL) in the middle and goes on. Everything is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SEED = 0


def command(shape: str, folder: Path, file_format: str) -> list[str]:
    return [
        *(sys.executable, "-m", "initcfg", "init", "llama_shape:llama", "--set", f"shape={shape}"),
        *("-o", str(folder), "--dtype", "bfloat16", "--seed", str(SEED), "--format", file_format, "--json"),
    ]


def measured(words: list[str]) -> tuple[float, float, str]:
    """Seconds, peak MB and output of a process."""
    with tempfile.TemporaryFile("w+") as out:
        begun = time.perf_counter()
        process = subprocess.Popen(words, stdout=out, cwd=HERE)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begun
        out.seek(0)
        if process.returncode:
            sys.exit(f"{words} ended with {process.returncode}")
        return seconds, usage.ru_maxrss / 1e3, out.read()


def dd(folder: Path, size: int, *more: str) -> float:
    """GB/s of dd."""
    file = folder / "zeros"
    words = [
        "dd",
        "if=/dev/zero",
        f"of={file}",
        "bs=32M",
        f"count={size >> 25}",
        "conv=fsync",
        "status=none",
        *more,
    ]
    seconds, _, _ = measured(words)
    file.unlink()
    return (size >> 25 << 25) / seconds / 1e9


def check(folder: Path, blocks: int) -> int:
    """Compare pieces of tensors in the files with the same pieces made anew; how many were compared."""
    import torch

    import initcfg
    from initcfg._checkpoints.formats import open_path
    from initcfg._stream.writing.blocks import Block
    from initcfg._stream.writing.stream import fill_stream

    ledger = initcfg.Ledger.load(folder / "model.ledger.json")
    chosen = random.Random(0)
    with open_path(folder) as reader:
        keys = sorted(reader.keys())
        for key in chosen.choices(keys, k=blocks):
            tensor = reader.read(key)
            offsets = tuple(chosen.randrange(size) for size in tensor.shape)
            piece = tensor
            for dim, offset in enumerate(offsets):
                piece = piece.narrow(dim, offset, min(512, tensor.shape[dim] - offset))
            made = torch.empty(piece.shape, dtype=piece.dtype)
            block = Block(tuple(tensor.shape), offsets)
            fill_stream(made, ledger[key].value, seed=SEED, name=key, block=block)
            if not torch.equal(made.view(torch.int16), piece.contiguous().view(torch.int16)):
                sys.exit(f"{key} at {offsets} is not what the stream says")
    return blocks


def check_apart(folder: Path, blocks: int) -> int:
    """The same in a process of its own: a later process would begin with this one's peak memory."""
    done = subprocess.run(
        [sys.executable, __file__, "--check", str(folder), "--repeats", str(blocks)], check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    return blocks


def killed_and_resumed(shape: str, folder: Path, after: float) -> dict[str, float]:
    """A run that is killed after some seconds, and the same command once more."""
    words = command(shape, folder, "safetensors")
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=HERE)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = sorted(each.name for each in folder.glob("model-*.safetensors"))
    seconds, _, out = measured(words)
    found = json.loads(out)
    kept = sum(file["kept"] for file in found["files"])
    return {"finished": len(there), "kept": kept, "files": len(found["files"]), "seconds": seconds}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="8b")
    parser.add_argument("--folder", type=Path, help="Where to write; a temporary folder by default.")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--format", default="safetensors")
    parser.add_argument("--no-kill", action="store_true")
    parser.add_argument("--check", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.check is not None:
        check(options.check, options.repeats)
        return
    base = statistics.median(measured([sys.executable, "-c", "import torch"])[1] for _ in range(3))
    place = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        rows: list[tuple[float, float, float, float, float, float]] = []
        for _ in range(options.repeats):
            folder = place / "model"
            seconds, peak, out = measured(command(options.shape, folder, options.format))
            found = json.loads(out)
            size, writing = found["bytes"], found["seconds"]
            blocks = check_apart(folder, 200)
            shutil.rmtree(folder)
            disk, direct = dd(place, size), dd(place, size, "oflag=direct")
            rows.append((size / 1e9, seconds, size / writing / 1e9, disk, direct, peak - base))
            print(
                f"run: {size / 1e9:.2f} GB, {seconds:.1f} s in all, {size / writing / 1e9:.2f} GB/s; "
                f"dd {disk:.2f} GB/s, direct {direct:.2f}; {peak - base:,.0f} MB above "
                f"import torch ({base:,.0f} MB); {blocks} blocks equal",
                flush=True,
            )
        size, seconds, rate, disk, direct, peak = (
            statistics.median(each) for each in zip(*rows, strict=True)
        )
        print(
            "| GB | seconds in all | GB/s | dd, GB/s | dd oflag=direct, GB/s | peak above import torch, MB |"
        )
        print("|---:|---:|---:|---:|---:|---:|")
        print(f"| {size:.2f} | {seconds:.1f} | {rate:.2f} | {disk:.2f} | {direct:.2f} | {peak:,.0f} |")
        if options.format == "safetensors" and not options.no_kill:
            found = killed_and_resumed(options.shape, place / "killed", 0.6 * seconds)
            blocks = check_apart(place / "killed", 200)
            print(
                f"killed in the middle: {found['finished']:.0f} of {found['files']:.0f} shards were whole; "
                f"the same command kept {found['kept']:.0f} and took {found['seconds']:.1f} s; "
                f"{blocks} blocks equal"
            )
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
