"""Load hooks: what a model's own code does to a ``state_dict`` while it is loaded.

In: a module, and the tensors that a checkpoint has for it, by name; on the meta device, only their shapes.
Out: which tensor each of its own would be filled with, and what hooks did to get there. The module stays as
it was.

Read: `found.py` (which modules have hooks), then `run.py` (they run, as torch runs them), `watched.py`
(where each tensor comes from), `stand_ins.py` (other tensors in the place of the module's), `outcome.py`
(what came of it).
"""

from initcfg._model.load_hooks.found import LoadHooks, counter_may_be_missing, hooks_in, outermost
from initcfg._model.load_hooks.outcome import Filled, HookFailed, HookOutcome
from initcfg._model.load_hooks.run import run_load_hooks

__all__ = [
    "Filled",
    "HookFailed",
    "HookOutcome",
    "LoadHooks",
    "counter_may_be_missing",
    "hooks_in",
    "outermost",
    "run_load_hooks",
]
