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

from initcfg._text import nearest
from initcfg.errors import CheckpointError, CheckpointNotFoundError

_SAFE_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


class Checkpoint:
    """An opened checkpoint.

    Args:
        source: Path of the file.

    Raises:
        CheckpointNotFoundError: There is no such file.
        CheckpointError: It cannot be read.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        path = local_path(source)
        self._safe: Any = None
        self._state: dict[str, torch.Tensor] = {}
        if path.endswith(".safetensors"):
            self._open_safetensors(path)
        else:
            self._state = _load_torch(path)

    def _open_safetensors(self, path: str) -> None:
        try:
            self._safe = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise CheckpointError(f"The checkpoint {self.source!r} is damaged: {error}.") from error

    def keys(self) -> list[str]:
        """Its keys."""
        return list(self._safe.keys()) if self._safe is not None else list(self._state)

    def info(self, key: str) -> tuple[tuple[int, ...], str]:
        """Shape and type of the tensor at ``key``."""
        if self._safe is not None:
            piece = self._safe.get_slice(key)
            there = str(piece.get_dtype())
            return tuple(piece.get_shape()), _SAFE_TYPES.get(there, there)
        tensor = self._state[key]
        return tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")

    def read(self, key: str) -> torch.Tensor:
        """The tensor at ``key``.

        Raises:
            CheckpointError: There is none.
        """
        try:
            return self._safe.get_tensor(key) if self._safe is not None else self._state[key]
        except (KeyError, SafetensorError) as error:
            raise CheckpointError(f"The checkpoint {self.source!r} has no tensor {key!r}.") from error


def local_path(source: str) -> str:
    """The path that a source means."""
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
