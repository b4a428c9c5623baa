"""Threads: deferred builds, recorded code and ordinary code side by side, none of which sees the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import initcfg


class Coded(initcfg.BaseModule):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(20, 20)

    def init_weights(self) -> None:
        nn.init.normal_(self.fc.weight)
        nn.init.orthogonal_(self.fc.weight)


def deferred_build() -> Any:
    with initcfg.deferred():
        model = nn.Sequential(nn.Linear(50, 50), nn.LayerNorm(50), nn.MultiheadAttention(48, 4))
    initcfg.init_weights(model, seed=1)
    return model.state_dict()


def recorded_code() -> Any:
    model = Coded()
    initcfg.init_weights(model, seed=2)
    return {"weight": model.fc.weight.detach()}


def ordinary() -> Any:
    model = nn.Linear(30, 30)
    nn.init.orthogonal_(model.weight)
    product = model.weight.detach().numpy() @ model.weight.detach().numpy().T
    assert abs(product - torch.eye(30).numpy()).max() < 1e-4
    return {}


def test_side_by_side() -> None:
    expected = {deferred_build: deferred_build(), recorded_code: recorded_code(), ordinary: {}}
    wrong: list[str] = []

    def work(job: Callable[[], Any]) -> None:
        try:
            for _ in range(15):
                made = job()
                if not all(torch.equal(made[name], each) for name, each in expected[job].items()):
                    wrong.append(job.__name__)
        except Exception as error:
            wrong.append(f"{job.__name__}: {error!r}")

    threads = [threading.Thread(target=work, args=(job,)) for job in expected for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert "numpy" not in vars(torch.Tensor) or torch.empty(2).fill_(1.0).numpy().tolist() == [1.0, 1.0]
