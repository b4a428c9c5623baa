"""What is left when somebody pulls the plug: ranks killed, signals, forks, and tensors past 2³¹ elements.

    python benchmarks/interruptions.py [kill] [signal] [fork] [large] [--rounds 20] [--seed 0]

- *kill*: ``torchrun`` writes a checkpoint with two ranks; one of them, or the launcher, gets SIGKILL at a
  random moment. The launcher must end, no unfinished folder may pass for a checkpoint, and the same command
  without a kill must leave the files of a run that nobody disturbed, byte for byte.
- *signal*: one process gets SIGINT or SIGTERM while it writes: one line, exit code 130 (SIGINT); then as
  above.
- *fork*: a process forks while its threads fill a model; the child fills one too. Both have the same bits.
- *large*: a bfloat16 tensor of more than 2³¹ elements, filled at once and streamed to disk; rows on both
  sides of 2³¹ are made again one by one.

Prints a line a round, and a table. Exit code 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PARTS = ("kill", "signal", "fork", "large")
MODEL = """
from torch import nn

def build(width: int = 1024, layers: int = 96) -> nn.Module:
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))
"""
# Seconds after which a launcher that lost a rank counts as hanging.
PATIENCE = 90


def _command(folder: Path, output: str, ranks: int) -> list[str]:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    )
    task = ["-m", "initcfg", "init", "interrupted_model:build", "-o", output, "--seed", "3"]
    return [sys.executable, *launcher, *task, "--shard-size", "8MB"]


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "INITCFG_RANK_TIMEOUT": "60"}


def _start(folder: Path, output: str, ranks: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _command(folder, output, ranks),
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell without job control lets its background processes ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


def _digests(folder: Path) -> dict[str, str]:
    """The files of a checkpoint; not the ledger's time, which a run takes."""
    files = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.index.json"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _passes_for_a_checkpoint(folder: Path) -> bool:
    from initcfg._checkpoints.formats import open_path
    from initcfg.errors import InitcfgError

    try:
        with open_path(folder) as opened:
            return bool(list(opened.keys()))
    except InitcfgError:
        return False


def _children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
        return [int(each) for each in text.split()]
    return []


