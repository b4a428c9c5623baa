"""What a ``type`` means: ours, a user's, and which keys a user's own initializer takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from torch import nn

import initcfg
from initcfg import INITIALIZERS, BaseInit, KaimingInit, errors
from initcfg.values import Constant, Layout, Value


class Own(BaseInit):
    """An initializer with an argument that is called as an extension of ours."""

    def __init__(self, a_sigma: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a_sigma = a_sigma

    def value(self, layout: Layout) -> Value:
        return Constant(self.a_sigma)


class OwnKaiming(KaimingInit):
    """One that inherits from ours."""

    def __init__(self, a_sigma: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a_sigma = a_sigma

    def value(self, layout: Layout) -> Value:
        return Constant(self.a_sigma)


@pytest.fixture(params=["initcfg", "initcfg._rules.initializers.base", "elsewhere"])
def named_like(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The module that a user's classes say they are of."""
    for cls in (Own, OwnKaiming):
        monkeypatch.setattr(cls, "__module__", request.param)
    monkeypatch.setitem(INITIALIZERS.module_dict, "Own", Own)
    yield request.param


def test_a_user_class_is_a_user_class_whatever_its_module(named_like: str) -> None:
    # compat refuses our extensions, and not the arguments of a user's own.
    for type_ in ("Own", Own, OwnKaiming):
        model = initcfg.Sequential(nn.Linear(2, 2))
        plan = initcfg.plan(model, dict(type=type_, layer="Linear", a_sigma=3.0), compat="mmengine")
        assert plan["0.weight"].value == Constant(3.0)


@pytest.mark.parametrize("key", ["exclude", "weight", "name", "a_sigma"])
def test_ours_take_no_extension_under_compat(key: str) -> None:
    for type_ in ("Normal", initcfg.NormalInit, "Orthogonal", initcfg.ValueInit):
        rule = {"type": type_, "layer": "Linear", key: "x"}
        with pytest.raises(errors.ArgumentError, match="is an extension"):
            initcfg.plan(nn.Linear(2, 2), rule, compat="mmengine")
