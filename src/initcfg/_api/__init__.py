"""What people call: the functions of the package, and the command.

In: a model or a config, rules, a seed; the words of a command line.
Out: a plan, an initialized model, its ledger; what a command prints and writes.

Read: `functions.py` (plan, init_weights, build), then `declared_roles.py` (what a config says of roles),
`untrusted.py` (building from a stranger's config), `parameter_groups.py` (a plan's multipliers, for
optimizers), `coordinates/` (whether they hold from width to width), `diagnosing.py` (what is wrong at the
start), `weights/` (checkpoints: what is in them, what changed, what differs), `config_schema.py` (what
editors check configs by), `locks/` (what models start with, as a text to keep), `original_calls.py` (what
code written for MMEngine calls), `original_log.py` (what it then finds in its log), `materialization.py`
(memory for models on the meta device), `command/`.

A function is imported when it is asked for: the command's help needs none of them, and no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initcfg._api.diagnosing import diagnose
    from initcfg._api.functions import build, init_weights, plan
    from initcfg._api.locks import Lock, LockCheck, check, lock
    from initcfg._api.materialization import materialize
    from initcfg._api.original_calls import initialize
    from initcfg._api.parameter_groups import param_groups
    from initcfg._api.weights import diff, inspect, verify

__all__ = [
    "Lock",
    "LockCheck",
    "build",
    "check",
    "diagnose",
    "diff",
    "init_weights",
    "initialize",
    "inspect",
    "lock",
    "materialize",
    "param_groups",
    "plan",
    "verify",
]


_HOMES = {
    "diagnose": "diagnosing",
    "initialize": "original_calls",
    "materialize": "materialization",
    "param_groups": "parameter_groups",
    **dict.fromkeys(("Lock", "LockCheck", "check", "lock"), "locks"),
    **dict.fromkeys(("diff", "inspect", "verify"), "weights"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # This one always: it registers with the door what it does (_model/doors.py).
    from initcfg._api import original_calls  # noqa: F401

    return getattr(importlib.import_module(f"initcfg._api.{_HOMES.get(name, 'functions')}"), name)
