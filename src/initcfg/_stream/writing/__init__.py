"""Writing: values into the memory of tensors.

``stream`` turns values into jobs of the random stream, ``queue`` does these in batches, by the kernel or
by ``fallback``; ``whole`` and ``orthogonal`` make what is no matter of single elements, ``torch_draws``
draws from torch's own generator. ``blocks`` and ``memory`` say what of a tensor is where.
"""

from initcfg._stream.writing.adaptation import Draw, carried_out, result_shape
from initcfg._stream.writing.blocks import Block, narrowed
from initcfg._stream.writing.memory import PLAIN_TENSORS, memory_problem
from initcfg._stream.writing.results import made_by
from initcfg._stream.writing.stream import StreamWriter, fill_stream, recipe_of
from initcfg._stream.writing.threads import thread_count
from initcfg._stream.writing.torch_draws import fill_torch
from initcfg._stream.writing.torch_generator import lock, seeded
from initcfg._stream.writing.whole_values import block, whole

__all__ = [
    "Block",
    "Draw",
    "PLAIN_TENSORS",
    "StreamWriter",
    "block",
    "carried_out",
    "fill_stream",
    "fill_torch",
    "lock",
    "made_by",
    "memory_problem",
    "narrowed",
    "recipe_of",
    "result_shape",
    "seeded",
    "thread_count",
    "whole",
]
