"""Pretrained: what a rule says of a checkpoint, and how its tensors and the module's find each other.

In: the step of a Pretrained rule, and the tensors of the model.
Out: a write for each tensor that the checkpoint fills, and the account of the whole (``Load``).

Read: `match.py` (tensor by tensor), then `destinations.py` (the tensors of a module), `selection.py` (which
of them a rule loads), `keys.py` (from the checkpoint's keys to names: prefix, renames), `hooked.py` (what
the model's own load hooks make of them), `unnamed.py` (lists without names), `adapters.py` (LoRA),
`fitting.py` (from one shape to another), `positions.py` (positions of another number), `conversions.py`
(other names; tensors joined, apart or stacked) with `qkv.py` (attention's projections), `experts.py` (of a
mixture), `known_names.py` and `transformers_table.py` (what transformers knows), `numbers.py` (from one
data type to another), `quantized.py` (formats of quantized weights), `permits.py` (what each adaptation
did), `derived.py` (weights made of another model's), `likely.py` (what was perhaps meant), `problems.py`
(what is wrong), `completeness.py` (what is left).
"""

from initcfg._plan.pretrained.completeness import judged
from initcfg._plan.pretrained.hooked import hook_error, made_by_hooks, read_keys
from initcfg._plan.pretrained.match import match

__all__ = ["hook_error", "judged", "made_by_hooks", "match", "read_keys"]
