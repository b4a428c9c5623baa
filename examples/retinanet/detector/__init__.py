"""RetinaNet in plain PyTorch, with the initialization that MMDetection gives it.

The names of all parameters are MMDetection's too, so that checkpoints fit both.
"""

from detector.fpn import FPN
from detector.head import RetinaHead
from detector.resnet import ResNet
from detector.retinanet import RetinaNet

__all__ = ["FPN", "ResNet", "RetinaHead", "RetinaNet"]
