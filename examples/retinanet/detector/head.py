"""The head of RetinaNet: "Focal Loss for Dense Object Detection", Lin et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from detector.layers import ConvModule, InitCfg
from initcfg import MODELS, BaseModule


@MODELS.register_module()
class RetinaHead(BaseModule):
    """Two towers of convolutions, shared by all levels: one for classes, one for boxes.

    Args:
        num_classes: Number of classes, each a sigmoid of its own.
        in_channels: Channels of each level.
        feat_channels: Channels within the towers.
        stacked_convs: Convolutions in each tower.
        num_anchors: Anchors at each place: three scales by three ratios.
        init_cfg: The rules. By default N(0, 0.01²), and the classifier's bias such that every anchor
            starts as background with probability 0.99 (section 4.1 there).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        stacked_convs: int = 4,
        num_anchors: int = 9,
        init_cfg: InitCfg = dict(  # noqa: B006
            type="Normal",
            layer="Conv2d",
            std=0.01,
            override=dict(type="Normal", name="retina_cls", std=0.01, bias_prob=0.01),
        ),
    ) -> None:
        super().__init__(init_cfg)

        def tower() -> nn.ModuleList:
            widths = [in_channels, *[feat_channels] * stacked_convs]
            return nn.ModuleList([ConvModule(wide, feat_channels, 3, activate=True) for wide in widths[:-1]])

        self.cls_convs = tower()
        self.reg_convs = tower()
        self.retina_cls = nn.Conv2d(feat_channels, num_anchors * num_classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(feat_channels, num_anchors * 4, 3, padding=1)

    def forward(self, levels: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        scores, deltas = [], []
        for level in levels:
            for_class = for_box = level
            for conv in self.cls_convs:
                for_class = conv(for_class)
            for conv in self.reg_convs:
                for_box = conv(for_box)
            scores.append(self.retina_cls(for_class))
            deltas.append(self.retina_reg(for_box))
        return scores, deltas
