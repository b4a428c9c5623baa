"""Testing: assertions for a project's own tests, and a plug-in of pytest.

In: a model, or a plan, and a file that holds the plan it should be.
Out: nothing, or an ``AssertionError`` that says which tensors are wrong, and how.

Read: `assertions.py` (of models and plans), then `golden_plans.py` (what the plug-in asked for, which needs
no torch), `plugin.py` (what pytest loads).

Nothing of it imports torch before an assertion is called.

Example:
    >>> import initcfg
    >>> from initcfg.testing import assert_initialized
    >>> from torch import nn
    >>> model = nn.Linear(4, 2)
    >>> _ = initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=0.02))
    >>> assert_initialized(model)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initcfg.testing.assertions import assert_initialized, assert_plan_matches

__all__ = ["assert_initialized", "assert_plan_matches"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from initcfg.testing import assertions

    return getattr(assertions, name)
