"""Other packages that know where weights are: imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from initcfg.errors import CheckpointError


def client(module: str, source: str, extra: str) -> Any:
    """Import the package that a scheme needs.

    Args:
        module: The module to import.
        source: What is looked for, for messages.
        extra: The extra of this package that brings it.

    Raises:
        CheckpointError: It is not installed, or is broken.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in (package, module):
            raise _broken(package, source, error) from error
        raise missing(package, source, extra) from error
    except Exception as error:
        # Compiled extensions fail in ways of their own: RuntimeError, OSError, AttributeError.
        raise _broken(package, source, error) from error


def missing(package: str, source: str, extra: str) -> CheckpointError:
    """The error that says what to install."""
    return CheckpointError(
        f"The checkpoint {source!r} needs the package {package!r}, which is not installed.",
        fix=f"pip install 'initcfg[{extra}]'",
    )


def _broken(package: str, source: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {source!r} needs the package {package!r}, which cannot be imported: "
        f"{type(error).__name__}: {error}.",
        fix=f"Repair the installation of {package}.",
    )
