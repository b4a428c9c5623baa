"""What other packages hold: their configs, and MMEngine's reader of the ``read_base()`` style."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from typing import Any

from initcfg.errors import (
    ConfigError,
    ConfigExecutionError,
    ConfigFileNotFoundError,
    ConfigImportError,
    also,
)

_NAME = re.compile(r"(\w+)::([^:]+)")


def external_config(name: str, where: str) -> tuple[str, str]:
    """The file that ``mmdet::_base_/models/retinanet_r50_fpn.py`` names, and the scope of its types."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"{name!r} is not a config of a package.", where=where, fix="Write it as 'mmdet::folder/name.py'."
        )
    package, path = match[1], match[2]
    # Found, not imported: the package's own imports may be heavy.
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise ConfigFileNotFoundError(
            f"{name!r} is a config of the package {package!r}, which is not installed.",
            where=where,
            fix=f"Install the package that provides {package!r}, or name a local file.",
        )
    candidates = [
        os.path.join(folder, *inside, *path.split("/")) + ending
        for folder in folders
        for inside in ((".mim", "configs"), ("configs",))
        for ending in ("", ".py")
    ]
    found = next((candidate for candidate in candidates if os.path.isfile(candidate)), candidates[0])
    return os.path.abspath(found), package


def read_with_mmengine(path: str) -> dict[str, Any]:
    """A config in the ``read_base()`` style, as MMEngine reads it; classes are dotted paths."""
    try:
        config = importlib.import_module("mmengine.config").Config
    except ImportError as error:
        raise ConfigImportError(
            "A config with read_base(), or with relative imports, is read by MMEngine, "
            f"which cannot be imported: {error}.",
            where=path,
            fix="Install it with: pip install mmengine. Or write the config with _base_ = [...].",
        ) from error
    try:
        return config.fromfile(path, import_custom_modules=False, lazy_import=True).to_dict()
    except Exception as error:
        raise also(ConfigExecutionError, error)(
            f"MMEngine cannot read this config. {type(error).__name__}: {error}", where=path
        ) from error
