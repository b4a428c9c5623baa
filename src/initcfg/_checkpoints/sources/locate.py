"""The way in: whatever ``checkpoint=`` holds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from initcfg._checkpoints.sources.address import scheme_of, shown
from initcfg._checkpoints.sources.in_memory import from_code
from initcfg._checkpoints.sources.local import from_path
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.schemes import known_schemes, source_for
from initcfg.errors import CheckpointError, CheckpointNotFoundError, InitcfgError, as_annotated


@as_annotated(CheckpointError, but=("source",))
def locate(
    source: str | os.PathLike[str] | Mapping[str, Any] | Callable[[], Any],
    *,
    sha256: str | None = None,
    offline: bool | None = None,
) -> Located:
    """Find a checkpoint, and bring it to this machine if it is elsewhere.

    Args:
        source: A path; an address with a scheme (``https://``, ``torchvision://``, ``timm://``, ``hf://``,
            ``open-mmlab://``, ``s3://``, ...); a state_dict, a module or a function without arguments that
            returns one.
        sha256: The digest that the file must have, 64 hexadecimal digits.
        offline: Whether to do without the network and use what was fetched before; None asks the variable
            ``INITCFG_OFFLINE``.

    Returns:
        Where it is. A file is whole, and has the digest that was asked for.

    Raises:
        CheckpointNotFoundError: There is no such checkpoint.
        CheckpointError: It cannot be fetched, or is not what its digest says.

    Example:
        >>> import torch
        >>> locate({"weight": torch.zeros(2)}).origin
        'a state_dict of 1 tensor'
    """
    digest = None if sha256 is None else str(sha256).lower().strip()
    if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise CheckpointError(
            f"sha256={sha256!r} is not a SHA-256 digest.", fix="Give its 64 hexadecimal digits."
        )
    if not isinstance(source, (str, os.PathLike)):
        return from_code(source, sha256=digest)
    text = os.fspath(source)
    if not isinstance(text, str) or not text.strip():
        raise CheckpointError(
            f"{source!r} names no checkpoint.", fix="Give a path, or an address with a scheme."
        )
    scheme = scheme_of(text) if isinstance(source, str) else None
    if scheme is None:
        try:
            return from_path(text, sha256=digest, offline=offline)
        except CheckpointNotFoundError as error:
            # The slashes are easily forgotten: "torchvision:resnet50".
            head, colon, rest = text.partition(":")
            if colon and "/" not in head and head.lower() in known_schemes():
                error.meant = (f"{head}://{rest.lstrip('/')}", *error.meant)
            raise
    function = source_for(scheme, text)
    try:
        located = function(text, sha256=digest, offline=offline)
    except InitcfgError:
        raise
    except Exception as error:
        if getattr(function, "__module__", "").startswith("initcfg."):
            raise
        raise CheckpointError(
            f"The plugin of the scheme {scheme!r} failed on {shown(text)!r}: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(located, Located):
        raise CheckpointError(
            f"The plugin of the scheme {scheme!r} returned a {type(located).__name__}, not a Located."
        )
    return located
