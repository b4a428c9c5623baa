"""Values into the memory of tensors: by the random stream in batches, or from torch's own generator.

In: a value, a tensor or the block of a larger one, and its name and seed.
Out: the tensor, filled; and what of a tensor may be written at all.

Read: `stream.py` (values become jobs), `recorded.py` (who is told of them where code is recorded), then
`blocks.py` (where a tensor lies in a larger one), `queue.py` (jobs in batches, by the kernel), `threads.py`
(on how many), `pool.py` (of which a system may give fewer), `fallback.py` (by NumPy without it),
`underflow.py` (small numbers are kept), `cuda/` (on a GPU), `whole_values.py` (what is made whole),
`matrices.py` (orthogonal ones, many at once), `orthogonal.py` (with the same bits everywhere),
`formula_machine.py` (a formula's instructions, one by one), `foresight.py` (what it would need),
`formula.py` (what it computes), `adaptation.py` (tensors of a checkpoint made to fit) with `derivation.py`
(or made of a larger or smaller model's), `casts.py` (numbers that another type does not hold), `memory.py`
(what may be written), `read_only.py` (what the system lets nobody write), `as_array.py` (memory as
NumPy's), `same_bits.py` (whether two are the same), `torch_generator.py` (torch's own generator, seeded and
put back, and values drawn from it).
"""

from initcfg._stream.writing.adaptation import Draw, carried_out, result_shape, split_views
from initcfg._stream.writing.as_array import as_array
from initcfg._stream.writing.blocks import Block, narrowed
from initcfg._stream.writing.casts import Lost, lost_in_cast, may_lose
from initcfg._stream.writing.foresight import formula_problem, value_problem
from initcfg._stream.writing.formula_machine import made_by
from initcfg._stream.writing.matrices import (
    Form,
    Inside,
    Matrix,
    Share,
    batches,
    fill_matrices,
    form_of,
    make_columns_among,
    make_matrices,
)
from initcfg._stream.writing.memory import PLAIN_TENSORS, form_problem, is_plain, memory_problem, plain_among
from initcfg._stream.writing.pool import Pool, for_each
from initcfg._stream.writing.queue import Batch
from initcfg._stream.writing.read_only import READ_ONLY, read_only_among
from initcfg._stream.writing.recorded import (
    LateSeed,
    answers_who_records,
    recorded_value,
)
from initcfg._stream.writing.same_bits import all_the_same, bits_of, same_bits
from initcfg._stream.writing.stream import StreamWriter, fill_stream, recipe_of
from initcfg._stream.writing.threads import (
    limit_this_thread,
    limited_threads,
    own_cores,
    thread_count,
    threads_for,
)
from initcfg._stream.writing.torch_generator import fill_torch, lock, seeded
from initcfg._stream.writing.whole_values import block, whole

__all__ = [
    "Batch",
    "Block",
    "Draw",
    "Form",
    "Inside",
    "LateSeed",
    "Lost",
    "Matrix",
    "PLAIN_TENSORS",
    "Pool",
    "READ_ONLY",
    "Share",
    "StreamWriter",
    "all_the_same",
    "answers_who_records",
    "as_array",
    "batches",
    "bits_of",
    "block",
    "carried_out",
    "fill_matrices",
    "fill_stream",
    "fill_torch",
    "lock",
    "lost_in_cast",
    "made_by",
    "make_columns_among",
    "make_matrices",
    "may_lose",
    "for_each",
    "form_of",
    "form_problem",
    "formula_problem",
    "is_plain",
    "memory_problem",
    "limit_this_thread",
    "limited_threads",
    "own_cores",
    "plain_among",
    "narrowed",
    "read_only_among",
    "recipe_of",
    "recorded_value",
    "result_shape",
    "same_bits",
    "seeded",
    "split_views",
    "thread_count",
    "threads_for",
    "value_problem",
    "whole",
]
