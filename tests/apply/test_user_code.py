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
