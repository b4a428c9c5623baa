"""Modules that are imported while code is recorded may script functions, as torch's own optimizers do."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.jit import _builtins

import initcfg

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

# torch.tensor and torch.as_tensor are others while code is recorded.
SCRIPTS = """
import torch
from torch import Tensor, nn


@torch.jit.script
def numbers(length: int) -> Tensor:
    return torch.tensor([1.0, 2.0]) + torch.as_tensor(length) + torch.zeros(2)


@torch.jit.script
def swish(x: Tensor) -> Tensor:
    return x.mul(x.sigmoid())


@torch.jit.script
class Counter:
    def __init__(self, start: float):
        self.state = torch.tensor(start)

    def step(self) -> Tensor:
        self.state = self.state + 1
        return self.state


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * torch.tensor(2.0)


scripted = torch.jit.script(Scaled())
"""

_numbers = itertools.count()


@pytest.fixture
def imported(tmp_path: Path) -> Callable[[], ModuleType]:
    """Imports the module above, each time another one."""

    def load() -> ModuleType:
        name = f"scripts_{next(_numbers)}"
        path = tmp_path / f"{name}.py"
        path.write_text(SCRIPTS, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def _names_of_tensor_functions() -> dict[int, str]:
    """What the compiler takes for these, by address: others are registered by modules that are imported."""
    named = {"aten::tensor", "aten::as_tensor", "aten::asarray", "aten::from_numpy", "aten::get_rng_state"}
    return {address: name for address, name in _builtins._get_builtin_table().items() if name in named}


def _right(module: ModuleType) -> bool:
    x = torch.ones(2)
    doubled = torch.equal(module.scripted(x), module.scripted.linear(x) * 2)
    return doubled and module.numbers(3).tolist() == [4.0, 5.0] and module.Counter(1.0).step().item() == 2.0


def test_within_a_deferred_build(imported: Callable[[], ModuleType]) -> None:
    known = _names_of_tensor_functions()
    with initcfg.deferred():
        module = imported()
        model = nn.Linear(2, 2)
        # They may be called there, too.
        model.bias = nn.Parameter(module.numbers(3))
    assert _names_of_tensor_functions() == known
    initcfg.init_weights(model, dict(type="Constant", param="weight", val=1), seed=0)
    assert model.bias.tolist() == [4.0, 5.0] and module.swish(torch.zeros(1)) == 0
    # A scripted module that was made there holds what its constructor wrote.
    initcfg.init_weights(module.scripted, seed=0)
    assert _right(module) and _right(imported())


def test_within_traced_code(imported: Callable[[], ModuleType]) -> None:
    made: list[ModuleType] = []

    def build() -> nn.Module:
        made.append(imported())
        return nn.Linear(2, 2)

    plan = initcfg.trace(build)
    assert plan["weight"].value.random and made
    assert made[-1].numbers(3).tolist() == [4.0, 5.0]


def test_within_a_models_own_code(imported: Callable[[], ModuleType]) -> None:
    class Own(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def init_weights(self) -> None:
            with torch.no_grad():
                self.linear.bias.copy_(imported().numbers(3))

    model = Own()
    initcfg.init_weights(model, seed=0)
    assert model.linear.bias.tolist() == [4.0, 5.0]


def test_torchs_optimizers_of_ranks() -> None:
    """They script classes when they are imported first, as MMEngine does on its way to a model."""
    code = "import initcfg\nwith initcfg.deferred():\n    import torch.distributed.optim\nprint('imported')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stderr
