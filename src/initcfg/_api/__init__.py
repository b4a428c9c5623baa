"""What people call: the functions of the package, and the command.

The names are imported when they are asked for: the command's help needs none of them, and no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initcfg._api.functions import build, init_weights, initialize, plan
    from initcfg._api.materialization import materialize

__all__ = ["build", "init_weights", "initialize", "materialize", "plan"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # All of them, since each registers with the door what it does (_model/doors.py).
    import initcfg._api.calling
    import initcfg._api.functions
    import initcfg._api.materialization

    home = initcfg._api.materialization if name == "materialize" else initcfg._api.functions
    return getattr(home, name)
