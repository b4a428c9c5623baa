"""Packages that know where weights are: imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from initcfg.errors import CheckpointError, CheckpointImportError


def imported(module: str, source: str, extra: str) -> Any:
    """The module that the scheme of ``source`` needs, and an ``extra`` of this package brings."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except Exception as error:
        # Compiled extensions fail in ways of their own: RuntimeError, OSError, AttributeError.
        if isinstance(error, ModuleNotFoundError) and error.name in (package, module):
            raise missing(package, source, extra) from error
        raise CheckpointImportError(
            f"The checkpoint {source!r} needs the package {package!r}, which cannot be imported: "
            f"{type(error).__name__}: {error}.",
            fix=f"Repair the installation of {package}.",
        ) from error


def missing(package: str, source: str, extra: str) -> CheckpointError:
    """The error that says what to install."""
    return CheckpointImportError(
        f"The checkpoint {source!r} needs the package {package!r}, which is not installed.",
        fix=f"Run pip install 'initcfg[{extra}]'.",
    )
