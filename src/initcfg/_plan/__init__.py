"""initcfg._plan"""

from initcfg._plan.assignment import Assignment, Shadowed, effect
from initcfg._plan.ledger import FORMAT, Ledger, Written
from initcfg._plan.loads import Load, Loaded
from initcfg._plan.plan import Plan
from initcfg._plan.recorded import Recorded
from initcfg._plan.stacks import Piece, Stack
from initcfg._plan.tape import Call, Write, of_values

__all__ = [
    "Assignment",
    "Call",
    "FORMAT",
    "Ledger",
    "Load",
    "Loaded",
    "Piece",
    "Plan",
    "Recorded",
    "Shadowed",
    "Stack",
    "Write",
    "Written",
    "effect",
    "of_values",
]
