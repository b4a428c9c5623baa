"""Builders: the text forms of a model that somebody else's code makes.

``timm:NAME``, ``torchvision:NAME``, ``hf:PATH``, ``hf:MODEL_TYPE`` or ``hf:CLASS``, ``mmdet:CONFIG``
(``mmseg:``, ``mmpretrain:``), and ``package.module:function_or_class``. They stand where a config file may
stand, and as the ``type`` of a model config.
"""

from initcfg._config.builders.forms import OPENMMLAB, Builder, builder, is_builder, is_object
from initcfg._config.builders.openmmlab import config_file

__all__ = ["Builder", "OPENMMLAB", "builder", "config_file", "is_builder", "is_object"]
