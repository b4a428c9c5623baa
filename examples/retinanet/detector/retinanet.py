"""The detector: backbone, neck and head."""

from __future__ import annotations

from typing import Any

import torch

from detector.layers import InitCfg
from initcfg import MODELS, BaseModule


@MODELS.register_module()
class RetinaNet(BaseModule):
    """A one-stage detector.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck.
        bbox_head: Config of the head.
        init_cfg: Rules for the whole; those of the parts beat them.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        neck: dict[str, Any],
        bbox_head: dict[str, Any],
        init_cfg: InitCfg = None,
    ) -> None:
        super().__init__(init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.bbox_head = MODELS.build(bbox_head)

    def forward(self, images: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Class scores (logits) and box deltas of every anchor, level by level.

        Args:
            images: A batch of images, N × channels × height × width.

        Returns:
            For each level, scores of N × (anchors · classes) × height × width, and deltas of
            N × (anchors · 4) × height × width.
        """
        return self.bbox_head(self.neck(self.backbone(images)))
