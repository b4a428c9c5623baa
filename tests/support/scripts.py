"""Scripts of examples/scale, run by processes that are kept, or by torchrun."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from processes import run_ranks, values_of

SCALE = Path(__file__).parents[2] / "examples" / "scale"


def printed(script: str, world: int, *arguments: str) -> str:
    """What a script prints where so many ranks run it."""
    results = run_ranks(world, run_script, script, free_port(), arguments, timeout=240)
    if any("connectFullMesh failed" in result.text for result in results):
        # Gloo's processes did not find each other on the way to their first group: nothing of ours has run.
        results = run_ranks(world, run_script, script, free_port(), arguments, timeout=240)
    first, *others = values_of(results)
    assert not any(others), f"{script}: other ranks print too: {others}"
    return first


def torchrun(
    script: str, world: int, *arguments: str, launcher: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script as a person does; or another script, a launcher, that is given it."""
    launched = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [sys.executable, *launched, *map(str, filter(None, (launcher, SCALE / script))), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )


def said(output: str, what: str = "digest") -> str:
    """What comes after a word at the beginning of a line."""
    found = re.findall(rf"^{what}:? (.+)$", output, re.MULTILINE)
    assert len(found) == 1, output
    return found[0]


def run_script(rank: int, world: int, script: str, port: int, arguments: Sequence[str]) -> str:
    """One rank of a run: a process group by the environment, as torchrun sets it."""
    import torch.distributed

    torch.distributed.destroy_process_group()
    out = io.StringIO()
    with (
        _environment(rank, world, port, script, arguments),
        contextlib.redirect_stdout(out),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        runpy.run_path(str(SCALE / script), run_name="__main__")
    return out.getvalue()


@contextlib.contextmanager
def _environment(rank: int, world: int, port: int, script: str, arguments: Sequence[str]) -> Iterator[None]:
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": world}
    before, path = sys.argv, list(sys.path)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(SCALE))
    os.environ.update({name: str(each) for name, each in variables.items()})
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before, path
        for name in variables:
            del os.environ[name]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
