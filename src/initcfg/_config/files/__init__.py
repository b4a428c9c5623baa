"""Config files: reading, merging, changing, locating and writing them.

Nothing here needs torch, numpy or MMEngine (the last only for a config in the ``read_base()`` style).
"""

from initcfg._config.files.config import Config
from initcfg._config.files.dict import ConfigDict
from initcfg._config.files.merge import DELETE_KEY
from initcfg._config.files.overrides import parse_overrides

__all__ = ["DELETE_KEY", "Config", "ConfigDict", "parse_overrides"]
