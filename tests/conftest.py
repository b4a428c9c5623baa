"""Shared by all tests: small models."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg


class Foo(initcfg.BaseModule):
    """The model of the original documentation."""

    def __init__(self, init_cfg: object = None) -> None:
        super().__init__(init_cfg)  # type: ignore[arg-type]
        self.feat = nn.Conv1d(3, 1, 3)
        self.reg = nn.Conv2d(3, 3, 3)
        self.cls = nn.Linear(1, 2)


@pytest.fixture
def foo_class() -> type[Foo]:
    return Foo


@pytest.fixture(autouse=True)
def _fixed_generator() -> None:
    torch.manual_seed(0)


@pytest.fixture
def without_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans say which code runs and when, and not what it means: the program alone."""
    monkeypatch.setattr("initcfg._api.functions.rehearsed", lambda plan, model: plan)
