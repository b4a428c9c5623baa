"""FPN, the neck: "Feature Pyramid Networks for Object Detection", Lin et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import interpolate

from detector.layers import ConvModule, InitCfg
from initcfg import MODELS, BaseModule


@MODELS.register_module()
class FPN(BaseModule):
    """The neck: a top-down path over the backbone's levels, and further levels above the last.

    Args:
        in_channels: Channels of each level of the backbone.
        out_channels: Channels of each level that comes out.
        num_outs: How many levels come out; those above the backbone's halve the size each.
        start_level: The first level of the backbone that is used.
        init_cfg: The rules; by default, Xavier's uniform distribution for every convolution.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        start_level: int = 0,
        init_cfg: InitCfg = dict(type="Xavier", layer="Conv2d", distribution="uniform"),  # noqa: B006
    ) -> None:
        super().__init__(init_cfg)
        self.start_level = start_level
        used = list(in_channels[start_level:])
        self.lateral_convs = nn.ModuleList([ConvModule(channels, out_channels, 1) for channels in used])
        self.fpn_convs = nn.ModuleList([ConvModule(out_channels, out_channels, 3) for _ in used])
        channels = used[-1]
        for _ in range(num_outs - len(used)):
            self.fpn_convs.append(ConvModule(channels, out_channels, 3, stride=2))
            channels = out_channels

    def forward(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        inputs = inputs[self.start_level :]
        laterals = [conv(level) for conv, level in zip(self.lateral_convs, inputs, strict=True)]
        for index in range(len(laterals) - 1, 0, -1):
            below = laterals[index - 1]
            laterals[index - 1] = below + interpolate(laterals[index], size=below.shape[2:], mode="nearest")
        outs = [conv(level) for conv, level in zip(self.fpn_convs, laterals, strict=False)]
        source = inputs[-1]  # the first further level is made from the backbone's last
        for conv in list(self.fpn_convs)[len(laterals) :]:
            source = conv(source)
            outs.append(source)
        return outs
