"""Kept buffers: what constructors left in those that a state_dict has and nobody wrote, for the ledger."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection

import torch

from initcfg._model import Names
from initcfg._plan import KeptBuffer, Plan
from initcfg._stream.writing import PLAIN_TENSORS, as_array
from initcfg.values import Constant, dtype_name

# Of a larger one, whoever initializes does not wait for the digest.
_MOST_BYTES = 1 << 22


def kept_buffers(names: Names, written: Collection[str]) -> dict[str, KeptBuffer]:
    """What the buffers of a model hold, but for those ``written``, such as no file stores, and large ones."""
    found: dict[str, KeptBuffer] = {}
    for entry in names.buffers:
        tensor = entry.tensor
        if entry.name in written or entry.name in names.unsaved or entry.holder is not None:
            continue
        if type(tensor) not in PLAIN_TENSORS or tensor.is_meta or tensor.layout is not torch.strided:
            continue
        if tensor.is_quantized or not 0 < tensor.numel() * tensor.itemsize <= _MOST_BYTES:
            continue
        found[entry.name] = _kept(tensor.detach())
    return found


def buffers_kept(names: Names, plan: Plan) -> dict[str, KeptBuffer]:
    """The same of a model that a plan was made for, before it is applied."""
    return kept_buffers(names, plan.buffers)


def kept_digest(tensor: torch.Tensor) -> str:
    """SHA-256 of a tensor's numbers."""
    return hashlib.sha256(_data(tensor)).hexdigest()


def _data(tensor: torch.Tensor) -> bytes:
    return as_array(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)).tobytes()


def _kept(tensor: torch.Tensor) -> KeptBuffer:
    about = (tuple(tensor.shape), dtype_name(tensor.dtype))
    data = _data(tensor)
    # By their bits: so NaN equals itself, and 0 is not -0.
    if data == data[: tensor.itemsize] * tensor.numel():
        first = tensor.reshape(-1)[0].item()
        is_number = isinstance(first, (int, float)) and not isinstance(first, bool)
        if is_number and math.isfinite(first) and float(first) == first:
            return KeptBuffer(*about, Constant(float(first)))
    return KeptBuffer(*about, None, hashlib.sha256(data).hexdigest())
