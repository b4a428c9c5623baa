"""Builders: the text forms of a model that somebody else's code makes.

``timm:NAME``, ``torchvision:NAME``, ``hf:PATH``, ``hf:MODEL_TYPE`` or ``hf:CLASS``, ``mmdet:CONFIG``
(``mmseg:``, ``mmpretrain:``), and ``package.module:function_or_class``. They stand where a config file may
stand, and as the ``type`` of a model config.
"""

from initcfg._config.builders.forms import Builder, builder, is_builder
from initcfg._config.target import load_target, prepared

__all__ = ["Builder", "builder", "is_builder", "load_target", "prepared"]
