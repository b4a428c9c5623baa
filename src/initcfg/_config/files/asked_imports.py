"""Importing what a config asks for, so that its classes register themselves."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from initcfg.errors import (
    ConfigImportError,
    ConfigTypeError,
    also,
    nearest,
    warn,
)

# Folders that stand at the end of the import path because a config lies there.
_put_last: set[str] = set()


def find_beside(folder: str, *, first: bool) -> None:
    """Have modules found in a folder, too, as those beside a script are.

    Last means: only what is found nowhere else. A config may be called ``timm.py``.
    """
    if first and folder in _put_last and folder in sys.path:
        sys.path.remove(folder)
        _put_last.discard(folder)
    if folder in sys.path:
        return
    if first:
        sys.path.insert(0, folder)
    else:
        sys.path.append(folder)
        _put_last.add(folder)


def import_modules(
    values: Mapping[str, Any], where: Callable[[str], str | None], folder: str | None = None
) -> None:
    """Import the modules of ``imports`` and of ``custom_imports``, in this order.

    The config's folder stays on the import path, for what is imported later: first if the config asks for
    modules, else last, for those that a ``type`` names.
    """
    asked = values.get("imports") or values.get("custom_imports")
    if folder is not None:
        find_beside(folder, first=bool(asked))
    _import_all(values.get("imports"), "imports", False, where)
    custom = values.get("custom_imports")
    if not custom:
        return
    known = ("imports", "allow_failed_imports")
    unknown = [key for key in custom if key not in known] if isinstance(custom, Mapping) else []
    if not isinstance(custom, Mapping) or unknown:
        raise ConfigTypeError(
            f"custom_imports is a dict with the keys {known[0]!r} and {known[1]!r}, but is {custom!r}.",
            where=where("custom_imports"),
            meant=nearest(str(unknown[0]), known) if unknown else (),
        )
    allowed = bool(custom.get("allow_failed_imports", False))
    _import_all(custom.get("imports"), "custom_imports.imports", allowed, where)


def _import_all(names: Any, key: str, may_fail: bool, where: Callable[[str], str | None]) -> None:
    if not names:
        return
    single = isinstance(names, str)
    if not isinstance(names, (str, list, tuple)):
        raise ConfigTypeError(
            f"{key} is a list of module names, but is a {type(names).__name__}.", where=where(key) or key
        )
    for index, name in enumerate([names] if single else names):
        place = where(key if single else f"{key}.{index}") or key
        if not isinstance(name, str) or not name or name.startswith("."):
            raise ConfigTypeError(f"{key} is a list of module names, but holds {name!r}.", where=place)
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            if may_fail and isinstance(error, ImportError):
                warn(f"The module {name!r} of {key} cannot be imported, and is left out: {error}")
                continue
            kind = also(ConfigImportError, error) if isinstance(error, Exception) else ConfigImportError
            raise kind(
                f"The module {name!r}, which the config imports, cannot be imported. "
                f"{type(error).__name__}: {error}.",
                where=place,
                fix="Install it, or put the folder that holds it on PYTHONPATH."
                if isinstance(error, ModuleNotFoundError)
                else None,
            ) from error
