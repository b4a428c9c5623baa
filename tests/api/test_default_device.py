"""The default device is a user's own affair: plans, weights and files are the same whatever it is."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import initcfg

# Of the devices that every machine has, the one that is not the CPU.
OTHER = "meta"


class Coded(initcfg.BaseModule):
    """Rules, and code that makes tensors of its own on whatever device is the default."""

    def __init__(self) -> None:
        super().__init__(dict(type="Normal", layer="Linear", std=0.02))
        self.fc, self.norm = nn.Linear(4, 3), nn.LayerNorm(3)

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.constant_(self.norm.bias, 0.5)
        self.fc.bias.data.copy_(torch.arange(3.0) / 10)


class Uncoded(nn.Module):
    """The same without code."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(4, 3), nn.LayerNorm(3)


RULES = [
    dict(type="Orthogonal", layer="Linear"),
    dict(type="TruncNormal", layer="LayerNorm", std=0.1),
]
CALLS = {
    "plan of code": lambda model: str(initcfg.plan(coded())),
    "rules": lambda model: state(model, initcfg.init_weights(model, RULES, seed=3)),
    "torch's generator": lambda model: state(model, initcfg.init_weights(model, RULES, seed=3, rng="torch")),
    "trace of code": lambda model: str(initcfg.trace(lambda module: nn.init.ones_(module.fc.bias), model)),
    "trace of a build": lambda model: str(initcfg.trace(Uncoded)),
    "one tensor": lambda model: initcfg.plan(model, RULES).tensor("fc.weight", seed=3).tolist(),
    "explained": lambda model: initcfg.plan(coded()).explain("fc.bias"),
    "as rules": lambda model: str(initcfg.trace(Uncoded).to_init_cfg()),
    "ledger": lambda model: str(initcfg.init_weights(model, RULES, seed=3).to_json()["tensors"]),
}


def state(model: nn.Module, _: object) -> dict[str, list[float]]:
    """All that a model holds."""
    return {name: each.flatten().tolist() for name, each in model.state_dict().items()}


@pytest.fixture
def elsewhere():
    """The default device is another."""
    torch.set_default_device(OTHER)
    yield
    torch.set_default_device(None)


def built() -> nn.Module:
    with torch.device("cpu"):
        torch.manual_seed(0)
        return Uncoded()


def coded() -> nn.Module:
    with torch.device("cpu"):
        return Coded()


@pytest.mark.parametrize("name", CALLS)
def test_everything_is_as_with_the_default(name):
    wanted = CALLS[name](built())
    for way in ("set", "within"):
        model = built()
        if way == "within":
            with torch.device(OTHER):
                found = CALLS[name](model)
        else:
            torch.set_default_device(OTHER)
            try:
                found = CALLS[name](model)
            finally:
                torch.set_default_device(None)
        assert found == wanted, way


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
@pytest.mark.parametrize("copy", [True, False])
def test_loading(elsewhere, tmp_path, kind, copy):
    with torch.device("cpu"):
        weights = {name: torch.rand(each.shape) for name, each in built().state_dict().items()}
        path = tmp_path / f"weights.{kind}"
        save_file(weights, path) if kind == "safetensors" else torch.save(weights, path)
        model = built()
    initcfg.init_weights(model, dict(type="Pretrained", checkpoint=str(path), copy=copy), seed=0)
    assert all(torch.equal(each, weights[name]) for name, each in model.state_dict().items())


def test_files_and_their_check(elsewhere, tmp_path):
    model = built()
    plan = initcfg.plan(model, RULES)
    plan.save_weights(tmp_path / "folder", model, seed=3)
    plan.apply(model, seed=3)
    found = load_file(tmp_path / "folder" / "model.safetensors", device="cpu")
    assert {name: each.tolist() for name, each in found.items()} == {
        name: each.tolist() for name, each in model.state_dict().items()
    }


def test_a_diagnosis(elsewhere):
    with torch.device("cpu"):
        wide = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
        batch = (torch.randn(16, 8), torch.randint(4, (16,)))
    initcfg.init_weights(wide, dict(type="Constant", val=0.5, layer="Linear"), seed=0)
    found = initcfg.diagnose(wide, batch, loss=nn.functional.cross_entropy)
    assert "symmetric-units" in {each.code for each in found.findings}
