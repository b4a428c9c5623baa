"""What cannot be written is found in the plan; what is kept, altered or drawn elsewhere is told."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn.utils import parametrizations, prune

import initcfg
from initcfg import errors
from initcfg._api.command.cli import main


@pytest.mark.parametrize(
    ("rule", "dtype", "text"),
    [
        (dict(type="Xavier", gain=-1), torch.float32, "standard deviation is not negative"),
        (dict(type="Normal", std=float("inf")), torch.float32, "not finite"),
        (dict(type="Normal", std=1e38), torch.float32, "beyond float32"),
        (dict(type="Normal", std=1e5), torch.float16, "beyond float16, which ends at 65504"),
        (dict(type="Uniform", a=-1e5, b=1e5), torch.float16, "beyond float16"),
        (dict(type="Uniform", a=float("-inf"), b=0), torch.float32, "not finite"),
        (dict(type="Constant", val=70000), torch.float16, "70000 is beyond float16"),
        (dict(type="Constant", val=1e39), torch.float32, "beyond float32"),
        (dict(type="Constant", val=3.7), torch.int64, "3.7 is not a value of int64"),
        (dict(type="Constant", val=-1), torch.uint8, "-1 is not a value of uint8"),
        (dict(type="Constant", val=0.5), torch.bool, "0.5 is not a value of bool"),
        (dict(type="Normal"), torch.int64, "floating-point"),
    ],
)
def test_values_that_a_type_cannot_hold(rule, dtype, text):
    model = nn.Module()
    tensor = torch.zeros(3, 3).to(dtype)
    model.register_parameter("weight", nn.Parameter(tensor, requires_grad=False))
    with pytest.raises(errors.TensorError) as caught:
        initcfg.plan(model, dict(rule, param="weight"))
    assert text in str(caught.value)
    assert "weight, shape (3, 3)" in str(caught.value)
    assert "init_cfg" in str(caught.value)


def test_infinite_constants_are_values():
    model = nn.Linear(2, 2)
    initcfg.init_weights(model, dict(type="Constant", val=float("-inf"), layer="Linear"))
    assert torch.isinf(model.weight).all()


def test_a_plan_from_json_is_checked_too():
    model = nn.Linear(2, 2)
    data = initcfg.plan(model, dict(type="Normal", layer="Linear")).to_json()
    data["parameters"]["weight"]["value"]["std"] = -3
    before = model.weight.clone()
    with pytest.raises(errors.ApplyError, match="not negative"):
        initcfg.Plan.from_json(data).apply(model)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, parametrizations.orthogonal])
def test_a_parametrization_that_changes_what_is_written_is_told(wrap):
    model = nn.Sequential(wrap(nn.Linear(4, 4)))
    plan = initcfg.plan(model, dict(type="Constant", val=3, layer="Linear"))
    assert any("0.weight is written through" in note for note in plan.notes)
    ledger = plan.apply(model)
    assert ledger["0.weight"].altered
    assert not ledger["0.bias"].altered
    assert "changed by their parametrization: 0.weight" in str(ledger)
    assert initcfg.Ledger.from_json(ledger.to_json()) == ledger


def test_weight_norm_changes_nothing():
    model = parametrizations.weight_norm(nn.Linear(4, 4))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))
    assert plan.notes == ()
    assert not plan.apply(model, seed=1)["weight"].altered


def test_weights_that_old_wrappers_compute_are_refused():
    rule = dict(type="Normal", layer="Conv2d")
    with warnings.catch_warnings():
        # Some versions of torch call it deprecated.
        warnings.simplefilter("ignore")
        spectral = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(2, 2, 1)))
    with pytest.raises(errors.TensorError, match=r"parametrizations\.spectral_norm"):
        initcfg.plan(spectral, rule)
    pruned = nn.Sequential(prune.random_unstructured(nn.Conv2d(2, 2, 1), "weight", 0.5))
    with pytest.raises(errors.TensorError, match="prune after"):
        initcfg.plan(pruned, rule)
    plan = initcfg.plan(pruned, dict(type="Normal", param="*.weight_orig"))
    assert plan["0.weight_orig"].rule == "init_cfg"


def test_with_a_seed_the_constructors_draws_are_covered_too(tmp_path):
    cfg = dict(type="Linear", in_features=3, out_features=3)
    state = torch.get_rng_state()
    first, second, other = (initcfg.build(cfg, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_seed_the_command_draws_one_that_makes_the_file_again(tmp_path):
    (tmp_path / "kept.yaml").write_text("model: {type: Linear, in_features: 3, out_features: 3}\n")
    run = CliRunner().invoke
    first, second, again = (str(tmp_path / f"{name}.pth") for name in ("a", "b", "c"))
    config = str(tmp_path / "kept.yaml")
    for output in (first, second):
        assert run(main, ["init", config, "-o", output]).exit_code == 0
    seeds = [initcfg.Ledger.load(path.replace(".pth", ".ledger.json")).seed for path in (first, second)]
    assert seeds[0] != seeds[1]
    assert run(main, ["init", config, "-o", again, "--seed", str(seeds[0])]).exit_code == 0
    with open(first, "rb") as a, open(again, "rb") as b:
        assert a.read() == b.read()


def test_threads_with_user_code_do_not_mix_their_draws():
    class Own(initcfg.BaseModule):
        def __init__(self):
            super().__init__(dict(type="Normal", layer="Linear"))
            self.fc = nn.Linear(3, 3)

        def init_weights(self):
            super().init_weights()
            time.sleep(0.002)
            nn.init.normal_(self.fc.bias)

    class Outer(initcfg.BaseModule):
        def __init__(self):
            super().__init__()
            self.a, self.b = Own(), Own()

    models = [Outer() for _ in range(4)]
    threads = [threading.Thread(target=initcfg.init_weights, args=(m,), kwargs={"seed": 1}) for m in models]
    state = torch.get_rng_state()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.get_rng_state(), state)
    for model in models[1:]:
        for name, item in model.state_dict().items():
            assert torch.equal(item, models[0].state_dict()[name])


@pytest.mark.parametrize("result", [3, None])
def test_initializers_of_ones_own_that_go_wrong(result):
    class Wrong(initcfg.BaseInit):
        def value(self, layout):
            if result is None:
                raise ZeroDivisionError("inside")
            return result

    with pytest.raises(errors.InitcfgError) as caught:
        initcfg.plan(nn.Linear(2, 2), dict(type=Wrong, layer="Linear"))
    assert "Wrong" in str(caught.value)
    assert "weight, shape (2, 2)" in str(caught.value)


def test_keys_and_types_of_the_wrong_kind():
    with pytest.raises(errors.RuleTypeError, match="keys of a rule are strings, not 2"):
        initcfg.plan(nn.Linear(2, 2), {"type": "Normal", "layer": "Linear", 2: 3})
    for type_ in (nn.init.orthogonal_, nn.Linear):
        with pytest.raises(errors.UnknownInitializerError, match="is not an initializer"):
            initcfg.plan(nn.Linear(2, 2), dict(type=type_, layer="Linear"))
    with pytest.raises(errors.ArgumentError, match="beyond what a float can hold"):
        initcfg.plan(nn.Linear(2, 2), dict(type="Normal", layer="Linear", std=10**400))
    plan = initcfg.plan(nn.Linear(2, 2))
    with pytest.raises(errors.ApplyError, match="not to 3"):
        plan.apply(3)
    with pytest.raises(errors.ApplyError, match="not True"):
        plan.apply(nn.Linear(2, 2), seed=True)
    with pytest.raises(errors.BuildError, match="not None"):
        initcfg.build(None)


def test_ledgers_that_are_none(tmp_path):
    (tmp_path / "a.json").write_text("{")
    torch.save({}, tmp_path / "a.pth")
    for name in ("a.json", "a.pth", "none.json", "none.safetensors"):
        with pytest.raises(errors.PlanError):
            initcfg.Ledger.load(tmp_path / name)


def test_set_into_a_key_that_is_not_there(tmp_path):
    (tmp_path / "a.yaml").write_text("model: {type: Linear, in_features: 3, out_features: 3}\n")
    done = CliRunner().invoke(main, ["plan", str(tmp_path / "a.yaml"), "--set", "modle.bias=False"])
    assert done.exit_code == 2
    assert "'model'" in done.stderr


def test_interrupted(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import sys, time\nprint('ready', file=sys.stderr, flush=True)\ntime.sleep(60)\nmodel = 1\n"
    )
    command = [sys.executable, "-m", "initcfg", "init", "slow.py", "-o", "w.pth"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted; no file was left half-written." in message
    assert [path.name for path in tmp_path.iterdir()] == ["slow.py"]


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
