"""Names of data types, as plans, ledgers and files have them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@lru_cache(maxsize=64)
def dtype_name(dtype: torch.dtype) -> str:
    """``"float32"``, of ``torch.float32``."""
    return str(dtype).removeprefix("torch.")
