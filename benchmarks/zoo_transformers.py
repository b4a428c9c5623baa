"""transformers' classes with small configs of our own, so that each is built in a moment, offline."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from zoo_language import LANGUAGE
from zoo_senses import SENSES

if TYPE_CHECKING:
    from torch import nn

TRANSFORMERS = {**LANGUAGE, **SENSES}


def build_transformers(name: str) -> nn.Module:
    """Build a class of transformers from its small config, initialized as its constructor does."""
    import transformers

    cls = getattr(transformers, name)
    # Configs keep, and change, the dicts that they are given.
    return cls(cls.config_class(**copy.deepcopy(dict(TRANSFORMERS[name]))))
