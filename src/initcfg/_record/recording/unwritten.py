"""What of a tensor comes from memory that nobody wrote: found by trying it with two contents of that memory.

No list of operations says it: one that fills by index writes a part, one that multiplies writes nothing, and
one that joins tensors mixes them. Elements that come out otherwise depend on memory that was never written.
"""

from __future__ import annotations

from typing import Literal

import torch

from initcfg._record.recording.coverage import all_within
from initcfg._record.recording.log import fill_bytes, operands_in, run_step, tensor_at
from initcfg._record.recording.recorder import Recorder
from initcfg._record.recording.regions import Region
from initcfg._record.recording.storage import LogStep, TrackedStorage
from initcfg._record.recording.tracker import POISON
from initcfg._stream.writing import seeded

Share = Literal["none", "part", "whole"]

# Of more memory it is not tried, and then a part is assumed.
_MOST_BYTES = 1 << 28


def unwritten_share(recorder: Recorder, tracked: TrackedStorage, region: Region) -> Share:
    """How much of a region comes from memory that nobody wrote."""
    if tracked.poisoned and tracked.storage is not None:
        found = tensor_at(tracked.storage, region).contiguous().view(torch.uint8)
        return _share((found.view(-1, region.dtype.itemsize) == POISON).all(1)) if found.numel() else "none"
    if tracked.exposed or not tracked.writers:
        return "none"
    steps = recorder.log.sliced(tracked)
    if not any(_reads_unwritten(recorder, step) for step in steps):
        return "none"
    involved = {each for step in steps for each in (*step.reads, *step.writes)}
    size = sum(each.whole.span[1] * each.whole.dtype.itemsize for each in involved)
    if size > _MOST_BYTES or any(step.hidden is not None or step.seen is not None for step in steps):
        return "part"
    try:
        with recorder.through(), torch.no_grad():
            tries = [_tried(recorder, steps, tracked, region, content) for content in (POISON, 0)]
    except Exception:
        # Numbers that the memory held decide what is done.
        return "part"
    return _share((tries[0] != tries[1]).any(1))


def _share(unwritten: torch.Tensor) -> Share:
    return "whole" if bool(unwritten.all()) else "part" if bool(unwritten.any()) else "none"


def _reads_unwritten(recorder: Recorder, step: LogStep) -> bool:
    """Whether an operation reads memory that nobody wrote before it."""
    read = set(step.reads)
    return bool(read) and any(
        operand.tracked in read
        and operand.known is None
        and _begins_unwritten(recorder, operand.tracked)
        and not all_within(operand.region, _written_before(step, operand.tracked))
        for operand in operands_in((step.args, step.kwargs))
    )


def _begins_unwritten(recorder: Recorder, tracked: TrackedStorage) -> bool:
    return not tracked.foreign and (not tracked.before or tracked in recorder.unwritten)


def _written_before(step: LogStep, tracked: TrackedStorage) -> list[Region]:
    written = [each for each in tracked.writers if each.index < step.index]
    targets = [
        operand
        for each in written
        for operand in (*operands_in((each.args, each.kwargs)), *filter(None, each.outs))
        if operand.tracked in each.writes
    ]
    return [operand.region for operand in targets if operand.tracked is tracked]


def _tried(
    recorder: Recorder, steps: list[LogStep], tracked: TrackedStorage, region: Region, content: int
) -> torch.Tensor:
    """The bytes of each element, if unwritten memory has this content everywhere."""
    memory: dict[TrackedStorage, torch.UntypedStorage] = {}

    def place(each: TrackedStorage) -> torch.UntypedStorage:
        if each not in memory:
            size = max(each.whole.span[1] * each.whole.dtype.itemsize, 0)
            if each.data is not None:
                memory[each] = each.data.clone().untyped_storage()
            else:
                begins = content if _begins_unwritten(recorder, each) else 0
                memory[each] = fill_bytes(torch.UntypedStorage(size), begins)
        return memory[each]

    with seeded(0, ""):
        for step in steps:
            run_step(step, place)
    return tensor_at(place(tracked), region).contiguous().view(torch.uint8).view(-1, region.dtype.itemsize)
