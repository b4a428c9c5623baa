"""What ``mmcv.cnn`` (1.x) exports for initialization, under the same names and signatures, and more."""

from initcfg.compat.mmengine import *  # noqa: F403
from initcfg.compat.mmengine import WEIGHT_INITIALIZERS as INITIALIZERS  # noqa: F401
