"""Models, state_dicts and rules that the tests of loading and of matching share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import initcfg


class Backbone(initcfg.BaseModule):
    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(2, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)


class Detector(initcfg.BaseModule):
    def __init__(self, inner: Any = None, outer: Any = None) -> None:
        super().__init__(outer)
        self.backbone = Backbone(inner)
        self.head = nn.Linear(3, 2)


def state_of(model: nn.Module, seed: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(item.shape, generator=generator) if item.is_floating_point() else item + 7
        for name, item in model.state_dict().items()
    }


def loading(state: Any, **arguments: Any) -> dict[str, Any]:
    return dict(type="Pretrained", checkpoint=state, **arguments)


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: item.numpy().tobytes() for name, item in model.state_dict().items()}


def same(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    found = model.state_dict()
    return all(torch.equal(found[name], item) for name, item in state.items())
