"""Coverage: whether writes reach every element of a tensor, or only a part of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from initcfg._record.recording.layers import Layer, covered
from initcfg._record.recording.regions import Region

# Of larger tensors it is not asked element by element.
_MOST_ELEMENTS = 1 << 26


def written_in_part(layers: Sequence[Layer], region: Region) -> bool:
    """Whether something was written in a region, and not everywhere."""
    if len(layers) == 1 and layers[0].region == region:
        return False
    here = [layer.region for layer in layers if not layer.region.apart(region)]
    if not here or covered(layers, region) is not None or _follow(here, region):
        return False
    if region.elements > _MOST_ELEMENTS or any(each.dtype != region.dtype for each in here):
        return False
    return not all_within(region, here)


def all_within(region: Region, others: Sequence[Region]) -> bool:
    """Whether every element of a region lies in one of the others."""
    here = [each for each in others if not each.apart(region)]
    if any(each.covers(region) for each in here) or _follow(here, region):
        return True
    low, high = region.span
    if not here or any(each.dtype != region.dtype for each in here):
        return not region.elements
    first = min(low, *(each.span[0] for each in here))
    memory = torch.zeros(max(high, *(each.span[1] for each in here)) - first, dtype=torch.bool, device="cpu")
    for each in here:
        memory.as_strided(each.sizes, each.strides, each.offset - first).fill_(True)
    return bool(memory.as_strided(region.sizes, region.strides, region.offset - first).all())


def _follow(regions: Sequence[Region], whole: Region) -> bool:
    """Whether regions without gaps follow each other from end to end: experts in one tensor, one by one."""
    reached, high = whole.span
    for low, end in sorted(each.span for each in regions if each.dense and each.dtype == whole.dtype):
        if low > reached:
            return False
        reached = max(reached, end)
    return reached >= high
