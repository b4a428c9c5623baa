"""State_dicts that are given in code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from initcfg._checkpoints.sources.located import Located
from initcfg.errors import CheckpointError, plural


def from_code(source: Any, *, sha256: str | None) -> Located:
    """A mapping, a module, or a function without arguments that returns one of them."""
    if sha256 is not None:
        raise CheckpointError(
            "sha256= is the digest of a file, and this checkpoint is given in code.", fix="Leave it out."
        )
    origin, state = None, source
    if callable(source) and not isinstance(source, (Mapping, nn.Module)):
        name = getattr(source, "__qualname__", None) or type(source).__qualname__
        origin = f"{getattr(source, '__module__', None) or 'a function'}.{name}()"
        try:
            state = source()
        except Exception as error:
            raise CheckpointError(
                f"The function {origin} that should return a state_dict raised "
                f"{type(error).__name__}: {error}.",
                fix="Give a function without arguments that returns one.",
            ) from error
    if isinstance(state, nn.Module):
        origin = origin or f"a {type(state).__qualname__} in memory"
        state = state.state_dict()
    if not isinstance(state, Mapping):
        said = f"{origin} returned" if origin else "The checkpoint is"
        raise CheckpointError(
            f"{said} a {type(state).__name__}, not a state_dict.",
            fix="Give a path, an address, a mapping of names to tensors, or a function that returns one.",
        )
    return Located(None, state, origin or f"a state_dict of {plural(len(state), 'tensor')}", None)
