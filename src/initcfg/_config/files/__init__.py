"""Config files: reading, merging, changing, locating and writing them.

Nothing here needs torch, numpy or MMEngine (the last only for a config in the ``read_base()`` style).
"""

from initcfg._config.files.atomic import output_error, replacing, write_atomically
from initcfg._config.files.config import Config
from initcfg._config.files.dict import DELETE_KEY, ConfigDict, plain
from initcfg._config.files.formats import SUFFIXES
from initcfg._config.files.key_paths import set_path
from initcfg._config.files.overrides import parse_overrides

__all__ = [
    "Config",
    "ConfigDict",
    "DELETE_KEY",
    "SUFFIXES",
    "output_error",
    "parse_overrides",
    "plain",
    "replacing",
    "set_path",
    "write_atomically",
]
