"""Random numbers that no seed of a plan decides are notes of the plan, with file and line."""

from __future__ import annotations

import os
import pickle
import random
import secrets
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initcfg

Code = Callable[[], Any]


def forked() -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return torch.randn(2)


NOTED: dict[str, tuple[Code, str]] = {
    "default_rng": (lambda: [np.random.default_rng()], "an unseeded np.random.default_rng(), which no seed"),
    "RandomState": (lambda: np.random.RandomState(None), "an unseeded np.random.RandomState(), which"),
    "numpy": (lambda: np.random.normal(size=4), "draws from NumPy's global generator"),
    "numpy seeded": (lambda: np.random.seed(3), "seeds NumPy's global generator"),
    "python": (lambda: random.gauss(0, 1), "draws from Python's global generator"),
    "python seeded": (lambda: random.seed(3), "seeds Python's global generator"),
    "Random": (lambda: [random.Random()], "an unseeded random.Random(), which no seed decides"),
    "SystemRandom": (lambda: [random.SystemRandom()], "an unseeded random.SystemRandom()"),
    "urandom": (lambda: os.urandom(4), "takes numbers from os.urandom"),
    "secrets": (lambda: secrets.randbelow(9), "takes numbers from secrets.randbelow"),
    "uuid": (lambda: [uuid.uuid4()], "takes numbers from uuid.uuid4"),
    "clock": (lambda: [time.time()], "reads the clock (time.time)"),
    "Generator": (lambda: torch.Generator().seed(), "takes a seed from torch.Generator.seed"),
}
TORCH: dict[str, Code] = {
    "manual_seed": lambda: torch.manual_seed(4),
    "seed": lambda: [torch.seed()],
    "set_rng_state": lambda: torch.set_rng_state(torch.get_rng_state()),
    "fork_rng": forked,
}
SEEDED: dict[str, Code] = {
    "default_rng": lambda: np.random.default_rng(3).normal(),
    "RandomState": lambda: np.random.RandomState(seed=3).normal(),
    "Random": lambda: random.Random(3).random(),
    "Generator": lambda: torch.randn(2, generator=torch.Generator().manual_seed(3)),
}


def traced(code: Code) -> initcfg.Plan:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)
            code()

    return initcfg.trace(Net)


def planned(code: Code) -> initcfg.Plan:
    class Own(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def init_weights(self) -> None:
            code()
            nn.init.ones_(self.fc.weight)

    return initcfg.plan(Own())


def deferred(code: Code) -> initcfg.Plan:
    with initcfg.deferred():
        model = nn.Linear(2, 2)
        code()
    return initcfg.plan(model)


@pytest.mark.parametrize("make", [traced, planned, deferred])
@pytest.mark.parametrize(("code", "note"), NOTED.values(), ids=NOTED)
def test_what_no_seed_decides_is_noted(make: Callable[[Code], initcfg.Plan], code: Code, note: str) -> None:
    plan = make(code)
    place = f"test_chance.py:{code.__code__.co_firstlineno} <lambda>"
    [found] = [each for each in plan.notes if note in each]
    assert place in found
    assert initcfg.Plan.from_json(plan.to_json()).notes == plan.notes
    undone = "What that code did to global generators while it was planned has been undone."
    assert (undone in plan.notes) == ("global" in note and make is not deferred)


@pytest.mark.parametrize("make", [traced, planned, deferred])
@pytest.mark.parametrize("name", TORCH)
def test_what_code_does_to_torch_is_noted(make: Callable[[Code], initcfg.Plan], name: str) -> None:
    code = TORCH[name]
    line = code.__code__.co_firstlineno
    before = torch.get_rng_state()
    notes = " ".join(make(code).notes)
    if make is deferred:
        assert "While the model was built, test_chance.py:" in notes
        torch.set_rng_state(before)
    else:
        place = (
            f"test_chance.py:{line + 1} forked" if name == "fork_rng" else f"test_chance.py:{line} <lambda>"
        )
        assert f"The code seeds torch's generator, or saves its state ({place})" in notes


@pytest.mark.parametrize("make", [traced, planned, deferred])
@pytest.mark.parametrize("code", SEEDED.values(), ids=SEEDED)
def test_what_has_a_seed_of_its_own_is_not(make: Callable[[Code], initcfg.Plan], code: Code) -> None:
    assert make(code).notes == ()


def test_the_states_of_the_process_are_as_they_were() -> None:
    def code() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        random.random(), np.random.rand(2)

    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    traced(code)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def test_the_classes_are_themselves_for_code_that_asks() -> None:
    ours = random.Random(3), np.random.RandomState(3), torch.Generator()
    classes = random.Random, np.random.RandomState, torch.Generator

    def code() -> None:
        for instance, cls in zip(ours, (random.Random, np.random.RandomState, torch.Generator), strict=True):
            assert isinstance(instance, cls)
            assert not isinstance(3, cls)
            assert issubclass(type(instance), cls)
        assert type(random.Random(3)) is classes[0]

        class Derived(random.Random):
            extra = 5

        assert Derived(3).extra == 5
        assert Derived(3).random() == classes[0](3).random()

    assert traced(code).notes == ()
    assert (random.Random, np.random.RandomState, torch.Generator) == classes
    assert pickle.loads(pickle.dumps(random.Random(3))).random() == ours[0].random()
