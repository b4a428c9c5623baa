"""What a config says of its model's roles: ``roles = dict(...)`` and ``example = "file.py:function"``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from initcfg._config import function_meant, function_of_file, names_function
from initcfg._plan.planner import RoleRequest, remember_roles
from initcfg.errors import ConfigTypeError, UntrustedError


def remember(config: Any, model: nn.Module, *, untrusted: bool) -> None:
    """The model keeps what the config that built it says of its roles, for whoever plans it.

    Raises:
        ConfigError: That is of another form; under ``untrusted``, it names code.
    """
    if "model" not in config:
        return
    roles, example = config.get("roles"), config.get("example")
    if roles is not None and not isinstance(roles, (Mapping, str)):
        raise ConfigTypeError(f"roles must be a dict or 'names', not {roles!r}.")
    if example is not None:
        if untrusted:
            raise UntrustedError(
                f"example = {example!r} names code, which a config that is not trusted may not.",
                fix="Read it, and leave out --untrusted (untrusted=True) if you trust it.",
            )
        example = example_of(example, getattr(config, "filename", None))
    if roles is not None or example is not None:
        remember_roles(model, RoleRequest(roles, example))


def example_of(text: Any, config: str | None = None) -> Callable[..., Any]:
    """The function that ``file.py:function`` names, a path from the config's folder; it is not called.

    Raises:
        ConfigError: There is none.
    """
    if not isinstance(text, str) or not names_function(text):
        raise ConfigTypeError(
            f"example must be 'file.py:function', not {text!r}.",
            meant=function_meant(text),
            fix="Name a function without arguments that returns the model's inputs as a tuple.",
        )
    return function_of_file(text, os.path.dirname(os.path.abspath(config)) if config else "")
