"""The classes under MMEngine's names draw from torch's generator, as the original's do."""

from __future__ import annotations

import torch
from torch import nn

from initcfg.compat import mmengine as compat


def test_compat_classes_draw_from_torch():
    class Model(compat.BaseModule):
        def __init__(self):
            super().__init__(dict(type="Normal", layer="Linear", std=0.01))
            self.linear = nn.Linear(4, 4)

    model = Model()
    torch.manual_seed(3)
    model.init_weights()
    torch.manual_seed(3)
    assert torch.equal(model.linear.weight, torch.empty(4, 4).normal_(0, 0.01))
