"""Whose ``init_weights`` is called: MMEngine's own answers, MMCV's plain classes, and a timm backbone."""

from __future__ import annotations

import functools
import logging
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from forwarding import Forwarding
from torch import nn

import initcfg
from initcfg.compat import mmengine as compat

pytestmark = [pytest.mark.peers, pytest.mark.mm]

THREE = dict(type="Constant", layer="Linear", val=3)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def wrapper(real: Any) -> Iterator[type[nn.Module]]:
    """A wrapper that a user registered, in a registry below MMEngine's."""
    from mmengine.registry import MODEL_WRAPPERS, Registry

    registry = Registry("model wrapper", parent=MODEL_WRAPPERS, scope="entered")

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    registry.register_module(module=Wrapper)
    yield Wrapper
    del MODEL_WRAPPERS._children["entered"]


def head(home: Any) -> Any:
    class Head(home.BaseModule):
        def __init__(self) -> None:
            super().__init__(THREE)
            self.fc = nn.Linear(2, 2)

    return Head()


def custom(home: Any) -> Any:
    class Custom(home.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def init_weights(self) -> None:
            nn.init.constant_(self.fc.weight, 9)

    return Custom()


def net(home: Any, **parts: nn.Module) -> Any:
    model = home.BaseModule(dict(type="Constant", layer="Linear", val=1, bias=1))
    for name, part in parts.items():
        model.add_module(name, part)
    return model


def seven(module: Any) -> None:
    nn.init.constant_(module.weight, 7)


def _on_instance(method: Callable[[Any], Any]) -> Callable[[Any, Any], nn.Module]:
    def scene(home: Any, wrapper: Any) -> nn.Module:
        plain, quiet_head = nn.Linear(2, 2), head(home)
        plain.init_weights = method(plain)
        quiet_head.init_weights = lambda: None
        return net(home, plain=plain, head=quiet_head)

    return scene


SCENES: dict[str, Callable[[Any, Any], nn.Module]] = {
    "lambda": _on_instance(lambda plain: lambda: seven(plain)),
    "MethodType": _on_instance(lambda plain: types.MethodType(seven, plain)),
    "partial": _on_instance(lambda plain: functools.partial(seven, plain)),
    "forwarded": lambda home, wrapper: net(home, a=Forwarding(head(home)), b=Forwarding(custom(home))),
    "registered wrapper": lambda home, wrapper: net(home, a=wrapper(head(home)), b=wrapper(custom(home))),
    "wrapper in a wrapper": lambda home, wrapper: net(home, a=wrapper(wrapper(head(home)))),
    "DataParallel": lambda home, wrapper: net(home, a=nn.DataParallel(head(home))),
}


@pytest.mark.parametrize("make", SCENES.values(), ids=SCENES)
def test_it_is_called_as_mmengine_does(real: Any, wrapper: Any, make: Any) -> None:
    def ends(model: nn.Module) -> list[Any]:
        return [each.tolist() for each in model.parameters()]

    torch.manual_seed(0)
    theirs = make(real, wrapper)
    theirs.init_weights()
    torch.manual_seed(0)
    planned = make(real, wrapper)
    plan = initcfg.plan(planned, compat="mmengine")
    plan.apply(planned, rng="torch")
    assert ends(planned) == ends(theirs)
    torch.manual_seed(0)
    ours = make(compat, wrapper)
    ours.init_weights()
    assert ends(ours) == ends(theirs)
    # Which takes one wrapper off; by default the rules of what lies deeper are reached as everywhere.
    if make is not SCENES["wrapper in a wrapper"]:
        torch.manual_seed(0)
        natively = make(initcfg, wrapper)
        natively.init_weights()
        assert ends(natively) == ends(theirs)


def test_a_conv_module_decides_its_own_weights(real: Any) -> None:
    from mmcv.cnn import ConvModule

    model = net(real, conv=ConvModule(3, 4, 3))
    model.init_cfg = dict(type="Normal", layer="Conv2d", std=0.01)
    plan = initcfg.plan(model)
    assert plan["conv.conv.weight"].rule == "model.conv.init_weights"
    text = plan.explain("conv.conv.weight")
    assert "overridden: a module's own init_weights runs after its parents' rules" in text
    assert "a child's init_cfg beats its parents'" not in text
    assert plan.notes[0].startswith("model.conv.init_weights() is called, though a ConvModule is")


def test_a_timm_backbone_keeps_its_weights(real: Any) -> None:
    import timm

    class Detector(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = timm.create_model("resnet10t", num_classes=0)
            with torch.no_grad():
                for each in self.backbone.parameters():
                    each.fill_(0.5)

    model = Detector()
    plan = initcfg.plan(model)
    assert {item.value.kind for item in plan.values()} == {"Keep"}
    assert plan.uncalled == ("backbone",)
    assert plan.libraries == {"backbone": "timm"}
    model.init_weights()
    assert all(bool((each == 0.5).all()) for each in model.backbone.parameters())

    exact = initcfg.plan(Detector(), compat="mmengine")
    written = sum(item.value.kind != "Keep" for item in exact.values())
    assert written > 0
    assert exact.notes == (
        f"model.backbone.init_weights() is called, as MMEngine does, and writes over {written} tensors that "
        "timm's constructors, or a checkpoint, gave",
    )
