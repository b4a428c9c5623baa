"""The corners of MMEngine's ``BaseModule.init_weights``: by MMEngine, by our plan, by our own classes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from corners import bits, rule
from forbidden import mmengine_forbidden
from torch import nn

import initcfg
from initcfg import errors
from initcfg.compat import mmengine as compat

pytestmark = [pytest.mark.peers, pytest.mark.mm]


def run_models(real: Any, make: Callable[[Any], nn.Module]) -> list[Any]:
    """``make(home)`` built and initialized thrice: by MMEngine, by our plan, by our own classes."""
    ends = []
    for home, planned in ((real, False), (real, True), (compat, False)):
        torch.manual_seed(0)
        model = make(home)
        torch.manual_seed(1)
        if planned:
            with mmengine_forbidden():
                initcfg.init_weights(model, compat="mmengine", rng="torch")
        else:
            model.init_weights()  # type: ignore[operator]
        flags = [getattr(module, "is_init", None) for module in model.modules()]
        ends.append((bits(model), torch.get_rng_state().tolist(), flags))
    return ends


def family(home: Any) -> SimpleNamespace:
    class Leaf(home.BaseModule):
        def __init__(self, init_cfg: Any = None, **parts: nn.Module) -> None:
            super().__init__(init_cfg)
            self.fc = nn.Linear(3, 3)
            for name, part in parts.items():
                self.add_module(name, part)

    class Without(Leaf):
        def init_weights(self) -> None:
            nn.init.normal_(self.fc.bias)

    class Before(Leaf):
        def init_weights(self) -> None:
            nn.init.normal_(self.fc.bias)
            super().init_weights()

    class After(Leaf):
        def init_weights(self) -> None:
            super().init_weights()
            nn.init.normal_(self.fc.bias)

    class Calls(Leaf):
        def init_weights(self) -> None:
            home.initialize(self.fc, rule(layer="Linear", bias=5))
            home.kaiming_init(self.fc, distribution="uniform")
            home.KaimingInit(layer="Linear")(self)

    return SimpleNamespace(Leaf=Leaf, Without=Without, Before=Before, After=After, Calls=Calls)


class Duck(nn.Module):
    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.inner = inner

    def init_weights(self) -> None:
        nn.init.uniform_(self.fc.weight)


SCENES: dict[str, Callable[[Any], nn.Module]] = {
    "child beats parent": lambda h: family(h).Leaf(
        rule(layer="Linear"), a=family(h).Leaf(dict(type="Constant", layer="Linear", val=2))
    ),
    "child beats the parent's override": lambda h: family(h).Leaf(
        rule(override=dict(name="a")), a=family(h).Leaf(dict(type="Constant", layer="Linear", val=2))
    ),
    "no recursion through plain containers": lambda h: family(h).Leaf(
        rule(layer="Linear"),
        a=nn.Sequential(family(h).Leaf(dict(type="Constant", layer="Linear", val=2))),
        b=nn.ModuleDict(dict(x=family(h).After())),
    ),
    "recursion through its own containers": lambda h: family(h).Leaf(
        rule(layer="Linear"),
        a=h.Sequential(family(h).Leaf(dict(type="Constant", layer="Linear", val=2))),
        b=h.ModuleList([family(h).After(), Duck()], init_cfg=rule(layer="Linear", std=3)),
        c=h.ModuleDict(dict(x=family(h).Without())),
    ),
    "methods": lambda h: family(h).Leaf(
        rule(layer="Linear"),
        a=family(h).Without(rule(layer="Linear"), inner=family(h).Leaf(rule(layer="Linear"))),
        b=family(h).Before(rule(layer="Linear", bias=1), inner=family(h).After(rule(layer="Linear"))),
        c=family(h).After(rule(layer="Linear"), inner=Duck()),
        d=family(h).Calls(rule(layer="Linear")),
    ),
    "any init_weights is called": lambda h: family(h).Leaf(
        rule(layer="Linear"), a=Duck(family(h).Leaf(rule(layer="Linear")))
    ),
    "root with a method": lambda h: family(h).After(rule(layer="Linear"), a=family(h).Before()),
    "wrapped child": lambda h: family(h).Leaf(
        rule(layer="Linear"), a=nn.DataParallel(family(h).Leaf(rule(layer="Linear", bias=1)))
    ),
}


@pytest.mark.parametrize("make", SCENES.values(), ids=SCENES)
def test_order(real: Any, make: Callable[[Any], nn.Module]) -> None:
    theirs, planned, own = run_models(real, make)
    assert planned == theirs
    assert own == theirs


def test_shared_child_tied_weight_and_initialized_child(real: Any) -> None:
    def make(home: Any) -> nn.Module:
        f = family(home)
        shared = f.Leaf(rule(layer="Linear"))
        done = f.Leaf(rule(layer="Linear"))
        done.is_init = True
        model = f.Leaf(dict(type="Constant", layer="Linear", val=4), a=shared, b=shared, c=done, d=f.Leaf())
        model.e = f.Leaf(rule(layer="Linear"), again=f.Leaf(rule(layer="Linear", bias=1)))
        model.e.again.fc.weight = model.e.fc.weight
        model.d.fc.weight = model.a.fc.weight
        return model

    theirs, planned, own = run_models(real, make)
    assert planned == theirs
    assert own == theirs


def test_second_call_is_a_warning_and_no_more(real: Any, caplog: pytest.LogCaptureFixture) -> None:
    for home in (real, compat):
        model = family(home).Leaf(rule(layer="Linear"), a=family(home).Leaf(rule(layer="Linear")))
        model.init_weights()
        before, generator = bits(model), torch.get_rng_state()
        model.a.is_init = False
        with caplog.at_level(logging.WARNING, "initcfg"):
            model.init_weights()
        assert bits(model) == before
        assert torch.equal(torch.get_rng_state(), generator)
        assert not model.a.is_init
    assert "more than once" in caplog.text


def test_init_cfg_is_copied_and_may_be_replaced(real: Any) -> None:
    def make(home: Any) -> nn.Module:
        shared = rule(layer="Linear", override=dict(name="a"))
        model = family(home).Leaf(shared, a=family(home).Leaf())
        shared["std"] = 100
        model.a.init_cfg = [rule(layer="Linear", bias=6)]
        return model

    theirs, planned, own = run_models(real, make)
    assert planned == theirs
    assert own == theirs


def test_containers(real: Any) -> None:
    for home in (real, compat):
        with pytest.raises(TypeError):
            home.Sequential(nn.Linear(2, 2), rule(layer="Linear"))
        made = home.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), init_cfg=rule(layer="Linear"))
        assert made[:1].init_cfg is None


# -- where the original fails, and how we end --------------------------------------------------------


def test_a_method_that_needs_an_argument(real: Any) -> None:
    class Timm(nn.Module):
        def init_weights(self, mode: str) -> None:
            raise AssertionError(mode)

    with pytest.raises(TypeError, match="mode"):
        family(real).Leaf(a=Timm()).init_weights()
    with pytest.raises(errors.ApplyError, match="mode") as caught:
        initcfg.init_weights(family(real).Leaf(a=Timm()), compat="mmengine", rng="torch")
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_method_that_replaces_a_parameter(real: Any) -> None:
    def make(home: Any) -> nn.Module:
        class Replacing(family(home).Leaf):
            def init_weights(self) -> None:
                self.fc.weight = nn.Parameter(torch.zeros(4, 3))
                super().init_weights()

        return family(home).Leaf(a=Replacing(rule(layer="Linear")))

    with pytest.raises(AssertionError):
        make(real).init_weights()  # type: ignore[operator]
    model = make(real)
    ledger = initcfg.init_weights(model, compat="mmengine", rng="torch")
    weight = model.get_parameter("a.fc.weight")
    assert weight.shape == (4, 3)
    assert weight.ne(0).all()
    assert ledger["a.fc.weight"].rule == "model.a.init_cfg"
    assert ledger["a.fc.weight"].shape == (4, 3)


def test_meta_device_and_integer_parameters(real: Any) -> None:
    with torch.device("meta"):
        model = family(real).Leaf(rule(layer="Linear"))
    with pytest.raises(NotImplementedError):
        model.init_weights()
    with torch.device("meta"):
        model = family(real).Leaf(rule(layer="Linear"))
    with pytest.raises(errors.TensorError, match="meta"):
        initcfg.init_weights(model, compat="mmengine", rng="torch")

    def numbered() -> nn.Module:
        model = family(real).Leaf(rule(layer="Linear"))
        model.table = nn.Parameter(torch.arange(3), requires_grad=False)
        return model

    with pytest.raises(RuntimeError, match="mean"):
        numbered().init_weights()  # type: ignore[operator]
    model = numbered()
    initcfg.init_weights(model, compat="mmengine", rng="torch")
    assert model.table.tolist() == [0, 1, 2]


def test_old_weight_norm_keeps_its_weight(real: Any) -> None:
    def make(home: Any) -> nn.Module:
        model = family(home).Leaf(rule(layer="Linear", bias=3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model.a = nn.utils.weight_norm(nn.Linear(3, 3))
        return model

    theirs, planned, own = run_models(real, make)
    assert planned == theirs
    assert own == theirs
    # Without compat this is an error, since the rule cannot do what it says.
    with pytest.raises(errors.TensorError, match="weight_norm"):
        initcfg.plan(make(real))


# -- Pretrained ----------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Any) -> str:
    state = {f"module.{name}": torch.full((3, 3), 6.0) for name in ("fc.weight", "a.fc.weight", "other")}
    torch.save({"state_dict": state}, tmp_path / "whole.pth")
    return str(tmp_path / "whole.pth")


@pytest.mark.parametrize("form", ["dict", "list", "scoped"])
def test_pretrained(real: Any, checkpoint: str, form: str) -> None:
    loaded = dict(type="mmengine.Pretrained" if form == "scoped" else "Pretrained", checkpoint=checkpoint)
    init_cfg = loaded if form == "dict" else [loaded, rule(layer="Linear")]

    def make(home: Any) -> nn.Module:
        return family(home).Leaf(init_cfg, a=family(home).Leaf(rule(layer="Linear", bias=1)))

    theirs, planned, own = run_models(real, make)
    assert planned == theirs
    assert own == theirs


def test_prefix(real: Any, tmp_path: Any) -> None:
    state = {"backbone.fc.weight": torch.full((3, 3), 2.0), "backbone.fc.bias": torch.ones(3)}
    torch.save(state, tmp_path / "a.pth")
    loaded = dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth"), prefix="backbone")

    def make(home: Any) -> nn.Module:
        return family(home).Leaf(loaded, a=family(home).Leaf(rule(layer="Linear")))

    theirs, planned, own = run_models(real, make)
    assert planned == theirs
    assert own == theirs
    loaded = dict(loaded, prefix="neck")
    with pytest.raises(AssertionError):
        family(real).Leaf(loaded).init_weights()
    # A clear error here, and of the package's own.
    with pytest.raises(errors.InitcfgError, match="neck"):
        initcfg.init_weights(family(real).Leaf(loaded), compat="mmengine", rng="torch")


def test_missing_file(real: Any, tmp_path: Any) -> None:
    loaded = dict(type="Pretrained", checkpoint=str(tmp_path / "none.pth"))
    with pytest.raises(FileNotFoundError):
        family(real).Leaf(loaded).init_weights()
    model = family(real).Leaf(loaded)
    before = bits(model)
    with pytest.raises(FileNotFoundError):
        initcfg.init_weights(model, compat="mmengine", rng="torch")
    assert bits(model) == before
