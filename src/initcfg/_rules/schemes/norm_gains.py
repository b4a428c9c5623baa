"""What a norm multiplies by: its weight, or one more than its weight."""

from __future__ import annotations

import torch
from torch import nn

from initcfg._model import stand_in

_BY_WEIGHT = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def gain_offset(norm: nn.Module, weight: str) -> float | None:
    """What a norm adds to its weight before it multiplies by it; None if a trial does not tell.

    Example:
        >>> from torch import nn
        >>> from initcfg._rules.schemes.norm_gains import gain_offset
        >>> gain_offset(nn.LayerNorm(4), "weight")
        0.0
    """
    if isinstance(norm, _BY_WEIGHT):
        return 0.0
    try:
        # A copy that may run, also of one whose weights are not written yet.
        tried = stand_in(norm, "cpu", torch.float32)
        with torch.no_grad():
            for each in tried.parameters():
                each.zero_()
            held = tried.get_parameter(weight)
            row = torch.linspace(-1.0, 2.0, held.numel(), device="cpu").expand(2, -1)
            for offset in (0.0, 1.0):
                held.fill_(-offset)
                if not tried(row).any():
                    return offset
    except Exception:
        # It is called with more than a row, or holds what cannot be copied.
        return None
    return None
