"""Python's collector runs less often while a model is built, planned and written; then it is as it was."""

import gc
import threading
import weakref

import pytest
from torch import nn

import initcfg
from initcfg._model import fewer_collections

RULE = dict(type="Normal", layer="Linear", std=0.02)
USUAL = gc.get_threshold()


@pytest.fixture(autouse=True)
def collector():
    """Each test begins with a collector that is on and as it is by default, and so it ends."""
    assert gc.isenabled() and gc.get_threshold() == USUAL
    yield
    assert gc.isenabled() and gc.get_threshold() == USUAL


SEEN: dict[str, list[int]] = {"built": [], "initialized": []}


class Looks(initcfg.BaseModule):
    """Looks at the collector while it is built, and in its own initialization."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        SEEN["built"].append(gc.get_threshold()[0])

    def init_weights(self) -> None:
        nn.init.ones_(self.linear.bias)
        assert gc.isenabled()
        SEEN["initialized"].append(gc.get_threshold()[0])


def test_constructors_and_code_run_with_fewer():
    with initcfg.deferred():
        model = nn.Sequential(Looks())
        assert gc.get_threshold()[0] > USUAL[0]
    assert gc.get_threshold() == USUAL
    initcfg.init_weights(model, RULE, seed=0)
    initcfg.trace(lambda: nn.Sequential(Looks()))
    assert len(SEEN["built"]) >= 2 and min(SEEN["built"]) > USUAL[0]
    # In the rehearsal, and where the plan is applied.
    assert len(SEEN["initialized"]) >= 2 and min(SEEN["initialized"]) > USUAL[0]
    assert model[0].linear.bias.tolist() == [1.0, 1.0]


def test_after_an_error_it_is_as_it_was():
    with pytest.raises(RuntimeError, match="no such thing"), initcfg.deferred():
        raise RuntimeError("no such thing")
    with pytest.raises(initcfg.errors.InitcfgError):
        initcfg.plan(nn.Linear(2, 2), dict(type="Nrmal", layer="Linear"))
    with pytest.raises(initcfg.errors.BuildError), initcfg.deferred(), initcfg.deferred():
        pass
    plan = initcfg.plan(nn.Linear(2, 2), RULE)
    with pytest.raises(initcfg.errors.ApplyError):
        plan.apply(nn.Linear(3, 2), seed=0)


def test_the_garbage_of_user_code_is_collected_still():
    class Node:
        def __init__(self) -> None:
            self.itself = self

    with initcfg.deferred():
        garbage = weakref.ref(Node())
        kept = [Node() for _ in range(60_000)]
        assert garbage() is None and len(kept) == 60_000


def test_whole_collections_are_as_rare_afterwards_as_before():
    # A collector that has seen few objects as old takes a quarter of few for many new ones.
    def whole() -> int:
        return gc.get_stats()[2]["collections"]

    many = [[each] for each in range(300_000)]
    gc.collect()
    for _ in range(20):
        initcfg.init_weights(nn.Sequential(*(nn.Linear(2, 2) for _ in range(20))), RULE, seed=0)
    before = whole()
    # Seventy thousand objects that stay are less than a quarter of the others.
    more = [[each] for each in range(70_000)]
    assert whole() == before
    assert len(many) + len(more) == 370_000


def test_who_sets_it_meanwhile_keeps_it():
    try:
        with initcfg.deferred():
            gc.set_threshold(1000, 5, 5)
        assert gc.get_threshold() == (1000, 5, 5)
        gc.set_threshold(0)
        with initcfg.deferred():
            assert gc.get_threshold()[0] == 0
        gc.set_threshold(10**6, 5, 5)
        with initcfg.deferred():
            assert gc.get_threshold()[0] == 10**6
    finally:
        gc.set_threshold(*USUAL)


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        with initcfg.deferred():
            model = nn.Linear(2, 2)
            assert gc.get_threshold() == USUAL
        initcfg.init_weights(model, RULE, seed=0)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_threads_share_it():
    begun, end = threading.Event(), threading.Event()

    def other() -> None:
        with fewer_collections():
            begun.set()
            end.wait(60)

    thread = threading.Thread(target=other)
    with fewer_collections():
        thread.start()
        assert begun.wait(60)
    # The other is still at work.
    assert gc.get_threshold()[0] > USUAL[0]
    end.set()
    thread.join()
    assert gc.get_threshold() == USUAL
