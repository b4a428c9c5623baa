"""ResNet, the backbone: "Deep Residual Learning for Image Recognition", He et al. 2016."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from detector.layers import InitCfg
from initcfg import MODELS, BaseModule, Sequential


class BasicBlock(BaseModule):
    """Two 3×3 convolutions beside a shortcut: the block of ResNet-18 and 34.

    Args:
        in_channels: Channels in.
        channels: Channels of the inner convolutions; ``channels * expansion`` come out.
        stride: Stride of the first convolution.
        init_cfg: The rules.
    """

    expansion: ClassVar[int] = 1
    last_norm: ClassVar[str] = "norm2"

    def __init__(self, in_channels: int, channels: int, stride: int = 1, init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, channels * self.expansion, stride)

    @property
    def norm2(self) -> nn.Module:
        """The last norm. An override may name a property as well as an attribute."""
        return self.bn2

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(features)) + shortcut)


class Bottleneck(BaseModule):
    """A 3×3 convolution between two 1×1 ones, beside a shortcut: the block of ResNet-50 and deeper.

    Args:
        in_channels: Channels in.
        channels: Channels of the inner convolutions; ``channels * expansion`` come out.
        stride: Stride of the 3×3 convolution.
        init_cfg: The rules.
    """

    expansion: ClassVar[int] = 4
    last_norm: ClassVar[str] = "norm3"

    def __init__(self, in_channels: int, channels: int, stride: int = 1, init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, channels * self.expansion, stride)

    @property
    def norm3(self) -> nn.Module:
        """The last norm. An override may name a property as well as an attribute."""
        return self.bn3

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = self.relu(self.bn1(self.conv1(features)))
        features = self.relu(self.bn2(self.conv2(features)))
        return self.relu(self.bn3(self.conv3(features)) + shortcut)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """A projection, where the block changes the size or the channels."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


@MODELS.register_module()
class ResNet(BaseModule):
    """The backbone: features of strides 4, 8, 16 and 32.

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: Channels of the images.
        zero_init_residual: Whether the last norm of each block starts at zero, so that the block
            starts as the identity ("Accurate, Large Minibatch SGD", Goyal et al. 2017, section 5.1).
            Only without ``init_cfg``, as in MMDetection.
        init_cfg: Rules in place of the default.

    Raises:
        ValueError: There is no ResNet of that depth.
    """

    blocks: ClassVar[dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]]] = {
        18: (BasicBlock, (2, 2, 2, 2)),
        34: (BasicBlock, (3, 4, 6, 3)),
        50: (Bottleneck, (3, 4, 6, 3)),
        101: (Bottleneck, (3, 4, 23, 3)),
        152: (Bottleneck, (3, 8, 36, 3)),
    }

    def __init__(
        self, depth: int, in_channels: int = 3, zero_init_residual: bool = True, init_cfg: InitCfg = None
    ) -> None:
        if depth not in self.blocks:
            raise ValueError(f"There is no ResNet of depth {depth}; take one of {sorted(self.blocks)}.")
        block, counts = self.blocks[depth]
        block_init_cfg: InitCfg = None
        if init_cfg is None:
            init_cfg = [
                dict(type="Kaiming", layer="Conv2d"),
                dict(type="Constant", val=1, layer=["_BatchNorm", "GroupNorm"]),
            ]
            if zero_init_residual:
                # A child's rule beats its parents': this one beats the Constant above.
                block_init_cfg = dict(type="Constant", val=0, override=dict(name=block.last_norm))
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for index, count in enumerate(counts):
            width = 64 * 2**index
            stage = Sequential()
            for place in range(count):
                stride = 2 if index > 0 and place == 0 else 1
                stage.append(block(channels, width, stride, init_cfg=block_init_cfg))
                channels = width * block.expansion
            self.add_module(f"layer{index + 1}", stage)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        levels = []
        for index in range(4):
            features = self.get_submodule(f"layer{index + 1}")(features)
            levels.append(features)
        return levels
