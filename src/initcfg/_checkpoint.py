"""Checkpoints on disk: opened safely, read lazily.

Local files so far: ``.safetensors``, and what :func:`torch.save` writes. Pickled code never runs.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from initcfg._initializers import PretrainedInit
from initcfg._text import nearest
from initcfg.errors import CheckpointError, CheckpointNotFoundError


class Checkpoint:
    """An opened checkpoint, seen through one Pretrained rule.

    Args:
        source: Path of the file.
        prefix: Only keys that begin with it, without it.

    Raises:
        CheckpointNotFoundError: There is no such file.
        CheckpointError: It cannot be read, or has no key with that prefix.
    """

    def __init__(self, source: str, prefix: str | None = None) -> None:
        self.source = source
        path = _local_path(source)
        self._safe: Any = None
        self._state: dict[str, torch.Tensor] = {}
        if path.endswith(".safetensors"):
            self._open_safetensors(path)
        else:
            self._state = _load_torch(path)
        self._names = self._local_names(prefix)

    def _open_safetensors(self, path: str) -> None:
        try:
            self._safe = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise CheckpointError(f"The checkpoint {self.source!r} is damaged: {error}.") from error

    def _keys(self) -> list[str]:
        return list(self._safe.keys()) if self._safe is not None else list(self._state)

    def _local_names(self, prefix: str | None) -> dict[str, str]:
        keys = self._keys()
        if prefix is None:
            return {re.sub(r"^module\.", "", key): key for key in keys}
        start = prefix if prefix.endswith(".") else prefix + "."
        for candidate in (start, "module." + start):
            names = {key[len(candidate) :]: key for key in keys if key.startswith(candidate)}
            if names:
                return names
        prefixes = sorted({key.split(".")[0] + "." for key in keys if "." in key})
        raise CheckpointError(
            f"No key of {self.source!r} begins with the prefix {start!r}.",
            meant=nearest(start, prefixes) or prefixes[:4],
            mend="Take a prefix that the keys have; the first key is "
            + (repr(keys[0]) if keys else "missing"),
        )

    def tensors(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """By name in the module: the key in the checkpoint, and the shape there."""
        return {name: (key, self._shape(key)) for name, key in self._names.items()}

    def _shape(self, key: str) -> tuple[int, ...]:
        if self._safe is not None:
            return tuple(self._safe.get_slice(key).get_shape())
        return tuple(self._state[key].shape)

    def read(self, key: str) -> torch.Tensor:
        """The tensor at ``key``.

        Raises:
            CheckpointError: There is none.
        """
        try:
            return self._safe.get_tensor(key) if self._safe is not None else self._state[key]
        except (KeyError, SafetensorError) as error:
            raise CheckpointError(f"The checkpoint {self.source!r} has no tensor {key!r}.") from error


def open_pretrained(initializer: PretrainedInit) -> Checkpoint:
    """The checkpoint of a Pretrained rule."""
    return Checkpoint(initializer.checkpoint, initializer.prefix)


def _local_path(source: str) -> str:
    if "://" in source and not source.startswith("file://"):
        scheme = source.split("://", maxsplit=1)[0]
        raise CheckpointError(
            f"The checkpoint {source!r} is not a local file, and {scheme!r} sources are not supported yet.",
            mend="Download it, and give its path.",
        )
    path = os.path.expanduser(source.removeprefix("file://"))
    if not os.path.isfile(path):
        folder = os.path.dirname(path) or "."
        names = os.listdir(folder) if os.path.isdir(folder) else []
        raise CheckpointNotFoundError(
            f"There is no checkpoint {source!r}.",
            meant=[os.path.join(os.path.dirname(source), n) for n in nearest(os.path.basename(path), names)],
        )
    return path


def _load_torch(path: str) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            # An unusual pickle protocol is no news: what cannot be read is an error.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        named = f" (it needs {found.group(1)})" if found else ""
        raise CheckpointError(
            f"The checkpoint {path!r} holds more than tensors{named}, and pickled code is never run.",
            mend="Save its state_dict alone: torch.save(model.state_dict(), path), or use safetensors.",
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(f"The checkpoint {path!r} cannot be read: {error}.") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping):
        raise CheckpointError(f"The checkpoint {path!r} holds a {type(state).__name__}, not a state_dict.")
    return {key: tensor for key, tensor in state.items() if isinstance(tensor, torch.Tensor)}
