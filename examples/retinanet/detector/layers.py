"""What the parts share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

InitCfg = dict[str, Any] | list[dict[str, Any]] | None


class ConvModule(nn.Module):
    """A convolution that keeps the size at stride 1, and the activation after it.

    It carries no rules: what it starts with is for the neck or head around it to say.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Odd edge length of the kernel.
        stride: Stride.
        activate: Whether a ReLU follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)
        self.activate = nn.ReLU(inplace=True) if activate else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = self.conv(features)
        return features if self.activate is None else self.activate(features)
