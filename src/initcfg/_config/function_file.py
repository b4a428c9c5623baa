"""A function in a file of Python, named by a text: ``file.py:function``."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from initcfg.errors import ConfigError, nearest

_FORM = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)")
_MODULE_FORM = re.compile(r"(?P<module>[^\W\d][\w.]*):(?P<name>[^\W\d]\w*)")


def names_function(text: str) -> bool:
    """Whether a text has the form ``file.py:function``."""
    return _FORM.fullmatch(text) is not None


def function_meant(text: Any) -> list[str]:
    """What somebody meant who named a function as builders are named: ``package.module:function``.

    Example:
        >>> from initcfg._config import function_meant
        >>> function_meant("my.data:batch")
        ['my/data.py:batch']
    """
    found = _MODULE_FORM.fullmatch(text) if isinstance(text, str) else None
    return [] if found is None else [f"{found['module'].strip('.').replace('.', '/')}.py:{found['name']}"]


def function_of_file(text: str, folder: str = "") -> Any:
    """The function that a text names, a path from ``folder`` or the working directory; it is not called.

    Raises:
        ConfigError: There is none.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"{text!r} names no function of a file.",
            meant=function_meant(text),
            fix="Write 'file.py:function'.",
        )
    file, name = found["file"], found["name"]
    path = os.path.join(folder, os.path.expanduser(file))
    if not os.path.isfile(path):
        raise ConfigError(
            f"There is no file {file!r}, of which {name}() is to be called.",
            fix=f"Give its path as seen from {folder or 'the working directory'}.",
        )
    try:
        module = _loaded(Path(os.path.realpath(path)))
    except Exception as error:
        raise ConfigError(
            f"{file!r} cannot be run. {type(error).__name__}: {error}",
            fix="Mend the file: its own code raised this.",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(
            f"{file!r} has no function {name!r}.",
            meant=nearest(name, [each for each, item in vars(module).items() if callable(item)]),
            fix=f"Write def {name}(): there.",
        )
    return function


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As a script has it: what stands beside the file can be imported.
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
