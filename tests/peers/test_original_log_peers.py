"""What a log file holds after MMEngine's init_weights and after compat's: the same lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from initcfg.compat import mmengine

pytestmark = [pytest.mark.peers, pytest.mark.mm]


def model(module: Any, checkpoint: str) -> Any:
    class Neck(module.BaseModule):
        def __init__(self) -> None:
            super().__init__(dict(type="Xavier", layer="Linear", bias=3))
            self.linear, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)

        def init_weights(self) -> None:
            super().init_weights()
            nn.init.normal_(self.linear.weight)

    class Leaf(module.BaseModule):
        def __init__(self) -> None:
            super().__init__(dict(type="Pretrained", checkpoint=checkpoint))
            self.weight = nn.Parameter(torch.zeros(2, 2))

    class Model(module.BaseModule):
        def __init__(self) -> None:
            head = dict(type="Normal", name="head", std=0.3, bias_prob=0.1)
            rules = [
                dict(type="Kaiming", layer="Conv2d", bias=1, override=head),
                dict(type="Constant", layer="BatchNorm1d", val=2, bias=3),
                dict(type="Uniform", layer="Conv1d", bias=1),
                dict(type="TruncNormal", layer="Conv3d", std=0.5, bias=1),
                dict(type="Caffe2Xavier", layer="ConvTranspose2d", bias=2),
            ]
            super().__init__(rules)
            self.kaiming, self.uniform = nn.Conv2d(3, 4, 1), nn.Conv1d(2, 2, 1)
            self.truncated, self.caffe2 = nn.Conv3d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1)
            self.head, self.untouched = nn.Linear(2, 2), nn.Linear(2, 2)
            self.neck, self.leaf = Neck(), Leaf()

    return Model()


def test_the_lines_are_the_same(real: Any, tmp_path: Path):
    from mmengine.logging import MMLogger

    checkpoint = str(tmp_path / "leaf.pth")
    torch.save({"weight": torch.full((2, 2), 9.0)}, checkpoint)
    written = []
    for name, module in (("ours", mmengine), ("theirs", real)):
        logger = MMLogger.get_instance(f"log_lines_{name}", log_file=str(tmp_path / name), log_level="INFO")
        torch.manual_seed(0)
        try:
            model(module, checkpoint).init_weights()
        finally:
            MMLogger._instance_dict.pop(f"log_lines_{name}")
            for handler in logger.handlers:
                handler.close()
        text = (tmp_path / name).read_text()
        assert f"load model from: {checkpoint}" in text
        written.append("".join(line for line in text.splitlines(keepends=True) if " - INFO - " not in line))
    assert written[0] == written[1]
    assert written[0].count(" - torch.Size(") == 17
