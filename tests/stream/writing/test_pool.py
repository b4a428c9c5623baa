"""Threads that the system does not give: those that there are do all, with the same result."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from initcfg._stream.writing import Pool, for_each

ALL = list(range(50))


@pytest.fixture(params=[0, 1, 2, 99])
def given(request, monkeypatch):
    """How many threads the system gives."""
    start, left = threading.Thread.start, [request.param]

    def limited(thread: threading.Thread) -> None:
        if left[0] == 0:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    return request.param


def test_each_item_is_done_once(given):
    done: list[int] = []
    for_each(lambda item: (time.sleep(1e-4), done.append(item)), iter(ALL), 4, "test")
    assert sorted(done) == ALL


def test_the_first_error_ends_it(given):
    done: list[int] = []

    def work(item: int) -> None:
        if item == 7:
            raise KeyError(item)
        time.sleep(1e-3)
        done.append(item)

    with pytest.raises(KeyError, match="7"):
        for_each(work, ALL, 4, "test")
    assert len(done) < len(ALL)
    assert not any(each.name.startswith("test_") for each in threading.enumerate())


def test_nothing_to_do():
    for_each(print, [], 4, "test")


def test_a_pool_gives_every_result(given):
    with Pool(3, "test") as pool:
        futures = [pool.submit(pow, each, 2) for each in ALL]
        wrong = pool.submit(int, "x")
    assert [each.result() for each in futures] == [each * each for each in ALL]
    with pytest.raises(ValueError, match="invalid literal"):
        wrong.result()


WITHOUT_THREADS = """
import os, resource, sys, torch, initcfg
from pathlib import Path
from torch import nn

folder, numpy = Path(sys.argv[1]), sys.argv[2] == "numpy"
folder.chmod(0o777)
os.environ["INITCFG_THREADS"] = "4"
os.environ["INITCFG_KERNEL"] = "0" if numpy else "1"
torch.set_num_threads(1)
build = lambda: nn.Sequential(*(nn.Linear(1500, 1500) for _ in range(6)))
# Twelve million: more than one thread's share, and more than one read.
plan = initcfg.trace(build)

def results(name):
    made, loaded = build(), build()
    plan.apply(made, seed=0)
    saved = folder / name
    plan.save_weights(saved, seed=0, overwrite=True)
    rule = dict(type="Pretrained", checkpoint=str(saved / "model.safetensors"))
    initcfg.init_weights(loaded, rule)
    same = zip(made.parameters(), loaded.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)
    return (saved / "model.safetensors").read_bytes()

before = results("before")
if os.geteuid() == 0:
    # For root there is no limit.
    os.setgid(65534)
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
import threading
try:
    threading.Thread(target=print).start()
    print("not limited")
except RuntimeError:
    assert results("after") == before
    print("same")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
@pytest.mark.parametrize("kind", ["kernel", "numpy"])
def test_where_no_thread_is_left_all_is_made_loaded_and_saved(tmp_path, kind):
    # Below a folder that others may not enter, a test of root's would find nothing.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_THREADS, tmp_path, kind],
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    if "not limited" in run.stdout:
        pytest.skip("this system does not limit processes")
    assert run.stdout.strip().endswith("same")
