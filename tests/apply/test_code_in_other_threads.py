"""What a model's own init_weights has other threads write is what the model gets, and what is told."""

from __future__ import annotations

import _thread
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest
import torch
from torch import nn

import initcfg
from initcfg.values import Constant, Formula, Normal, TruncNormal

WARM = ThreadPoolExecutor(1)


@pytest.fixture(scope="module", autouse=True)
def _the_pool_ends() -> Iterator[None]:
    yield
    # While another thread lives, nobody can say who moved torch's generator: other tests ask that.
    WARM.shutdown()


class Coded(initcfg.BaseModule):
    """A rule reaches its weight, then its code runs."""

    def __init__(self, code):
        super().__init__(init_cfg=dict(type="Constant", param="w", val=3.0))
        self.w = nn.Parameter(torch.zeros(4, 3))
        self.code = code

    def init_weights(self):
        super().init_weights()
        self.code(self)


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


class Writer(threading.Thread):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def run(self):
        self.module.w.data.fill_(6)


def thread(module):
    in_thread(lambda: module.w.data.fill_(6))


def own_class(module):
    writer = Writer(module)
    writer.start()
    writer.join()
    assert "run" not in vars(writer)


def low_level(module):
    done = _thread.allocate_lock()
    done.acquire()

    def write():
        module.w.data.fill_(6)
        done.release()

    _thread.start_new_thread(write, ())
    done.acquire()


def executor(module):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda row: module.w.data[row].fill_(6), range(4)))


def executor_from_before(module):
    WARM.submit(lambda: module.w.data.fill_(6)).result()


def thread_pool(module):
    with ThreadPool(2) as pool:
        pool.map(func=lambda row: module.w.data[row].fill_(6), iterable=range(4))


def applied(module):
    with ThreadPool(1) as pool:
        pool.apply_async(module.w.data.fill_, (6,)).get()


def through_numpy(module):
    def write():
        module.w.detach().numpy()[:] = 6

    in_thread(write)


def reads_in_thread(module):
    in_thread(lambda: module.w.data.mul_(2))


def reads_there_and_back(module):
    results = queue.Queue()
    in_thread(lambda: results.put(module.w.detach().sum()))
    module.w.data.fill_(float(results.get()) / 6)


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize(
    "code",
    [
        thread,
        own_class,
        low_level,
        executor,
        executor_from_before,
        thread_pool,
        applied,
        through_numpy,
        reads_in_thread,
        reads_there_and_back,
    ],
    ids=lambda code: code.__name__,
)
def test_the_thread_has_the_last_word(code, rng):
    model = Coded(code)
    plan = initcfg.plan(model)
    assert torch.equal(model.w, torch.zeros(4, 3))
    assert code is through_numpy or plan["w"].value == Constant(6.0)
    assert plan["w"].rule == "model.init_weights"
    ledger = plan.apply(model, seed=0, rng=rng)
    assert torch.equal(model.w, torch.full((4, 3), 6.0))
    assert ledger["w"].by == "code"
    assert ledger["w"].operations


def test_draws_of_a_thread_are_the_streams():
    def draw(module):
        in_thread(lambda: nn.init.normal_(module.w))

    def truncated(module):
        in_thread(lambda: nn.init.trunc_normal_(module.w))

    def computed(module):
        in_thread(lambda: module.w.data.copy_(torch.linalg.qr(torch.randn(4, 4))[0][:, :3]))

    for code, kind in ((draw, Normal), (truncated, TruncNormal), (computed, Formula)):
        model, again = Coded(code), Coded(code)
        plan = initcfg.plan(model)
        assert isinstance(plan["w"].value, kind)
        plan.apply(model, seed=5)
        initcfg.init_weights(again, seed=5)
        assert torch.equal(model.w, again.w)
        alone = Coded(lambda module: None)
        initcfg.Plan.from_json(plan.to_json()).apply(alone, seed=5)
        assert torch.equal(model.w, alone.w)
    assert torch.allclose(model.w.T @ model.w, torch.eye(3), atol=1e-5)


def test_rules_that_a_thread_asks_for():
    model = initcfg.Sequential(Coded(lambda module: None))
    model[0].init_weights = lambda: in_thread(lambda: Coded.init_weights(model[0]))
    initcfg.init_weights(model, seed=0)
    assert torch.equal(model[0].w, torch.full((4, 3), 3.0))


def test_a_trace_and_a_deferred_build_follow_threads():
    def build():
        made = []
        in_thread(lambda: made.append(nn.Linear(4, 3)))
        in_thread(lambda: nn.init.constant_(made[0].bias, 6.0))
        return made[0]

    plan = initcfg.trace(build)
    assert plan["bias"].value == Constant(6.0)
    assert plan["weight"].value.kind == "Uniform"
    with initcfg.deferred():
        model = build()
    assert initcfg.plan(model)["bias"].value == Constant(6.0)


def test_a_thread_that_loads_a_checkpoint(tmp_path):
    torch.save(torch.full((4, 3), 6.0), tmp_path / "w.pt")

    def load(module):
        WARM.submit(lambda: module.w.data.copy_(torch.load(tmp_path / "w.pt"))).exception()

    model = Coded(load)
    plan = initcfg.plan(model)
    assert plan["w"].value.kind == "Opaque"
    assert any("it loads" in note for note in plan.notes)
    plan.apply(model, seed=0)
    assert torch.equal(model.w, torch.full((4, 3), 6.0))


@pytest.mark.parametrize("rng", ["stream", "torch"])
def test_a_thread_that_goes_on_is_noted_and_has_its_way(rng):
    allowed, written = threading.Event(), threading.Event()

    def write(module):
        allowed.wait()
        module.w.data.fill_(6)
        written.set()

    def begin(module):
        threading.Thread(target=write, args=(module,), daemon=True).start()

    model = Coded(begin)
    plan = initcfg.plan(model)
    assert [note for note in plan.notes if "begin starts a thread that goes on after it" in note]
    # The thread of the plan ends at its first operation, and writes nothing.
    allowed.set()
    assert not written.wait(0.1)
    assert torch.equal(model.w, torch.zeros(4, 3))
    allowed.clear()
    plan.apply(model, seed=0, rng=rng)
    assert torch.equal(model.w, torch.full((4, 3), 3.0))
    allowed.set()
    assert written.wait(10)
    assert torch.equal(model.w, torch.full((4, 3), 6.0))


def test_threads_and_pools_are_themselves_again():
    before = threading.Thread.start, ThreadPoolExecutor.submit, ThreadPool.map, _thread.start_new_thread
    initcfg.init_weights(Coded(thread), seed=0)
    after = threading.Thread.start, ThreadPoolExecutor.submit, ThreadPool.map, _thread.start_new_thread
    assert after == before
    assert "map" not in vars(ThreadPool)
