"""Old objects are set aside from Python's collector while a model is built, planned and written."""

import gc
import threading
import weakref

import pytest
from torch import nn

import initcfg
from initcfg._model import old_objects_aside

RULE = dict(type="Normal", layer="Linear", std=0.02)


@pytest.fixture(autouse=True)
def collector():
    """Each test begins with a collector that is on and has nothing set aside, and so it ends."""
    assert gc.isenabled() and gc.get_freeze_count() == 0
    yield
    assert gc.isenabled() and gc.get_freeze_count() == 0


SEEN: dict[str, list[int]] = {"built": [], "initialized": []}


class Looks(initcfg.BaseModule):
    """Looks at the collector while it is built, and in its own initialization."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        SEEN["built"].append(gc.get_freeze_count())

    def init_weights(self) -> None:
        nn.init.ones_(self.linear.bias)
        SEEN["initialized"].append(gc.get_freeze_count())


def test_constructors_and_code_run_with_old_objects_aside():
    with initcfg.deferred():
        model = nn.Sequential(Looks())
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
    initcfg.init_weights(model, RULE, seed=0)
    initcfg.trace(lambda: nn.Sequential(Looks()))
    assert len(SEEN["built"]) >= 2 and all(SEEN["built"])
    # In the rehearsal, and where the plan is applied.
    assert len(SEEN["initialized"]) >= 2 and all(SEEN["initialized"])
    assert model[0].linear.bias.tolist() == [1.0, 1.0]


def test_after_an_error_they_are_given_back():
    with pytest.raises(RuntimeError, match="no such thing"), initcfg.deferred():
        raise RuntimeError("no such thing")
    with pytest.raises(initcfg.errors.InitcfgError):
        initcfg.plan(nn.Linear(2, 2), dict(type="Nrmal", layer="Linear"))
    with pytest.raises(initcfg.errors.BuildError), initcfg.deferred(), initcfg.deferred():
        pass
    plan = initcfg.plan(nn.Linear(2, 2), RULE)
    with pytest.raises(initcfg.errors.ApplyError):
        plan.apply(nn.Linear(3, 2), seed=0)


def test_the_garbage_of_user_code_is_collected_as_ever():
    class Node:
        def __init__(self) -> None:
            self.itself = self

    threshold = gc.get_threshold()
    gc.set_threshold(50, 2, 2)
    try:
        with initcfg.deferred():
            garbage = weakref.ref(Node())
            kept = [Node() for _ in range(1000)]
            assert garbage() is None and len(kept) == 1000
    finally:
        gc.set_threshold(*threshold)


def test_what_was_garbage_before_is_collected_afterwards():
    class Node:
        def __init__(self) -> None:
            self.itself = self

    gc.disable()
    garbage = weakref.ref(Node())
    gc.enable()
    with old_objects_aside():
        gc.collect()
        assert garbage() is not None
    gc.collect()
    assert garbage() is None


def test_what_others_have_set_aside_stays_so():
    gc.freeze()
    try:
        with initcfg.deferred():
            model = nn.Linear(2, 2)
        initcfg.init_weights(model, RULE, seed=0)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        with initcfg.deferred():
            model = nn.Linear(2, 2)
            assert gc.get_freeze_count() == 0
        initcfg.init_weights(model, RULE, seed=0)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_threads_share_it():
    begun, end = threading.Event(), threading.Event()

    def other() -> None:
        with old_objects_aside():
            begun.set()
            end.wait(60)

    thread = threading.Thread(target=other)
    with old_objects_aside():
        thread.start()
        assert begun.wait(60)
    # The other is still at work.
    assert gc.get_freeze_count() > 0
    end.set()
    thread.join()
    assert gc.get_freeze_count() == 0
