"""Code that initializes by initcfg, and is recorded: what it writes is what it writes without that."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations

import initcfg
from initcfg.values import Constant, CopyOf, Formula, Normal, Opaque, Seeded

RULE = dict(type="Normal", layer="Linear", std=0.5, bias=3.0)
PLAN = initcfg.plan(nn.Linear(4, 4), RULE)
RULES = (
    dict(type="Constant", layer="Linear", val=2.0, bias=3.0),
    RULE,
    dict(type="Uniform", layer="Linear", a=-1.0, b=2.0, bias=3.0),
    dict(type="TruncNormal", layer="Linear", std=0.5, bias=3.0),
    dict(type="Xavier", layer="Linear", bias=3.0),
    dict(type="Orthogonal", layer="Linear", bias=3.0),
    dict(type="Sparse", layer="Linear", sparsity=0.5, bias=3.0),
    dict(type="Identity", layer="Linear", bias=3.0),
    [dict(type="Normal", layer="Linear", std=0.5, scale=0.3, bias=3.0)],
)


class Part(nn.Module):
    """A layer between others, which a function initializes."""

    def __init__(self, initialize, layer=None):
        super().__init__()
        self.before = nn.Linear(4, 4)
        self.inner = nn.Linear(4, 4) if layer is None else layer
        initialize(self)
        self.after = nn.Linear(4, 4)


class OwnMethod(initcfg.BaseModule):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4, 4))
        self.v = nn.Parameter(torch.zeros(4))

    def init_weights(self):
        nn.init.normal_(self.w, std=3.0)
        with torch.no_grad():
            self.v.copy_(self.w.sum(0))
        self.is_init = True


class Ruled(initcfg.BaseModule):
    """Ends its constructor by initializing itself."""

    def __init__(self):
        super().__init__(init_cfg=dict(type="Constant", layer="Linear", val=2.0, bias=3.0))
        self.inner = nn.Linear(4, 4)
        self.init_weights()


def in_place_of(build):
    """The model by each of the ways that record what builds it, with the plan that they made."""
    plan = initcfg.trace(build)
    traced = build()
    with torch.no_grad():
        for tensor in traced.state_dict().values():
            tensor.fill_(9)
    ledger = plan.apply(traced, seed=0)
    assert not initcfg.verify(traced, ledger).differs
    with initcfg.deferred():
        pending = build()
    initcfg.plan(pending).apply(pending, seed=0)
    return {"trace": traced, "deferred": pending}, plan


def check(build, of="inner"):
    """Each way gives the bits of the plain build, which are those of the seed in the code; the plan."""
    expected = {name: each for name, each in build().state_dict().items() if name.startswith(of)}
    assert expected
    ways, plan = in_place_of(build)
    for way, model in ways.items():
        found = model.state_dict()
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), f"{way}: {name}"
    return plan


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_each_rule(rule):
    plan = check(lambda: Part(lambda model: initcfg.init_weights(model.inner, rule, seed=7)))
    assert not isinstance(plan["inner.weight"].value, Opaque)
    assert plan["inner.bias"].value == Constant(3.0)


@pytest.mark.parametrize(
    "initialize",
    [
        lambda model: initcfg.initialize(model.inner, RULE, seed=7),
        lambda model: PLAN.apply(model.inner, seed=7),
        lambda model: PLAN.apply(model.inner, seed=7, atomic=True),
        lambda model: initcfg.plan(model.inner, RULE).apply(model.inner, seed=7),
    ],
)
def test_each_call(initialize):
    plan = check(lambda: Part(initialize))
    assert plan["inner.weight"].value == Seeded("weight", Normal(0.0, 0.5), 7)
    assert plan["inner.weight"].rule is not None
    assert "test_own_writes.py" in plan["inner.weight"].rule
    assert plan["inner.weight"].initializer == {"type": "Normal", "mean": 0, "std": 0.5, "bias": 3.0}


def test_name_and_seed_are_those_in_the_code():
    build = lambda: Part(lambda model: initcfg.init_weights(model.inner, RULE, seed=7))  # noqa: E731
    plan = check(build)
    alone = nn.Linear(4, 4)
    initcfg.init_weights(alone, RULE, seed=7)
    assert torch.equal(plan.tensor("inner.weight", seed=123), alone.weight)


def test_other_layers_and_types():
    layers = nn.ModuleList(
        [
            nn.Embedding(5, 4, padding_idx=1),
            nn.Conv2d(3, 4, 3).to(torch.bfloat16),
            nn.Linear(4, 4).double(),
            nn.BatchNorm1d(4),
        ]
    )
    rules = [
        dict(type="Normal", layer=["Embedding", "BatchNorm1d"], std=0.5),
        dict(type="Orthogonal", layer="Conv2d"),
        dict(type="Kaiming", layer="Linear"),
    ]

    def build():
        torch.manual_seed(0)
        import copy

        return Part(lambda model: initcfg.init_weights(model.inner, rules, seed=7), copy.deepcopy(layers))

    check(build)


def test_pretrained(tmp_path):
    save_file({"weight": torch.randn(4, 4), "bias": torch.randn(4)}, tmp_path / "inner.safetensors")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "inner.safetensors"))
    plan = check(lambda: Part(lambda model: initcfg.init_weights(model.inner, rule)))
    value = plan["inner.weight"].value
    assert isinstance(value, Opaque)
    assert "it is loaded from" in value.code


def test_without_a_seed_the_plan_decides():
    build = lambda: Part(lambda model: initcfg.init_weights(model.inner, RULE))  # noqa: E731
    ways, plan = in_place_of(build)
    assert plan["inner.weight"].value == Normal(0.0, 0.5)
    assert torch.equal(ways["trace"].inner.weight, plan.tensor("inner.weight", seed=0))
    assert torch.equal(ways["deferred"].inner.weight, plan.tensor("inner.weight", seed=0))


def test_torch_generator_gives_what_the_code_would_draw():
    build = lambda: Part(lambda model: initcfg.init_weights(model.inner, RULE))  # noqa: E731
    torch.manual_seed(3)
    expected = build()
    plan, model = initcfg.trace(build), build()
    torch.manual_seed(3)
    plan.apply(model, rng="torch")
    torch.manual_seed(3)
    with initcfg.deferred():
        pending = build()
    initcfg.init_weights(pending, rng="torch")
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
        assert torch.equal(pending.state_dict()[name], tensor), name


@pytest.mark.parametrize("seed", [None, 7])
def test_a_constructor_that_initializes_itself(seed):
    plan = check(Ruled)
    assert plan["inner.bias"].value == Constant(3.0)


def test_what_is_computed_from_it_follows():
    def initialize(model):
        initcfg.init_weights(model.inner, RULE, seed=7)
        with torch.no_grad():
            model.inner.weight.mul_(2.0)
            model.inner.weight[0] = 0.0
            # Numbers of a known seed may be looked at.
            model.inner.bias.add_(1.0 if model.inner.weight[1, 1] > 0 else -1.0)

    plan = check(lambda: Part(initialize))
    assert isinstance(plan["inner.weight"].value, Formula)


def test_own_code_under_a_seed_of_its_own():
    plan = check(lambda: Part(lambda model: initcfg.init_weights(model.inner, seed=7), OwnMethod()))
    assert plan["inner.w"].value == Seeded("w", Normal(0.0, 3.0), 7)


def test_own_code_without_a_seed():
    model = nn.ModuleDict({"inner": OwnMethod()})
    plan = initcfg.trace(lambda: initcfg.init_weights(model), model)
    assert plan["inner.w"].value == Normal(0.0, 3.0)
    plan.apply(model, seed=0)
    assert torch.allclose(model["inner"].v, model["inner"].w.sum(0))
    assert "OwnMethod.init_weights" in (plan["inner.w"].rule or "")


def test_parametrized_weights():
    check(
        lambda: Part(
            lambda model: initcfg.init_weights(model.inner, RULE, seed=7),
            parametrizations.weight_norm(nn.Linear(4, 4)),
        )
    )


def test_a_batch_of_data():
    batch = (torch.arange(32.0).view(8, 4).sin(),)
    rule = dict(type="LSUV", layer="Linear", batch=lambda: batch)
    plan = check(lambda: Part(lambda model: initcfg.init_weights(model.inner, rule, seed=7)))
    assert isinstance(plan["inner.weight"].value, Seeded)


def test_memory_that_was_handed_out():
    def initialize(model):
        model.inner.weight.detach().numpy()
        initcfg.init_weights(model.inner, RULE, seed=7)

    check(lambda: Part(initialize))


def test_a_tensor_of_a_plan():
    def initialize(model):
        with torch.no_grad():
            model.inner.weight.copy_(PLAN.tensor("weight", seed=7))
            model.inner.bias.copy_(PLAN.tensor("bias"))

    check(lambda: Part(initialize))


def test_weights_that_are_saved_meanwhile(tmp_path):
    def initialize(model):
        PLAN.save_weights(tmp_path, model.inner, seed=7, overwrite=True)
        model.inner.load_state_dict(load_file(tmp_path / "model.safetensors"))

    check(lambda: Part(initialize))


def test_memory_that_is_given_by_materialize():
    def initialize(model):
        with torch.device("meta"):
            model.inner = nn.Linear(4, 4)
        initcfg.materialize(model.inner, RULE, seed=7)

    check(lambda: Part(initialize))


def test_a_traced_plan_within_recorded_code():
    inner = initcfg.trace(lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
    layers = lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))  # noqa: E731
    check(lambda: Part(lambda model: inner.apply(model.inner, seed=7), layers()))


def encoder():
    layer = nn.TransformerEncoderLayer(4, 1, 4)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def test_copies_keep_their_numbers_without_a_seed():
    twice = initcfg.trace(encoder)
    assert twice["layers.1.linear1.weight"].value.kind == "CopyOf"

    def build():
        return Part(lambda model: twice.apply(model.inner), encoder())

    ways, plan = in_place_of(build)
    assert isinstance(plan["inner.layers.1.linear1.weight"].value, CopyOf)
    for way, model in ways.items():
        first, second = model.inner.layers
        assert torch.equal(first.linear1.weight, second.linear1.weight), way


def test_formulas_keep_their_relations_without_a_seed():
    def related():
        first = nn.Linear(4, 4, bias=False)
        second = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            second.weight.copy_(first.weight.tanh())
        return nn.Sequential(first, second)

    plan = initcfg.trace(related)
    ways, _ = in_place_of(lambda: Part(lambda model: plan.apply(model.inner), related()))
    for way, model in ways.items():
        assert torch.allclose(model.inner[1].weight, model.inner[0].weight.tanh()), way


OWN_CALLS = {
    "init_weights": lambda layer: initcfg.init_weights(layer, RULE, seed=7),
    "apply": lambda layer: initcfg.plan(layer, RULE).apply(layer, seed=7),
    "after other writes": lambda layer: (nn.init.normal_(layer.weight), PLAN.apply(layer, seed=7)),
    "of another": lambda layer: layer.load_state_dict(_initialized().state_dict()),
}


def _initialized():
    other = nn.Linear(4, 4)
    initcfg.init_weights(other, RULE, seed=7)
    return other


@pytest.mark.parametrize("call", OWN_CALLS.values(), ids=OWN_CALLS)
@pytest.mark.parametrize("pending", [False, True])
def test_own_init_weights_that_calls_initcfg(call, pending):
    class Calling(initcfg.BaseModule):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def init_weights(self):
            call(self.inner)

    with initcfg.deferred() if pending else torch.no_grad():
        model = Calling()
    plan = initcfg.plan(model)
    ledger = plan.apply(model, seed=0)
    expected = _initialized()
    assert torch.equal(model.inner.weight, expected.weight)
    assert torch.equal(model.inner.bias, expected.bias)
    assert plan["inner.weight"].value == Seeded("weight", Normal(0.0, 0.5), 7)
    assert ledger["inner.weight"].value == plan["inner.weight"].value
    assert not initcfg.verify(model, ledger).differs


def test_a_model_that_is_not_the_code_s_is_refused():
    other = nn.Linear(4, 4)
    before = other.weight.detach().clone()

    def build():
        initcfg.init_weights(other, RULE, seed=7)
        return nn.Linear(4, 4)

    with pytest.raises(initcfg.errors.BuildError, match="did not make"):
        initcfg.trace(build)
    assert torch.equal(other.weight, before)


def test_a_copy_on_the_meta_device_is_there():
    with initcfg.deferred():
        linear = nn.Linear(4, 4)
        assert linear.weight.detach().to("meta").is_meta


def test_json_and_materialize():
    plan = check(lambda: Part(lambda model: initcfg.init_weights(model.inner, RULE, seed=7)))
    read = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert read.digest == plan.digest
    with torch.device("meta"):
        model = Part(lambda model: None)
    initcfg.materialize(model, plan=read, seed=0)
    assert torch.equal(model.inner.weight, _initialized().weight)
    for rows in (slice(0, 1), slice(2, 4)):
        block = plan.tensor("inner.weight", seed=1, block=(rows, slice(None)))
        assert torch.equal(block, model.inner.weight[rows])


def test_command(tmp_path):
    (tmp_path / "heads.py").write_text(
        "import initcfg\nfrom torch import nn\n\n\n"
        "def head() -> nn.Module:\n"
        "    made = nn.Linear(4, 4)\n"
        f"    initcfg.init_weights(made, {RULE}, seed=7)\n"
        "    return made\n"
    )
    command = [sys.executable, "-m", "initcfg"]
    options = {"cwd": tmp_path, "capture_output": True, "text": True}
    plan = subprocess.run([*command, "plan", "heads:head"], check=True, **options).stdout
    assert "of seed 7" in plan
    made = ["init", "heads:head", "-o", "head.safetensors", "--seed", "3"]
    subprocess.run([*command, *made], check=True, **options)
    assert torch.equal(load_file(tmp_path / "head.safetensors")["weight"], _initialized().weight)
