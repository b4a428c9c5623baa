"""Every example of the original documentation, by its numbers: as config, in code, ours and compat."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import MODELS, Config, build_from_cfg, errors
from initcfg._api.command.cli import main
from initcfg._stream.bits import stream_key, uniform
from initcfg.compat import mmengine as compat

FOLDER = Path(__file__).parents[2] / "examples" / "documentation"
KEPT = None

# What each config makes: by layer, weight and bias; KEPT is what the constructor gave.
CASES: dict[str, dict[str, tuple[float, float] | None]] = {
    "layer_same.py": {"feat": (1, 0), "reg": (1, 0), "cls": (1, 0)},
    "layer_each.py": {"feat": (1, 0), "reg": (2, 0), "cls": (3, 0)},
    "override.py": {"feat": (1, 2), "reg": (3, 4), "cls": KEPT},
    "override_list.py": {"feat": (1, 2), "reg": (3, 4), "cls": (1, 2)},
    "override_without_layer.py": {"feat": KEPT, "reg": (1, 2), "cls": KEPT},
    "neither.py": {"feat": KEPT, "reg": KEPT, "cls": KEPT},
    "default_in_code.py": {"feat": (1, 0), "reg": (1, 0), "cls": (1, 0)},
    "default_replaced.py": {"feat": KEPT, "reg": KEPT, "cls": (5, 0)},
    "sequential.py": {"conv1.0": (1, 0), "conv1.1": (2, 0), "conv2": KEPT},
    "module_list.py": {"conv1.0": (3, 4), "conv1.1": (3, 4), "cls": KEPT},
    "nested.py": {"model.feat": KEPT, "model.reg": KEPT, "model.cls": (1, 0), "neck": KEPT},
    "child_over_parent.py": {"model.feat": KEPT, "model.reg": (7, 8), "model.cls": (1, 0), "neck": (7, 8)},
    "pretrained.py": {"feat": (1, 0), "reg": (2, 0), "cls": (3, 0)},
}
INVALID = {
    "invalid_override_without_name.py": (
        "This override has no name: it does not say which attribute it is for.",
        "dict(type='Constant', val=3, bias=4)",
        "Add name='...'",
    ),
    "invalid_override_without_type.py": (
        "The override of 'reg' gives 'val', 'bias' but no type",
        "dict(name='reg', val=3, bias=4)",
        "Add type='...'",
    ),
}
FAMILIES = pytest.mark.parametrize("family", [initcfg, compat], ids=["initcfg", "compat"])


def make_models(family: Any) -> dict[str, type[nn.Module]]:
    """The models of the examples, written with the classes of one family."""

    class FooModel(family.BaseModule):
        def __init__(self, in_channels=3, num_classes=2, init_cfg=None):
            super().__init__(init_cfg)
            self.feat = nn.Conv1d(in_channels, 1, 3)
            self.reg = nn.Conv2d(in_channels, 3, 3)
            self.cls = nn.Linear(1, num_classes)

    class FooModelWithDefault(FooModel):
        def __init__(self, init_cfg=dict(type="Constant", layer=["Conv1d", "Conv2d", "Linear"], val=1)):  # noqa: B006
            super().__init__(init_cfg=init_cfg)

    class FooModelWithSequential(family.BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            rules = [
                dict(type="Constant", layer=name, val=val) for name, val in (("Conv1d", 1), ("Linear", 2))
            ]
            self.conv1 = family.Sequential(nn.Conv1d(3, 1, 3), nn.Linear(1, 2), init_cfg=rules)
            self.conv2 = nn.Conv1d(2, 2, 3)

    class FooModelWithModuleList(family.BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            rule = dict(type="Constant", layer=["Conv1d", "Conv2d"], val=3, bias=4)
            self.conv1 = family.ModuleList([nn.Conv1d(3, 1, 3), nn.Conv2d(3, 3, 3)], init_cfg=rule)
            self.cls = nn.Linear(1, 2)

    class FooDetector(family.BaseModule):
        def __init__(self, model, init_cfg=None):
            super().__init__(init_cfg)
            self.model = FooModel(**{key: item for key, item in model.items() if key != "type"})
            self.neck = nn.Linear(2, 2)

    found = [FooModel, FooModelWithDefault, FooModelWithSequential, FooModelWithModuleList, FooDetector]
    return {cls.__name__: cls for cls in found}


def in_code(family: Any, cfg: Any) -> nn.Module:
    """The model of a config, made by a call, as the documentation's code does."""
    arguments = cfg.to_dict() if hasattr(cfg, "to_dict") else dict(cfg)
    torch.manual_seed(0)
    return make_models(family)[arguments.pop("type")](**arguments)


