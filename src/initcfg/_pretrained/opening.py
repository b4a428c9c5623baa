"""From what a rule calls a checkpoint to an opened one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from initcfg import _checkpoint
from initcfg._checkpoints.reader import Reader, TensorInfo
from initcfg._pretrained.initializer import PretrainedInit
from initcfg.errors import CheckpointError


class Opened:
    """An opened checkpoint, and what is known of where it comes from.

    Attributes:
        sha256: The digest of its file, where it is known.
        prefix: The part of it that the source means, if it means a part.
    """

    def __init__(self, reader: Reader, sha256: str | None = None, prefix: str | None = None) -> None:
        self._reader = reader
        self.name = reader.name
        self.wrapping = reader.wrapping
        self.sha256 = sha256
        self.prefix = prefix

    def keys(self) -> Iterator[str]:
        """See :class:`Reader`, as the others."""
        return self._reader.keys()

    def info(self, key: str) -> TensorInfo:
        """Shape and type of a tensor."""
        return self._reader.info(key)

    def read(self, key: str) -> torch.Tensor:
        """The tensor."""
        return self._reader.read(key)

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()


def open_source(
    source: Any,
    *,
    sha256: str | None = None,
    offline: bool | None = None,
    part: str | None = None,
    name: str | None = None,
) -> Opened:
    """Open a checkpoint: a path, a URL, or a state_dict.

    Args:
        source: What to open.
        sha256: Digest that the file must have.
        offline: Whether nothing may be fetched.
        part: Which of several states in the file.
        name: How messages call it; the source itself if None.

    Raises:
        CheckpointError: It cannot be opened, or is no checkpoint.
    """
    if isinstance(source, Mapping):
        return Opened(_Given(source, name or "a state_dict"))
    if not isinstance(source, str):
        raise CheckpointError(
            f"{name or 'The function'} gave a {type(source).__name__}, and no state_dict.",
            mend="Return a dict from names to tensors, or the path of a checkpoint.",
        )
    if part is not None:
        raise CheckpointError(f"part={part!r} cannot be read yet.")
    digest = None
    if sha256 is not None:
        digest = _digest(_checkpoint.local_path(source))
        if digest != sha256:
            raise CheckpointError(
                f"The checkpoint {source!r} is not the file that the rule means: its SHA-256 is {digest}, "
                f"and should be {sha256}.",
                mend="Fetch it again, or correct sha256.",
            )
    return Opened(_File(source, name or source), digest)


def open_pretrained(initializer: PretrainedInit) -> Opened:
    """The checkpoint of a Pretrained rule."""
    return open_source(
        initializer.state(),
        sha256=initializer.sha256,
        offline=initializer.offline,
        part=initializer.part,
        name=initializer.label,
    )


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class _Given:
    """A state_dict that was given in code."""

    wrapping: tuple[str, ...] = ()

    def __init__(self, state: Mapping[str, Any], name: str) -> None:
        self.name = name
        self._state = {key: item for key, item in state.items() if isinstance(item, torch.Tensor)}

    def keys(self) -> Iterator[str]:
        return iter(self._state)

    def info(self, key: str) -> TensorInfo:
        tensor = self._state[key]
        return TensorInfo(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))

    def read(self, key: str) -> torch.Tensor:
        return self._state[key].detach()

    def close(self) -> None:
        pass


class _File:
    """A local file."""

    wrapping: tuple[str, ...] = ()

    def __init__(self, source: str, name: str) -> None:
        self.name = name
        self._file = _checkpoint.Checkpoint(source)

    def keys(self) -> Iterator[str]:
        return iter(self._file.keys())

    def info(self, key: str) -> TensorInfo:
        return TensorInfo(*self._file.info(key))

    def read(self, key: str) -> torch.Tensor:
        return self._file.read(key)

    def close(self) -> None:
        pass
