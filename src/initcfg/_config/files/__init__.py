"""Config files: reading, merging, changing, locating and writing them.

In: a ``.py``, ``.yaml``, ``.json`` or ``.toml`` file with its bases, a text, or a dict; and overrides.
Out: a ``Config``, which knows the line of each value; and files that appear whole or not at all.

Read: `config.py` (what a config file says), then `config_dict.py` (dicts with attributes, and how they
merge), `config_reader.py` (a file and its bases), `reading.py` (the text of a file), `python.py` (Python
configs), `formats.py` (YAML, JSON and TOML) with `yaml_text.py` (YAML alone) and `nesting.py` (how deep
and how large), `plain_containers.py` (those of other libraries), `placeholders.py` (what stands in double
braces), `external.py` (configs of other packages), `asked_imports.py` (modules that a config asks for),
`working_folder.py` (none from there), `key_paths.py` (values at dotted paths), `overrides.py`
(``key=value``), `command_line.py` (options of ``argparse`` for a script of one's own), `lines.py` (the
line that wrote a value), `write.py` (a config as text), `atomic.py` (files that are replaced).
Nothing here needs torch, NumPy, or MMEngine (but for configs in the ``read_base()`` style).
"""

from initcfg._config.files.atomic import output_error, replacing, write_atomically
from initcfg._config.files.command_line import DictAction
from initcfg._config.files.config import Config
from initcfg._config.files.config_dict import (
    ConfigDict,
    fresh,
    is_untrusted,
    origin_of,
    plain,
    said_beside,
)
from initcfg._config.files.config_reader import files_of
from initcfg._config.files.formats import SUFFIXES
from initcfg._config.files.key_paths import set_path
from initcfg._config.files.nesting import check_nesting
from initcfg._config.files.overrides import parse_overrides
from initcfg._config.files.plain_containers import PlainArguments, plain_containers
from initcfg._config.files.reading import file_text
from initcfg._config.files.working_folder import without_working_folder

__all__ = [
    "Config",
    "ConfigDict",
    "DictAction",
    "PlainArguments",
    "SUFFIXES",
    "check_nesting",
    "file_text",
    "files_of",
    "fresh",
    "is_untrusted",
    "origin_of",
    "output_error",
    "parse_overrides",
    "plain",
    "plain_containers",
    "replacing",
    "said_beside",
    "set_path",
    "without_working_folder",
    "write_atomically",
]
