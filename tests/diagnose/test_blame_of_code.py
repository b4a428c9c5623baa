"""Of a tensor that no rule reaches, a diagnosis names the code that may have filled it, and where that is."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import initcfg
from initcfg._diagnose.facts import TensorMeasure


class RootMean(nn.Module):
    """A norm whose constructor makes its parameter, and nobody else."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x / x.pow(2).mean(-1, keepdim=True).add(1e-6).sqrt()


class Filled(nn.Module):
    """A model with a method that fills its layers, as those of many libraries have."""

    def __init__(self, norm: float = 1.0) -> None:
        super().__init__()
        self.body, self.own, self.norm = nn.Linear(16, 32), RootMean(32), nn.LayerNorm(32)
        self.alone = nn.Sequential(nn.Linear(32, 32))
        self.head = nn.Linear(32, 8)
        self.ratio = norm
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LayerNorm):
            nn.init.constant_(module.weight, self.ratio)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.alone(self.norm(self.own(self.body(x)))).relu())


class Plain(nn.Module):
    """Nothing writes but constructors."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.own, self.head = nn.Linear(16, 32), RootMean(32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.own(self.body(x)).relu())


def _told(model: nn.Module) -> dict[str, TensorMeasure]:
    generator = torch.Generator().manual_seed(0)
    batch = (torch.randn(64, 16, generator=generator), torch.randint(8, (64,), generator=generator))
    initcfg.init_weights(model, dict(type="Normal", param="head.weight", std=0.1), seed=0)
    return {each.name: each for each in initcfg.diagnose(model, batch, steps=0).measures.tensors}


def _line(code: object) -> str:
    return f"test_blame_of_code.py:{inspect.getsourcelines(code)[1]}"  # pyright: ignore[reportArgumentType]


def test_the_method_that_fills_a_model_is_told_beside_the_constructor() -> None:
    told = _told(Filled())
    own = told["own.weight"]
    assert own.rule == "RootMean.__init__ or Filled._init_weights"
    assert own.source == _line(Filled._init_weights)
    assert own.value == "what it was built with (RMS 1)"
    assert told["head.weight"].rule == "init_cfg"


def test_what_torchs_constructor_left_is_its_own() -> None:
    told = _told(Filled())
    assert told["norm.weight"].rule == "LayerNorm.reset_parameters"
    assert told["norm.weight"].value == "Constant(1)" and told["norm.weight"].source is None
    # Also in containers of torch's within the model, where the method reaches.
    assert told["alone.0.weight"].rule == "Linear.reset_parameters"


def test_what_it_did_not_leave_is_of_other_code() -> None:
    changed = _told(Filled(norm=0.5))["norm.weight"]
    assert changed.rule == "Filled._init_weights" and changed.source == _line(Filled._init_weights)
    assert changed.value == "what it was built with (RMS 0.5)"


def test_a_constructor_alone_is_told_with_its_line() -> None:
    own = _told(Plain())["own.weight"]
    assert own.rule == "RootMean.__init__" and own.source == _line(RootMean.__init__)


@pytest.mark.parametrize("build", [Filled, Plain, lambda: Filled(norm=0.5)])
def test_every_tensor_has_a_name_for_its_origin(build: type[nn.Module]) -> None:
    assert all(each.rule and each.value for each in _told(build()).values())


class Nested(nn.Module):
    """A model whose blocks are in wrappers, which have no part in the names of tensors."""

    def __init__(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.block, self.head = wrap(Filled()), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(x))


@pytest.mark.parametrize("wrap", [checkpoint_wrapper, lambda each: torch.compile(each, backend="eager")])
def test_in_a_wrapper_it_is_the_same(wrap: Callable[[nn.Module], nn.Module]) -> None:
    own = _told(Nested(wrap))["block.own.weight"]
    assert own.rule == "RootMean.__init__ or Filled._init_weights"
    assert own.source == _line(Filled._init_weights)


def test_a_finding_blames_that_code() -> None:
    model = Plain()
    with torch.no_grad():
        model.own.weight.fill_(1e4)
    generator = torch.Generator().manual_seed(0)
    batch = (torch.randn(64, 16, generator=generator), torch.randint(8, (64,), generator=generator))
    findings = initcfg.diagnose(model, batch, steps=0).findings
    blamed = [each for each in findings if each.tensors[:1] == ("own.weight",)]
    assert blamed, [(each.code, each.tensors) for each in findings]
    assert all(each.rule == "RootMean.__init__" for each in blamed)
    assert f"RootMean.__init__ ({_line(RootMean.__init__)}) gives own.weight what it was built" in str(
        blamed[0]
    )