def _wait_for_files(output: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not list(output.glob("*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def _undisturbed(folder: Path) -> tuple[dict[str, str], float]:
    start = time.monotonic()
    process = _start(folder, "whole", 2)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return _digests(folder / "whole"), time.monotonic() - start


def _after(folder: Path, ranks: int, right: dict[str, str]) -> list[str]:
    """What is wrong with what an interrupted run left behind, and with the run that goes on from it."""
    output = folder / "interrupted"
    wrong = []
    if _passes_for_a_checkpoint(output) and _digests(output) != right:
        wrong.append("an unfinished folder passes for a checkpoint")
    process = _start(folder, "interrupted", ranks)
    _, errors = process.communicate(timeout=300)
    if process.returncode:
        wrong.append(f"the next run failed: {errors[-300:]}")
    elif _digests(output) != right:
        wrong.append("the next run left other files")
    left = [path.name for path in output.iterdir() if path.suffix in (".partial", ".tmp")]
    if left:
        wrong.append(f"left behind: {left}")
    shutil.rmtree(output, ignore_errors=True)
    return wrong


def kill(folder: Path, rounds: int, chance: random.Random) -> bool:
    """Kill a rank, or the launcher, at a random moment."""
    right, seconds = _undisturbed(folder)
    good = True
    for number in range(rounds):
        process = _start(folder, "interrupted", 2)
        begun = time.monotonic()
        if number % 4:
            _wait_for_files(folder / "interrupted", process)
            time.sleep(chance.uniform(0, 1.5))
        else:
            time.sleep(chance.uniform(0.2, 1.0) * seconds)
        moment = time.monotonic() - begun
        ranks = _children(process.pid)
        which = chance.randrange(len(ranks) + (number % 5 == 4)) if ranks else 0
        victim = ranks[which] if which < len(ranks) else process.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        start = time.monotonic()
        wrong = []
        try:
            process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            wrong.append(f"still running after {PATIENCE} s")
        ended = time.monotonic() - start
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        finished = len(list((folder / "interrupted").glob("*.safetensors"))) if not wrong else 0
        wrong += _after(folder, 2, right)
        who = "the launcher" if victim == process.pid else f"rank {which}"
        say = "; ".join(wrong) or "ok"
        print(
            f"kill {number + 1:2}: {who} after {moment:4.1f} s, {finished} of {len(right) - 1} files whole, "
            f"exit {process.returncode} {ended:4.1f} s later: {say}",
            flush=True,
        )
        good = good and not wrong
    return good


def interrupt(folder: Path, rounds: int, chance: random.Random) -> bool:
    """SIGINT and SIGTERM to one process while it writes."""
    right, _ = _undisturbed(folder)
    good = True
    for number in range(rounds):
        which = signal.SIGINT if number % 4 else signal.SIGTERM
        process = _start(folder, "interrupted", 1)
        output = folder / "interrupted"
        _wait_for_files(output, process)
        time.sleep(chance.uniform(0, 1.0))
        process.send_signal(which)
        _, errors = process.communicate(timeout=PATIENCE)
        wrong = []
        if which == signal.SIGINT and process.returncode not in (130, 0):
            wrong.append(f"exit {process.returncode} for 130: {errors[-200:]}")
        if "Traceback" in errors:
            wrong.append("a traceback")
        finished = len(list(output.glob("*.safetensors")))
        wrong += _after(folder, 1, right)
        print(
            f"signal {number + 1:2}: {which.name}, {finished} of {len(right) - 1} files whole, "
            f"exit {process.returncode}, said {errors.strip().splitlines()[-1:] or ''}: "
            f"{'; '.join(wrong) or 'ok'}",
            flush=True,
        )
        good = good and not wrong
    return good


def fork(folder: Path, rounds: int, chance: random.Random) -> bool:
    """Fork while threads of the kernel are at work; both fill a model."""
    import torch
    from torch import nn

    import initcfg

    def filled() -> str:
        with torch.device("meta"):
            model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(8)))
        model.to_empty(device="cpu")
        initcfg.plan(model, [{"type": "TruncNormal", "layer": "Linear"}]).apply(model, seed=1)
        digest = hashlib.sha256()
        for tensor in model.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    right = filled()
    good = True
    for number in range(rounds):
        found: list[str] = []
        thread = threading.Thread(target=lambda found=found: found.append(filled()))
        thread.start()
        time.sleep(chance.uniform(0, 0.05))
        child = os.fork()
        if not child:
            os._exit(0 if filled() == right else 1)
        deadline = time.monotonic() + 60
        status = 0
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
            time.sleep(0.01)
        if not ended[0]:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = -1
        else:
            status = os.waitstatus_to_exitcode(ended[1])
        thread.join()
        fine = status == 0 and found == [right]
        print(f"fork {number + 1:2}: child {status}, parent {'same' if found == [right] else 'OTHER'} bits")
        good = good and fine
    return good


def large(folder: Path, rounds: int, chance: random.Random) -> bool:
    """A tensor of more than 2³¹ elements, in memory and streamed."""
    import torch
    from torch import nn

    import initcfg

    columns = 4099
    rows = (2**31 + 12_345) // columns + 1
    rules = [{"type": "Normal", "layer": "Linear", "std": 0.02}]

    def built() -> nn.Module:
        with torch.device("meta"):
            return nn.Sequential(nn.Linear(columns, rows, bias=False, dtype=torch.bfloat16))

    start = time.monotonic()
    model = built()
    plan = initcfg.plan(model, rules)
    model.to_empty(device="cpu")
    plan.apply(model, seed=5)
    weight = model.get_parameter("0.weight")
    print(f"large: {weight.numel():,} elements filled in {time.monotonic() - start:.1f} s")
    digest = _digest_of(weight)
    sample = {row: weight[row].clone() for row in (0, 1, 2**31 // columns - 1, 2**31 // columns, rows - 1)}
    moments = (weight[-4096:].float().mean().item(), weight[-4096:].float().std().item())
    print(f"large: the last 4,096 rows have mean {moments[0]:.6f} and std {moments[1]:.6f} (0 and 0.02)")
    good = abs(moments[0]) < 1e-4 and abs(moments[1] - 0.02) < 1e-4
    for row, numbers in sample.items():
        alone = _row_alone(row, columns)
        same = torch.equal(alone.view(torch.int16), numbers.view(torch.int16))
        print(f"large: row {row:,} made alone: {'same' if same else 'OTHER'} bits")
        good = good and same
    del model, weight
    start = time.monotonic()
    plan.save_weights(folder / "large", built(), seed=5, shard_size="5GB")
    print(f"large: streamed to disk in {time.monotonic() - start:.1f} s")
    from initcfg._checkpoints.formats import open_path

    with open_path(folder / "large") as opened:
        same = _digest_of(opened.read("0.weight")) == digest
    print(f"large: the file holds {'the same' if same else 'OTHER'} bits")
    shutil.rmtree(folder / "large")
    return good and same


def _row_alone(row: int, columns: int) -> torch.Tensor:
    """A row as the reference makes it, which knows of no tensor."""
    import torch

    from initcfg.stream import normal, stream_key

    numbers = normal(stream_key(5, "0.weight"), row * columns, columns, 0.0, 0.02)
    return torch.from_numpy(numbers).to(torch.bfloat16)


def _digest_of(tensor: torch.Tensor) -> str:
    import torch

    digest = hashlib.sha256()
    for block in tensor.view(torch.int16).flatten().split(2**26):
        digest.update(block.numpy().tobytes())
    return digest.hexdigest()


def main() -> int:
    """Run the parts that were asked for; all of them by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    ways = {"kill": kill, "signal": interrupt, "fork": fork, "large": large}
    folder = Path(tempfile.mkdtemp())
    (folder / "interrupted_model.py").write_text(MODEL)
    results = {}
    try:
        for part in given.parts or PARTS:
            results[part] = ways[part](folder, given.rounds, random.Random(given.seed))
            shutil.rmtree(folder / "whole", ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for part, good in results.items():
        print(f"{part}: {'ok' if good else 'NOT as it should be'}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
