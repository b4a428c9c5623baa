"""The plan that a model's weights were last made by, as long as the model lives."""

from __future__ import annotations

import weakref
from dataclasses import replace

from torch import nn

from initcfg._model import unwrapped
from initcfg._plan import Plan

_plans: weakref.WeakKeyDictionary[nn.Module, Plan] = weakref.WeakKeyDictionary()


def remember_plan(model: nn.Module, plan: Plan) -> None:
    """Keep what a plan says, without what it holds of models: that would keep them alive."""
    try:
        _plans[unwrapped(model)] = replace(plan, tape=None, record=None, given=None)
    except TypeError:
        # A module whose class has an equality of its own has no hash.
        return


def last_plan(model: nn.Module) -> Plan | None:
    """The plan that was last applied to a model as a whole; None if none was, or it is a copy."""
    try:
        return _plans.get(unwrapped(model))
    except TypeError:
        return None
