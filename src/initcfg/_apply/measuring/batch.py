"""Batches: what a model is called with, from a file, a function, or as it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from initcfg._config import function_of_file
from initcfg._rules.initializers import BatchInit
from initcfg.errors import ApplyError, InitcfgError


class Batch(NamedTuple):
    """The arguments of one call of a model."""

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]

    def on(self, model: nn.Module) -> Batch:
        """The same on the device that the model is on."""
        found = next((each.device for each in (*model.parameters(), *model.buffers())), None)
        return self if found is None else Batch(*tree_map_only(torch.Tensor, lambda x: x.to(found), self[:]))


def batch_of(initializer: BatchInit, where: str) -> Batch:
    """The batch that a rule names; nothing has been written yet.

    Raises:
        ConfigError: There is no such file or function.
        ApplyError: It failed.
    """
    source = initializer.source
    try:
        given = function_of_file(source) if isinstance(source, str) else source
        if callable(given) and not isinstance(given, (torch.Tensor, Mapping)):
            given = given()
    except InitcfgError as error:
        error.where = error.where or where
        raise
    except Exception as error:
        raise ApplyError(
            f"The batch {initializer.batch} could not be made: {type(error).__name__}: {error}",
            where=where,
            fix="Correct the function; it takes no argument, and gives what the model is called with.",
        ) from error
    if isinstance(given, Mapping):
        return Batch((), {str(key): item for key, item in given.items()})
    if isinstance(given, (tuple, list)):
        return Batch(tuple(given), {})
    if isinstance(given, torch.Tensor):
        return Batch((given,), {})
    raise ApplyError(
        f"The batch {initializer.batch} is of type {type(given).__name__}.",
        where=where,
        fix="Give a tensor, a tuple of arguments, or a dict of arguments by name.",
    )
