"""Code of a model's own while weights are written: draws of threads that do not mix."""

from __future__ import annotations

import threading
import time

import torch
from torch import nn

import initcfg


def test_threads_with_user_code_do_not_mix_their_draws():
    class Own(initcfg.BaseModule):
        def __init__(self):
            super().__init__(dict(type="Normal", layer="Linear"))
            self.fc = nn.Linear(3, 3)

        def init_weights(self):
            super().init_weights()
            time.sleep(0.002)
            nn.init.normal_(self.fc.bias)

    class Outer(initcfg.BaseModule):
        def __init__(self):
            super().__init__()
            self.a, self.b = Own(), Own()

    models = [Outer() for _ in range(4)]
    threads = [threading.Thread(target=initcfg.init_weights, args=(m,), kwargs={"seed": 1}) for m in models]
    state = torch.get_rng_state()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.get_rng_state(), state)
    for model in models[1:]:
        for name, item in model.state_dict().items():
            assert torch.equal(item, models[0].state_dict()[name])


class OwnTable(initcfg.BaseModule):
    """Its own code draws, after that of its children."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(5, 3))

    def init_weights(self):
        super().init_weights()
        nn.init.normal_(self.table, std=0.02)


class Tables(initcfg.BaseModule):
    """Its own code runs that of its children."""

    def __init__(self):
        super().__init__()
        self.one, self.other = OwnTable(), OwnTable()

    def init_weights(self):
        super().init_weights()


def test_code_within_code_draws_for_itself():
    with initcfg.deferred():
        model = Tables()
    plan = initcfg.plan(model)
    ledger = plan.apply(model, seed=0)
    for name in ("one.table", "other.table"):
        assert ledger[name].value == plan[name].value == initcfg.values.Normal(0.0, 0.02)
        assert torch.equal(plan.tensor(name, seed=0), model.get_parameter(name))
    assert not torch.equal(model.one.table, model.other.table)
