"""The plan: what every tensor of a model will be, and which rule said so; and the ledger: what was done.

In: a model and its program (``_rules``).
Out: a ``Plan``, free of tensors, printable, comparable and JSON; its tape, which ``_apply`` carries out; the
``Ledger`` that ``_apply`` writes.

Read: `assignment.py` (one tensor), then `plan.py` (all of them), `make_up.py` (which there are, and what
code changes of that), `loads.py` (the account of a checkpoint) with `later.py` (what of it waits until
somebody asks), `stacks.py` (writes that pile up on a tensor), `tracks.py` (those of each tensor), `tape.py`
(all writes in their order, and what a traced plan remembers), `ledger.py`, `finished.py` (from a ledger to
a plan), `part.py` (a stage of a pipeline) with `part_hooks.py` (load hooks in it), `frozen.py` (data that
cannot change), `kinds.py` (which values a plan has), `as_json.py` (records as JSON), `plan_as_json.py`
(plans), `reading.py` (plans and ledgers of strangers, read whole); `planner/` (from rules to a plan),
`pretrained/` (checkpoints in it), `report/` (tables), `compare/` (two plans), `export/` (back to rules),
`recognition.py` (to the schemes that say the same).
"""

from initcfg._plan.as_json import record_to_json
from initcfg._plan.assignment import Assignment, RuleNote, Shadowed, Unused, effect, rule_note
from initcfg._plan.export import init_cfg_of as _registers_with_the_door  # noqa: F401 - what to_init_cfg does
from initcfg._plan.frozen import FrozenDict, LateDict, altered, unnamed
from initcfg._plan.kinds import distinct_values, has_kind
from initcfg._plan.later import Later
from initcfg._plan.ledger import FORMAT, KeptBuffer, Ledger, Writer, Written
from initcfg._plan.loads import HookRun, Load, Loaded, weight_of
from initcfg._plan.make_up import MakeUp, changed_make_up, make_up_of
from initcfg._plan.plan import Plan
from initcfg._plan.pretrained import hook_error, made_by_hooks, read_keys
from initcfg._plan.recognition import recognize as _registers_itself_too  # noqa: F401 - what recognize does
from initcfg._plan.tape import Call, Recorded, Write, writes_of

__all__ = [
    "altered",
    "Assignment",
    "Call",
    "FORMAT",
    "FrozenDict",
    "HookRun",
    "KeptBuffer",
    "LateDict",
    "Later",
    "Ledger",
    "Load",
    "Loaded",
    "MakeUp",
    "Plan",
    "Recorded",
    "RuleNote",
    "Shadowed",
    "Unused",
    "Write",
    "Writer",
    "Written",
    "effect",
    "rule_note",
    "hook_error",
    "made_by_hooks",
    "read_keys",
    "record_to_json",
    "distinct_values",
    "has_kind",
    "unnamed",
    "weight_of",
    "writes_of",
    "changed_make_up",
    "make_up_of",
]
