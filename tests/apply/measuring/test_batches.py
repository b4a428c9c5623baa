"""Values that a batch of data decides: LSUV, and what becomes of the plan and the model around it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg._plan import Plan
from initcfg.errors import ApplyError, ArgumentError, PlanError, UntrustedError
from initcfg.values import FromBatch, Normal, Orthogonal


def batch(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def outputs(model: nn.Module, inputs: torch.Tensor, kinds: Any = (nn.Linear, nn.Conv2d)) -> list[float]:
    """The standard deviation of what each layer puts out."""
    found: list[float] = []
    hooks = [
        module.register_forward_hook(lambda *each: found.append(float(each[2].std())))
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    return found


def mlp(depth: int = 6, width: int = 64) -> nn.Sequential:
    return nn.Sequential(*[each for _ in range(depth) for each in (nn.Linear(width, width), nn.SiLU())])


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=4),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.Linear(16 * 6 * 6, 10),
    )


def test_every_output_has_the_standard_deviation_that_is_asked_for() -> None:
    model, inputs = mlp(), batch(256, 64)
    plan = initcfg.plan(model, dict(type="LSUV", batch=inputs, std=0.5))
    assert plan["2.weight"].value == FromBatch(
        "LSUV(batch='float32 256×64', std=0.5, tol=0.1)", Orthogonal(1.0)
    )
    ledger = plan.apply(model, seed=1)
    assert outputs(model, inputs) == pytest.approx([0.5] * 6, rel=1e-3)
    # On data that was not seen, as near as samples are.
    assert outputs(model, batch(4096, 64, seed=5)) == pytest.approx([0.5] * 6, rel=0.05)
    weight = ledger["2.weight"].value
    assert isinstance(weight, Orthogonal)
    product = model[2].weight.detach() @ model[2].weight.detach().T
    assert torch.allclose(product, weight.gain**2 * torch.eye(64), atol=1e-4)
    assert all(bool((module.bias == 0).all()) for module in model if isinstance(module, nn.Linear))
    assert "factor" in str(ledger["2.weight"].computed)


def test_convolutions_with_norms_and_groups() -> None:
    model, inputs = convolutions(), batch(32, 3, 16, 16)
    model.eval()
    initcfg.init_weights(model, dict(type="LSUV", batch=(inputs,)), seed=0)
    assert outputs(model, inputs) == pytest.approx([1.0] * 3, rel=2e-3)


def test_layers_in_the_order_of_use_and_shared_ones_once() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.shared, self.first = (nn.Linear(32, 32) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x).relu()
            return self.last(self.shared(self.shared(x).relu()))

    model, inputs = Model(), batch(512, 32)
    initcfg.init_weights(model, dict(type="LSUV", batch=inputs), seed=0)
    first, once, twice, last = outputs(model, inputs)
    assert (first, once, last) == pytest.approx((1.0, 1.0, 1.0), rel=1e-3)
    assert twice != pytest.approx(1.0, rel=1e-3)


def test_attention_whose_weights_no_layer_multiplies() -> None:
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False
    )
    rule = dict(type="LSUV", batch=batch(8, 10, 32), layer=["Linear", "MultiheadAttention"])
    for mode in (True, False):
        model.train(mode)
        ledger = initcfg.init_weights(model, rule, seed=0)
        factors = [
            ledger[f"layers.{i}.self_attn.{n}"].computed
            for i in (0, 1)
            for n in ("in_proj_weight", "out_proj.weight")
        ]
        assert all(each is not None and "not used" not in each for each in factors)
        assert model.training is mode


def test_the_model_and_the_process_stay_as_they_were() -> None:
    class Drawing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 0.01 * random.random() + 0.01 * float(np.random.rand()) + 0.01 * torch.rand(())

    model = nn.Sequential(*convolutions(), Drawing())
    model[3].eval()
    inputs = batch(8, 3, 16, 16)
    model(inputs).sum().backward()
    seen: list[Any] = []
    model[0].register_forward_hook(lambda *_: seen.append(None))
    hooks = [len(module._forward_hooks) for module in model.modules()]
    buffers = {name: each.clone() for name, each in model.named_buffers()}
    gradients = [each.grad.clone() for each in model.parameters()]
    modes = [module.training for module in model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    initcfg.init_weights(model, dict(type="LSUV", batch=inputs), seed=0)
    assert seen
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    assert all(torch.equal(each, buffers[name]) for name, each in model.named_buffers())
    assert all(torch.equal(each.grad, was) for each, was in zip(model.parameters(), gradients, strict=True))
    assert modes == [module.training for module in model.modules()]
    assert hooks == [len(module._forward_hooks) for module in model.modules()]


def test_the_finished_plan_gives_the_same_bits_without_data() -> None:
    model, inputs = convolutions(), batch(16, 3, 16, 16)
    ledger = initcfg.init_weights(model, dict(type="LSUV", batch=inputs), seed=7)
    finished = ledger.plan
    read = Plan.from_json(json.loads(json.dumps(finished.to_json())))
    assert read == finished and read.seed == 7
    assert initcfg.Ledger.from_json(json.loads(json.dumps(ledger.to_json()))).plan == finished
    again = convolutions()
    read.apply(again)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ApplyError, match="for the seed 7: they are wrong for 8"):
        read.apply(again, seed=8)
    assert "computed     LSUV: factor" in read.explain("0.weight")
    assert "3 tensors computed from data: the plan is for seed 7 alone" in str(read)


def test_the_same_seed_gives_the_same_weights() -> None:
    weights: list[torch.Tensor] = []
    for _ in range(2):
        model = convolutions()
        initcfg.init_weights(model, dict(type="LSUV", batch=batch(16, 3, 16, 16)), seed=7)
        weights.append(torch.cat([each.detach().flatten() for each in model.parameters()]))
    assert torch.equal(*weights)


def test_streamed_and_verified(tmp_path: Path) -> None:
    model = mlp(2)
    plan = initcfg.plan(model, dict(type="LSUV", batch=batch(64, 64)))
    ledger = plan.save_weights(tmp_path / "unfinished", model, seed=3)
    ledger.plan.save_weights(tmp_path / "finished", mlp(2))
    files = [(tmp_path / each / "model.safetensors") for each in ("unfinished", "finished")]
    from safetensors.torch import load_file

    one, other = map(load_file, files)
    assert all(torch.equal(one[key], other[key]) for key in one)
    from initcfg._apply import verified
    from initcfg._checkpoints import open_source

    with open_source(str(files[1])) as reader:
        found = verified(reader, ledger.plan)
        assert found.counts() == {"initial": 4}
        assert verified(reader, plan, 3).counts() == {"unknown": 2, "initial": 2}


def test_an_unfinished_plan_cannot_do_without_its_batch() -> None:
    model = mlp(2)
    plan = initcfg.plan(model, dict(type="LSUV", batch=batch(64, 64)))
    with pytest.raises(ApplyError, match="was read from JSON, and Computed\\(LSUV"):
        Plan.from_json(plan.to_json()).apply(model)
    with pytest.raises(ApplyError, match="rng='torch' gives no number twice"):
        plan.apply(model, rng="torch")
    with pytest.raises(PlanError, match="runs the whole model, which a part cannot"):
        plan.part(nn.Sequential(nn.Linear(64, 64)))
    with pytest.raises(PlanError, match="has no numbers yet"):
        plan.to_init_cfg(model)


def test_the_finished_plan_is_exported() -> None:
    model = mlp(2)
    finished = initcfg.init_weights(model, dict(type="LSUV", batch=batch(64, 64)), seed=0).plan
    rules = finished.to_init_cfg(model)
    other = mlp(2)
    initcfg.init_weights(other, rules, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_a_model_that_was_built_deferred() -> None:
    with initcfg.deferred():
        pending = mlp(3)
    inputs = batch(64, 64)
    initcfg.init_weights(pending, dict(type="LSUV", batch=inputs), seed=0)
    assert outputs(pending, inputs) == pytest.approx([1.0] * 3, rel=1e-3)
    with torch.device("meta"):
        empty = mlp(3)
    initcfg.materialize(empty, dict(type="LSUV", batch=inputs), seed=0)
    assert torch.equal(empty[4].weight, pending[4].weight)


def test_first_says_what_is_scaled() -> None:
    model, inputs = mlp(2), batch(64, 64)
    rule = dict(type="LSUV", batch=inputs, first=dict(type="Normal", std=0.02))
    ledger = initcfg.init_weights(model, rule, seed=0)
    value = ledger["2.weight"].value
    assert isinstance(value, Normal) and value.std > 0.1
    with pytest.raises(ArgumentError, match="first must be an initializer"):
        initcfg.plan(model, dict(type="LSUV", batch=inputs, first="Normal"))


def test_rules_beside_it() -> None:
    model, inputs = mlp(3), batch(64, 64)
    rules = [dict(type="LSUV", batch=inputs), dict(type="Normal", std=0.01, name="2", layer="Linear")]
    ledger = initcfg.init_weights(model, rules, seed=0)
    assert ledger["2.weight"].value == Normal(0.0, 0.01)
    found = outputs(model, inputs)
    assert found[0] == pytest.approx(1.0, rel=1e-3) and found[2] == pytest.approx(1.0, rel=1e-3)
    assert found[1] < 0.1


def test_code_of_the_models_own_has_the_last_word() -> None:
    class Half(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.other = nn.Linear(64, 64), nn.Linear(64, 64)

        def init_weights(self) -> None:
            nn.init.constant_(self.fc.weight, 0.25)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.other(self.fc(x))

    model, inputs = nn.Sequential(Half()), batch(64, 64)
    initcfg.init_weights(model, dict(type="LSUV", batch=inputs), seed=0)
    assert float(model[0].fc.weight.detach().unique()) == 0.25
    assert outputs(model, inputs)[1] == pytest.approx(1.0, rel=1e-3)


def test_a_batch_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper.py").write_text("SIZE = 64\n")
    (tmp_path / "data.py").write_text(
        "import torch, helper\n"
        "def batch():\n    return dict(input=torch.randn(32, helper.SIZE))\n"
        "def broken():\n    raise KeyError('x')\n"
        "def number():\n    return 3\n"
    )
    (tmp_path / "config.py").write_text(
        "model = dict(type='Linear', in_features=64, out_features=8,\n"
        "             init_cfg=dict(type='LSUV', batch='data.py:batch'))\n"
    )
    (tmp_path / "config.yaml").write_text(
        "model: {type: Linear, in_features: 64, out_features: 8,\n"
        "        init_cfg: {type: LSUV, batch: 'data.py:batch'}}\n"
    )
    monkeypatch.chdir(tmp_path)
    model = initcfg.build("config.py", seed=0)
    assert float(model(batch(512, 64)).detach().std()) == pytest.approx(1.0, rel=0.1)
    model = nn.Linear(64, 8)
    for name, problem in (
        ("data.py:absent", "has no function 'absent'"),
        ("data.py:broken", "could not be made: KeyError"),
        ("data.py:number", "is of type int"),
        ("no.py:batch", "There is no file 'no.py'"),
    ):
        plan = initcfg.plan(model, dict(type="LSUV", batch=name))
        before = model.weight.clone()
        with pytest.raises(initcfg.errors.InitcfgError, match=problem):
            plan.apply(model)
        assert torch.equal(model.weight, before)
    with pytest.raises(ArgumentError, match="names no function of a file"):
        initcfg.plan(model, dict(type="LSUV", batch="data.batch"))
    with pytest.raises(UntrustedError, match="batch= is code"):
        initcfg.build("config.yaml", untrusted=True)


def test_a_model_that_fails_on_the_batch() -> None:
    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no such thing")

    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), Failing())
    before = {name: each.clone() for name, each in model.state_dict().items()}
    plan = initcfg.plan(model, dict(type="LSUV", batch=batch(8, 64)))
    with pytest.raises(ApplyError, match="failed on the batch: ValueError: no such thing"):
        plan.apply(model, atomic=True)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    with pytest.raises(ApplyError, match="failed on the batch"):
        plan.apply(model)
    with pytest.raises(initcfg.errors.InitcfgError, match="failed half-way"):
        model(batch(8, 64))


def test_outputs_that_no_factor_mends() -> None:
    model = mlp(2)
    for inputs, problem in ((torch.zeros(8, 64), "same number everywhere"), (batch(8, 64) / 0, "not finite")):
        plan = initcfg.plan(model, dict(type="LSUV", batch=inputs))
        with pytest.raises(ApplyError, match=problem) as caught:
            plan.apply(model, atomic=True)
        assert caught.value.parameter == "0.weight"


def test_weights_that_the_batch_does_not_use() -> None:
    model = nn.ModuleDict({"used": nn.Linear(8, 8), "idle": nn.Linear(8, 8)})
    model.forward = model["used"].forward  # type: ignore[method-assign]
    ledger = initcfg.init_weights(model, dict(type="LSUV", batch=batch(64, 8)), seed=0)
    assert ledger["idle.weight"].value == Orthogonal(1.0)
    assert "not used by float32 64×8" in str(ledger["idle.weight"].computed)
    model.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(ApplyError, match="uses none of the 2 tensors"):
        initcfg.init_weights(model, dict(type="LSUV", batch=batch(64, 8)), seed=0)


def test_wrong_arguments() -> None:
    for arguments, problem in (
        (dict(batch=3), "batch must be inputs of the model"),
        (dict(batch=batch(2, 2), std=0), "std must be above 0"),
        (dict(batch=batch(2, 2), tol=-1), "tol must be above 0"),
        (dict(), "missing a required argument: 'batch'"),
    ):
        with pytest.raises(ArgumentError, match=problem):
            initcfg.plan(mlp(1), dict(type="LSUV", **arguments))


def test_bfloat16() -> None:
    model, inputs = mlp(3).to(torch.bfloat16), batch(256, 64).bfloat16()
    ledger = initcfg.init_weights(model, dict(type="LSUV", batch=inputs), seed=0)
    assert outputs(model, inputs) == pytest.approx([1.0] * 3, rel=0.02)
    other = mlp(3).to(torch.bfloat16)
    ledger.plan.apply(other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
