"""Functions run by several processes, each a rank of one process group.

Torch takes seconds to import, so processes are forked from one that has, and are kept for the next run; each
run has a store and a process group of its own. Where a rank died or its time was over, its process is
replaced.
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

_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(
    ["torch.distributed.tensor.parallel", "torch.distributed.fsdp", "torch._dynamo", "initcfg"]
)
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
    while len(_workers) < world:
        _workers.append(None)
    starting = [rank for rank in range(world) if _workers[rank] is None]
    for rank in starting:
        _workers[rank] = _Worker(rank)
    workers = [worker for worker in _workers[:world] if worker is not None]
    for rank in starting:
        workers[rank].wait_ready()
    results = _run_all(workers, pickle.dumps((function, args)), timeout)
    for result in results:
        if result.died:
            workers[result.rank].close()
            _workers[result.rank] = None
    return results


def values_of(results: Sequence[Result]) -> list[Any]:
    """What each rank returned; an error if one did not."""
    for result in results:
        if result.died or result.error:
            raise AssertionError(f"rank {result.rank}: {result.trace or 'died, or was out of time'}")
    return [result.value for result in results]


class _Worker:
    """One process."""

    def __init__(self, rank: int) -> None:
        self.line, there = _FORK.Pipe()
        before = {name: os.environ.get(name) for name in _ENVIRONMENT}
        os.environ.update(_ENVIRONMENT)
        try:
            self._process = _FORK.Process(target=_serve, args=(rank, there), daemon=True)
            self._process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        there.close()

    def wait_ready(self) -> None:
        if not self.line.poll(_START):
            raise RuntimeError("a process did not start")
        self.line.recv()

    def close(self) -> None:
        self._process.kill()
        self._process.join(10)
        self.line.close()


def _run_all(workers: Sequence[_Worker], job: bytes, timeout: float) -> list[Result]:
    world = len(workers)
    workers[0].line.send((world, None, None))
    port = workers[0].line.recv()
    start = time.monotonic()
    for worker in workers:
        worker.line.send((world, port, job))
    results = [Result(rank, died=True, seconds=timeout) for rank in range(world)]
    waiting = {worker.line: rank for rank, worker in enumerate(workers)}
    while waiting and (left := start + timeout - time.monotonic()) > 0:
        for line in wait(list(waiting), left):
            assert isinstance(line, Connection)
            rank = waiting.pop(line)
            try:
                results[rank] = pickle.loads(line.recv_bytes())
            except (EOFError, OSError):
                results[rank] = Result(rank, died=True, seconds=time.monotonic() - start)
    return results


_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "GLOO_SOCKET_IFNAME": "lo",
    # torch asks for the name of every address it connects to, and where nobody knows, that takes 5 s.
    "RES_OPTIONS": "timeout:1 attempts:1",
}
# By rank: a run of two ranks has the first two of one of four.
_workers: list[_Worker | None] = []


@atexit.register
def _close_all() -> None:
    while _workers:
        worker = _workers.pop()
        if worker is not None:
            worker.close()


def _serve(rank: int, line: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    line.send("ready")
    store = None
    while True:
        try:
            world, port, job = line.recv()
        except EOFError:
            return
        if job is None:
            # The first rank holds the store, as it does where a job is started by hand.
            store = torch.distributed.TCPStore("127.0.0.1", 0, world, is_master=True, wait_for_workers=False)
            line.send(store.port)
            continue
        if store is None:
            store = torch.distributed.TCPStore("127.0.0.1", port, world, wait_for_workers=False)
        result = _run(rank, world, store, job)
        store = None
        line.send_bytes(pickle.dumps(result))


def _run(rank: int, world: int, store: Any, job: bytes) -> Result:
    import torch

    start = time.monotonic()
    try:
        function, args = pickle.loads(job)
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