def constructed(cfg: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = build_from_cfg(cfg, MODELS)
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def by_default(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """What the constructors of linear layers and convolutions mean, drawn by the stream's reference."""
    found = {}
    for name, tensor in model.named_parameters():
        fan_in = model.get_submodule(name.rpartition(".")[0]).weight[0].numel()  # type: ignore[index]
        # torch computes the bound of a weight, 1/√fan_in, as √3 · (gain/√fan_in) with gain² = 2/(1 + 5).
        std = nn.init.calculate_gain("leaky_relu", math.sqrt(5)) / math.sqrt(fan_in)
        bound = math.sqrt(3.0) * std if name.endswith("weight") else 1 / math.sqrt(fan_in)
        numbers = uniform(stream_key(seed, name), 0, tensor.numel(), -bound, bound)
        found[name] = torch.from_numpy(numbers).view_as(tensor)
    return found


def check(model: nn.Module, expected: dict[str, tuple[float, float] | None], before: dict[str, torch.Tensor]):
    for layer, numbers in expected.items():
        module = model.get_submodule(layer)
        for role, number in zip(("weight", "bias"), numbers or (KEPT, KEPT), strict=True):
            tensor = getattr(module, role)
            wanted = before[f"{layer}.{role}"] if number is KEPT else torch.full_like(tensor, number)
            assert torch.equal(tensor, wanted), f"{layer}.{role}"
    layers = {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    assert layers == set(expected), "an example says what becomes of every layer"


# -- from config files ---------------------------------------------------------------------------


def test_every_config_is_a_case():
    configs = {path.name for path in FOLDER.glob("*.py")} - {"foo.py"}
    assert configs == set(CASES) | set(INVALID)


@pytest.mark.parametrize("mode", [{}, {"compat": "mmengine"}, {"compat": "mmengine", "rng": "torch"}])
@pytest.mark.parametrize("name", CASES)
def test_build(name, mode):
    torch.manual_seed(0)
    model = initcfg.build(FOLDER / name, **mode, **({} if "rng" in mode else {"seed": 5}))
    kept = constructed(Config.fromfile(FOLDER / name).model) if "rng" in mode else by_default(model, 5)
    check(model, CASES[name], kept)


@pytest.mark.parametrize("name", CASES)
def test_documented_flow(name):
    """Config, build_from_cfg, then model.init_weights(), explicitly."""
    cfg = Config.fromfile(FOLDER / name).model
    before = constructed(cfg)
    torch.manual_seed(0)
    model = build_from_cfg(cfg, MODELS)
    check(model, dict.fromkeys(CASES[name]), before)
    assert not model.is_init
    model.init_weights()
    assert model.is_init
    check(model, CASES[name], before)


@pytest.mark.parametrize("name", CASES)
def test_plan(name):
    """The plan says it before it happens, and says which rule."""
    model = initcfg.build(FOLDER / name, init=False)
    before = {key: tensor.detach().clone() for key, tensor in model.named_parameters()}
    plan = initcfg.plan(model)
    for layer, numbers in CASES[name].items():
        for role, number in zip(("weight", "bias"), numbers or (KEPT, KEPT), strict=True):
            item = plan[f"{layer}.{role}"]
            if number is KEPT:
                assert (item.value.kind, item.rule) == ("Uniform", None)
                assert item.default.value == item.value
            elif name == "pretrained.py":
                assert item.value.kind == "FromCheckpoint"
                assert item.value.args["key"] == f"{layer}.{role}"
            else:
                assert (item.value.kind, item.value.args) == ("Constant", {"val": number})
    # What is pending holds NaN.
    assert all(tensor.isnan().all() for tensor in before.values())
    assert all(tensor.isnan().all() for tensor in model.parameters())
    assert bool(plan.unused) == (name == "neither.py")


def test_plan_names_the_rule():
    plan = initcfg.plan(initcfg.build(FOLDER / "override.py", init=False))
    assert plan["feat.weight"].rule == "model.init_cfg"
    assert plan["reg.weight"].rule == "model.init_cfg.override"
    assert [each.rule for each in plan["reg.weight"].shadowed] == ["model.init_cfg"]
    plan = initcfg.plan(initcfg.build(FOLDER / "child_over_parent.py", init=False))
    assert plan["model.cls.weight"].rule == "model.model.init_cfg"
    assert [each.rule for each in plan["model.cls.weight"].shadowed] == ["model.init_cfg"]
    plan = initcfg.plan(initcfg.build(FOLDER / "sequential.py", init=False))
    assert plan["conv1.1.weight"].rule == "model.conv1.init_cfg[1]"


def test_neither_is_listed_as_unused():
    plan = initcfg.plan(initcfg.build(FOLDER / "neither.py", init=False))
    (unused,) = plan.unused
    assert unused.rule == "model.init_cfg"
    assert "initializes nothing" in unused.reason
    assert unused.cfg == "dict(type='Constant', val=1, bias=2)"


def others() -> list[Path]:
    return sorted(path for path in FOLDER.iterdir() if path.suffix in (".yaml", ".json", ".toml"))


@pytest.mark.parametrize("path", others(), ids=lambda path: path.name)
def test_other_formats_say_the_same(path):
    ours, original = Config.fromfile(path), Config.fromfile(path.with_suffix(".py"))
    assert ours.to_dict() == original.to_dict()
    model = initcfg.build(path, seed=5)
    check(model, CASES[path.stem + ".py"], by_default(model, 5))


def test_there_is_an_example_in_each_format():
    assert {path.suffix for path in others()} == {".yaml", ".json", ".toml"}


# -- from code -----------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("name", CASES)
def test_in_code(name, family):
    cfg = Config.fromfile(FOLDER / name).model
    before = constructed(cfg)
    model = in_code(family, cfg)
    model.init_weights()
    check(model, CASES[name], before)


@pytest.mark.parametrize("name", CASES)
def test_both_families_plan_the_same(name):
    cfg = Config.fromfile(FOLDER / name).model
    ours = initcfg.plan(in_code(initcfg, cfg))
    theirs = initcfg.plan(in_code(compat, cfg), compat="mmengine")
    assert {key: item.value for key, item in ours.items()} == {
        key: item.value for key, item in theirs.items()
    }


@pytest.mark.parametrize("name", [name for name, cases in CASES.items() if "feat" in cases])
def test_rules_from_outside_on_a_plain_module(name):
    """No base class, no init_cfg on the model: the same rules, given to `initialize`."""
    cfg = Config.fromfile(FOLDER / name).model
    rules = build_from_cfg(cfg, MODELS).init_cfg
    if name == "pretrained.py":
        rules = rules[::-1]  # `initialize` runs a list in its order
    foo = in_code(initcfg, dict(type="FooModel"))
    plain = nn.Module()
    for key, child in foo.named_children():
        plain.add_module(key, child)
    before = {key: tensor.detach().clone() for key, tensor in plain.named_parameters()}
    initcfg.initialize(plain, rules)
    check(plain, CASES[name], before)


@FAMILIES
def test_second_call_does_nothing(family, caplog):
    model = in_code(family, dict(type="FooModelWithDefault"))
    model.init_weights()
    with torch.no_grad():
        model.cls.weight.fill_(6)
    model.init_weights()
    assert model.cls.weight.unique().tolist() == [6]
    assert "init_weights of FooModelWithDefault has been called more than once." in caplog.text


# -- what is invalid -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [{}, {"compat": "mmengine", "rng": "torch"}])
@pytest.mark.parametrize("name", INVALID)
def test_invalid_config(name, mode):
    with pytest.raises(errors.OverrideError) as caught:
        initcfg.build(FOLDER / name, **mode)
    problem, rule, fix = INVALID[name]
    assert caught.value.problem.startswith(problem)
    assert caught.value.rule == rule
    assert caught.value.where is not None
    assert re.fullmatch(rf"model\.init_cfg\.override \({name}:\d+\)", caught.value.where)
    assert fix in str(caught.value)


@FAMILIES
@pytest.mark.parametrize("name", INVALID)
def test_invalid_in_code(name, family):
    cfg = Config.fromfile(FOLDER / name).model
    before = constructed(cfg)
    model = in_code(family, cfg)
    with pytest.raises(errors.OverrideError) as caught:
        model.init_weights()
    assert str(caught.value).startswith(INVALID[name][0])
    assert isinstance(caught.value, (ValueError, RuntimeError)), "what the original raises"
    # It is found before anything is written.
    check(model, dict.fromkeys(("feat", "reg", "cls")), before)
    assert not model.is_init


@pytest.mark.parametrize("name", INVALID)
def test_invalid_on_the_command_line(name, tmp_path):
    output = tmp_path / "weights.safetensors"
    result = CliRunner().invoke(main, ["init", str(FOLDER / name), "-o", str(output)])
    assert result.exit_code == 2
    assert result.output.startswith("error: " + INVALID[name][0])
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


# -- Pretrained ----------------------------------------------------------------------------------


def test_the_checkpoint_is_what_layer_each_makes():
    state = torch.load(FOLDER / "foo.pth", weights_only=True)
    model = initcfg.build(FOLDER / "layer_each.py")
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[key], tensor) for key, tensor in model.state_dict().items())


@FAMILIES
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_pretrained_loads_every_number(family, suffix, tmp_path):
    state = {
        key: torch.randn_like(item) for key, item in make_models(initcfg)["FooModel"]().state_dict().items()
    }
    path = tmp_path / f"weights{suffix}"
    (torch.save if suffix == ".pth" else save_file)(state, path)
    rules = [
        dict(type="Pretrained", checkpoint=str(path)),
        dict(type="Constant", val=9, layer=["Conv1d", "Conv2d", "Linear"]),
    ]
    model = in_code(family, dict(type="FooModel", init_cfg=rules))
    model.init_weights()
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_what_pretrained_beats_stays_in_the_plan():
    plan = initcfg.plan(initcfg.build(FOLDER / "pretrained.py", init=False))
    assert [each.rule for each in plan["cls.weight"].shadowed] == ["model.init_cfg[1]"]
    assert plan["cls.weight"].rule == "model.init_cfg[0]"
    (load,) = plan.loads
    assert (load.loaded, load.missing, load.unexpected, load.mismatched) == (6, (), (), ())


# -- the command, from anywhere ------------------------------------------------------------------


@pytest.mark.parametrize("folder", [FOLDER.parents[1], FOLDER], ids=["root", "folder"])
def test_the_command_runs_from_any_folder(folder):
    config = os.path.relpath(FOLDER / "override_without_layer.yaml", folder)
    source = str(Path(initcfg.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "initcfg", "plan", config],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert "Constant(1)" in lines["reg.weight"]
    assert "default (Linear.reset_parameters)" in lines["cls.weight"]
    assert "2 by 1 rule, 4 by default" in done.stdout
