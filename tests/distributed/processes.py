"""Functions run by several processes, each a rank of one process group.

Processes are kept for the next run of as many ranks, because torch takes seconds to import; each run
has a store and a process group of its own. Where a rank died or the time was over, all are replaced.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

_SPAWN = multiprocessing.get_context("spawn")
# Seconds for a process to start.
_START = 120.0


@dataclass(frozen=True)
class Result:
    """What a rank returned or raised; ``died`` if it ended without either, or was out of time."""

    rank: int
    value: Any = None
    error: str | None = None
    text: str = ""
    trace: str = ""
    died: bool = False
    seconds: float = 0.0


def run_ranks(world: int, function: Callable[..., Any], *args: Any, timeout: float = 60) -> list[Result]:
    """Run ``function(rank, world, *args)`` on every rank of a new gloo group.

    Args:
        world: How many ranks.
        function: A function of a module.
        args: What it is given, pickled.
        timeout: Seconds after which those that have not returned are killed.
    """
    pool = _pools.get(world)
    if pool is None:
        pool = _pools[world] = _Pool(world)
    results = pool.run(function, args, timeout)
    if any(result.died for result in results):
        pool.close()
        del _pools[world]
    return results


def values_of(results: Sequence[Result]) -> list[Any]:
    """What each rank returned; an error if one did not."""
    for result in results:
        if result.died or result.error:
            raise AssertionError(f"rank {result.rank}: {result.trace or 'died, or was out of time'}")
    return [result.value for result in results]


class _Pool:
    """The processes of one number of ranks."""

    def __init__(self, world: int) -> None:
        self._processes: list[Any] = []
        self._lines: list[Connection] = []
        before = {name: os.environ.get(name) for name in _ENVIRONMENT}
        os.environ.update(_ENVIRONMENT)
        try:
            for rank in range(world):
                here, there = _SPAWN.Pipe()
                process = _SPAWN.Process(target=_serve, args=(rank, world, there), daemon=True)
                process.start()
                there.close()
                self._processes.append(process)
                self._lines.append(here)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        for line in self._lines:
            if not line.poll(_START):
                raise RuntimeError("a process did not start")
            line.recv()

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float) -> list[Result]:
        job = pickle.dumps((function, args))
        self._lines[0].send(None)
        port = self._lines[0].recv()
        start = time.monotonic()
        for line in self._lines:
            line.send((port, job))
        results = [Result(rank, died=True) for rank in range(len(self._lines))]
        waiting = dict(zip(self._lines, range(len(self._lines)), strict=True))
        while waiting and (left := start + timeout - time.monotonic()) > 0:
            for line in wait(list(waiting), left):
                rank = waiting.pop(line)
                try:
                    results[rank] = pickle.loads(line.recv_bytes())
                except (EOFError, OSError):
                    results[rank] = Result(rank, died=True, seconds=time.monotonic() - start)
        return results

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join(10)
        for line in self._lines:
            line.close()


_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", "GLOO_SOCKET_IFNAME": "lo"}
_pools: dict[int, _Pool] = {}


@atexit.register
def _close_all() -> None:
    while _pools:
        _pools.popitem()[1].close()


def _serve(rank: int, world: int, line: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    line.send("ready")
    while True:
        try:
            asked = line.recv()
        except EOFError:
            return
        store = None
        if asked is None:
            # The first rank holds the store, as it does where a job is started by hand.
            store = torch.distributed.TCPStore("127.0.0.1", 0, world, is_master=True, wait_for_workers=False)
            line.send(store.port)
            asked = line.recv()
        line.send_bytes(pickle.dumps(_run(rank, world, store, *asked)))


def _run(rank: int, world: int, store: Any, port: int, job: bytes) -> Result:
    import torch

    start = time.monotonic()
    try:
        function, args = pickle.loads(job)
        store = store or torch.distributed.TCPStore("127.0.0.1", port, world, wait_for_workers=False)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
        torch.manual_seed(0)
        value = function(rank, world, *args)
        result = Result(rank, value, seconds=time.monotonic() - start)
        pickle.dumps(result)
        return result
    except BaseException as error:
        return Result(
            rank,
            error=type(error).__name__,
            text=str(error),
            trace=traceback.format_exc(),
            seconds=time.monotonic() - start,
        )
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
