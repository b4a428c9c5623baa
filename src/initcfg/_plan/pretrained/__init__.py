"""Pretrained: what a rule says of a checkpoint, and how its tensors and the module's find each other."""

from initcfg._plan.pretrained.match import match
from initcfg._plan.pretrained.opening import open_pretrained

__all__ = ["match", "open_pretrained"]
