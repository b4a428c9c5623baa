"""What it costs that ranks agree, with nothing else to do between.

    python benchmarks/agreement.py [--worlds 2 4 8] [--simulated 256 1024] [--times 50]

``agreement`` is one of initcfg: facts and seed compared, the seed given out, and the end awaited.
``collectives`` is the least that gloo does the same with: all_gather_object of the same facts, and a
barrier. Medians, on the first rank; every rank is a process, all on this machine.

For ``--simulated``, the first rank alone is real. One other process puts into the store what all other
ranks would say; then the first reads, compares and answers: that is what is timed. ``beat`` is what the
sign of life of one rank costs, every 2 s.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from typing import Any

FACTS = {"initcfg": "0.1.0", "stream": "1", "plan": "5" * 64, "rng": "stream"}


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--worlds", type=int, nargs="*", default=[2, 4, 8])
    parser.add_argument("--simulated", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--times", type=int, default=50)
    options = parser.parse_args()
    print(f"{'processes':>9}  {'agreement ms':>12}  {'collectives ms':>14}")
    for world in options.worlds:
        ours, gloo = _spawned(_rank, world, options.times)
        print(f"{world:>9}  {ours * 1e3:>12.1f}  {gloo * 1e3:>14.1f}")
    print(f"\n{'simulated':>9}  {'on ms':>8}  {'end ms':>8}  {'beat ms':>8}")
    for world in options.simulated:
        agreed, ended, beat = _spawned(_leader, 2, min(options.times, 10), world)
        print(f"{world:>9}  {agreed * 1e3:>8.1f}  {ended * 1e3:>8.1f}  {beat * 1e3:>8.2f}")
    return 0


def _spawned(function: Any, processes: int, *arguments: Any) -> list[float]:
    """What the function puts into the queue, run by some processes."""
    context = multiprocessing.get_context("spawn")
    ports, results = context.SimpleQueue(), context.SimpleQueue()
    running = [
        context.Process(target=function, args=(rank, processes, ports, results, *arguments))
        for rank in range(processes)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    return results.get()


def _store(rank: int, processes: int, ports: Any) -> Any:
    from torch.distributed import TCPStore

    if rank > 0:
        return TCPStore("127.0.0.1", ports.get(), wait_for_workers=False)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for _ in range(processes - 1):
        ports.put(store.port)
    return store


def _rank(rank: int, world: int, ports: Any, results: Any, times: int) -> None:
    import torch
    from torch import distributed

    from initcfg._apply.ranks.agreement import Agreement

    torch.set_num_threads(1)
    store = _store(rank, world, ports)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)

    def agreement() -> None:
        with Agreement([tuple(range(world))]) as agreed:
            agreed.on(FACTS, seed=0, draw=lambda: 0)

    def collectives() -> None:
        gathered: list[Any] = [None] * world
        distributed.all_gather_object(gathered, {**FACTS, "seed": 0})
        assert all(each == gathered[0] for each in gathered)
        distributed.barrier()

    medians = []
    for function in (agreement, collectives):
        seconds = []
        for _ in range(times + 3):
            distributed.barrier()
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        medians.append(statistics.median(seconds[3:]))
    if rank == 0:
        results.put(medians)
    distributed.barrier()
    distributed.destroy_process_group()


def _leader(rank: int, processes: int, ports: Any, results: Any, times: int, world: int) -> None:
    from initcfg._apply.ranks.agreement import Agreement
    from initcfg._apply.ranks.rounds import Round

    store, ranks = _store(rank, processes, ports), tuple(range(world))
    agreed, ended, beats = [], [], []
    for number in range(times):
        if rank > 0:
            store.wait([f"opened {number}"])
            for other in ranks[1:]:
                ghost = Round(ranks, other)
                assert ghost.join(store)
                ghost.say(store, 1, "facts", {"facts": {**FACTS, "seed": 0}, "drawn": 0, "agreed": None})
                ghost.count(store, "done")
                ghost.count(store, "left")
            start = time.perf_counter()
            ghost.beat(store, "1")
            beats.append(time.perf_counter() - start)
            store.set(f"said {number}", str(statistics.median(beats)))
            continue
        with Agreement([ranks], store=store, rank=0) as agreement:
            store.set(f"opened {number}", "")
            store.wait([f"said {number}"])
            start = time.perf_counter()
            agreement.on(FACTS, seed=0, draw=lambda: 0)
            middle = time.perf_counter()
        agreed.append(middle - start)
        ended.append(time.perf_counter() - middle)
    if rank == 0:
        beat = float(store.get(f"said {times - 1}"))
        results.put([statistics.median(agreed), statistics.median(ended), beat])
        store.set("over", "")
        time.sleep(0.5)
    else:
        store.wait(["over"])


if __name__ == "__main__":
    raise SystemExit(main())
