"""Formulas as data: the operations that one may use, and the form of a program.

In: the program of a formula, as JSON has it.
Out: an error with the place of the first fault; the operations, and what their arguments may be.

Read: `operations.py` (those allowed, and the types of their arguments), then `programs.py` (the form of each
instruction).

What a program needs in memory and work is foreseen in `_stream/writing/foresight.py`.
"""

from initcfg.values.formulas.operations import (
    ALLOWED,
    MAKERS,
    MATRICES,
    WINDOWS,
    base_of,
    new_tensors,
    operation,
)
from initcfg.values.formulas.programs import (
    LONGEST,
    View,
    check_program,
    references,
    split_arguments,
    view_of,
)

__all__ = [
    "ALLOWED",
    "LONGEST",
    "MAKERS",
    "MATRICES",
    "WINDOWS",
    "View",
    "base_of",
    "check_program",
    "new_tensors",
    "operation",
    "references",
    "split_arguments",
    "view_of",
]
