"""Builders: the text forms of a model that other people's code makes.

In: ``timm:NAME``, ``torchvision:NAME``, ``hf:PATH``, ``hf:MODEL_TYPE`` or ``hf:CLASS``, ``mmdet:CONFIG``
(``mmseg:``, ``mmpretrain:``), or ``package.module:function_or_class``, as a config file or a ``type``.
Out: the model that it names, built without weights and without a network.

Read: `forms.py` (from the text to what builds), then `libraries.py` (timm and torchvision), `hf.py`
(transformers), `openmmlab.py` (configs of mmdet and its relatives), `calls.py` (what is said when a call is
refused), `offline.py` (no hub is asked).
"""

from initcfg._config.builders import openmmlab
from initcfg._config.builders.calls import call_checked, call_with_rules, defined_at, described
from initcfg._config.builders.forms import (
    OPENMMLAB,
    builder,
    is_builder,
    is_object,
    needs_no_trust,
    object_of,
    target_of,
)
from initcfg._config.builders.hf import pretrained_config

__all__ = [
    "OPENMMLAB",
    "builder",
    "call_checked",
    "call_with_rules",
    "defined_at",
    "described",
    "is_builder",
    "is_object",
    "needs_no_trust",
    "object_of",
    "openmmlab",
    "pretrained_config",
    "target_of",
]
