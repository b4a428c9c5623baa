"""What looking for a checkpoint comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Located:
    """A checkpoint that is on this machine.

    Attributes:
        path: A file; or a folder, which holds a distributed checkpoint (``.metadata``) or an index with its
            shards (``model.safetensors.index.json``) or a ``model.safetensors``. None with ``memory``.
        memory: A state_dict that was given in code. None with ``path``.
        origin: Where it comes from, for messages and the account: the address after names are resolved,
            without passwords and tokens.
        sha256: The digest of the file, in full, where a digest was known and was checked.
        prefix: The part of the checkpoint that the source means, if it means a part: ``mmcls://`` names
            stand for the backbone of a classifier, so ``"backbone."``.
    """

    path: Path | None
    memory: Mapping[str, Tensor] | None
    origin: str
    sha256: str | None
    prefix: str | None = None
