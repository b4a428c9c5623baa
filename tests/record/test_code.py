"""A model's own init_weights under the stream: recorded, named, written once; and right when it reads."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import initcfg
from initcfg._apply.apply import apply_plan
from initcfg._stream.writing.stream import fill_stream
from initcfg.errors import ApplyError
from initcfg.values import Constant, Normal, Orthogonal, PaddingRow, TruncNormal, Uniform, Value


class Coded(initcfg.BaseModule):
    """Its init_weights is the given function."""

    def __init__(self, code, init_cfg=None):
        super().__init__(init_cfg)
        self.fc = nn.Linear(12, 8)
        self.embed = nn.Embedding(10, 4, padding_idx=3)
        self.norm = nn.BatchNorm1d(8)
        self.code = code

    def init_weights(self):
        self.code(self)


def built(code, *, deferred, init_cfg=None):
    if not deferred:
        torch.manual_seed(0)
        return Coded(code, init_cfg)
    with initcfg.deferred():
        return Coded(code, init_cfg)


def streamed(value: Value, like: torch.Tensor, name: str, seed: int = 1) -> torch.Tensor:
    tensor = torch.empty_like(like)
    with torch.no_grad():
        fill_stream(tensor, value, seed=seed, name=name)
    return tensor.detach()


CODES = {
    "normal": (lambda m: nn.init.normal_(m.fc.weight, std=0.5), "fc.weight", Normal(0.0, 0.5)),
    "data": (lambda m: m.fc.weight.data.normal_(1.0, 0.5), "fc.weight", Normal(1.0, 0.5)),
    "truncated": (
        lambda m: nn.init.trunc_normal_(m.fc.weight, std=0.02),
        "fc.weight",
        TruncNormal(0.0, 0.02, -2.0, 2.0),
    ),
    "orthogonal": (lambda m: nn.init.orthogonal_(m.fc.weight), "fc.weight", Orthogonal(1.0)),
    "scaled": (lambda m: nn.init.normal_(m.fc.weight).data.mul_(0.25), "fc.weight", Normal(0.0, 0.25)),
    "copied": (lambda m: m.fc.weight.data.copy_(torch.zeros(8, 12)), "fc.weight", Constant(0.0)),
    "no_grad": (lambda m: m.fc.bias.detach().uniform_(-1, 3), "fc.bias", Uniform(-1.0, 3.0)),
    "padding": (
        lambda m: (nn.init.normal_(m.embed.weight), m.embed.weight.data[3].zero_()),
        "embed.weight",
        PaddingRow(3, Normal(0.0, 1.0)),
    ),
    "buffer": (lambda m: m.norm.running_var.fill_(2.0), "norm.running_var", Constant(2.0)),
    "twice": (
        lambda m: (nn.init.uniform_(m.fc.weight), nn.init.normal_(m.fc.weight, std=3.0)),
        "fc.weight",
        Normal(0.0, 3.0),
    ),
}


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize(("code", "name", "value"), CODES.values(), ids=CODES)
def test_what_has_a_name_comes_from_the_stream(code, name, value, deferred):
    model = built(code, deferred=deferred)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    ledger = initcfg.init_weights(model, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    tensor = model.get_parameter(name) if "running" not in name else model.get_buffer(name)
    assert ledger[name].by == "code"
    assert ledger[name].operations
    found = ledger[name].value
    assert found.kind == value.kind
    assert torch.allclose(tensor, streamed(value, tensor, name), rtol=1e-6, atol=1e-7)
    # The others are what they were to be.
    rest = [each for each in dict(model.named_parameters()) if each != name]
    assert {ledger[each].by for each in rest} == {"default" if deferred else "nobody"}
    assert all(torch.isfinite(each).all() for each in model.parameters())


@pytest.mark.parametrize("deferred", [False, True])
def test_reading_what_was_written_finds_it(deferred):
    seen = {}

    def code(model):
        nn.init.normal_(model.fc.weight, std=0.5)
        seen["std"] = model.fc.weight.std().item()
        # No value has a name for it: the rows are normalized.
        model.fc.weight.data.div_(model.fc.weight.norm(dim=1, keepdim=True))

    model = built(code, deferred=deferred)
    ledger = initcfg.init_weights(model, seed=1)
    assert 0.4 < seen["std"] < 0.6
    assert torch.allclose(model.fc.weight.norm(dim=1), torch.ones(8))
    assert ledger["fc.weight"].by == "code"
    again = built(code, deferred=deferred)
    initcfg.init_weights(again, seed=1)
    assert torch.equal(again.fc.weight, model.fc.weight)


@pytest.mark.parametrize("deferred", [False, True])
def test_code_finds_what_rules_wrote_before_it(deferred):
    rule = dict(type="Constant", layer="Linear", val=3.0)

    def code(model):
        initcfg.BaseModule.init_weights(model)
        model.fc.weight.data.add_(model.fc.weight.max())
        nn.init.zeros_(model.fc.bias)

    model = built(code, deferred=deferred, init_cfg=rule)
    ledger = initcfg.init_weights(model, seed=1)
    assert model.fc.weight.eq(6.0).all()
    assert model.fc.bias.eq(0.0).all()
    assert ledger["fc.weight"].by == ledger["fc.bias"].by == "code"
    assert ledger["fc.bias"].value == Constant(0.0)


@pytest.mark.parametrize("deferred", [False, True])
def test_rules_that_code_calls_for_beat_what_it_wrote(deferred):
    def code(model):
        nn.init.ones_(model.fc.weight)
        nn.init.ones_(model.fc.bias)
        initcfg.BaseModule.init_weights(model)

    rule = dict(type="Normal", layer="Linear", std=0.25, bias=7)
    model = built(code, deferred=deferred, init_cfg=rule)
    ledger = initcfg.init_weights(model, seed=1)
    assert ledger["fc.weight"].by == "rule"
    assert torch.equal(model.fc.weight, streamed(Normal(0.0, 0.25), model.fc.weight, "fc.weight"))
    assert model.fc.bias.eq(7.0).all()


def test_each_tensor_is_written_once():
    """Default, rule and code for one weight: one write."""

    def code(model):
        initcfg.BaseModule.init_weights(model)
        nn.init.kaiming_normal_(model.fc.weight)

    model = built(code, deferred=True, init_cfg=dict(type="Normal", layer="Linear"))
    written = []
    plan = initcfg.plan(model)
    apply_plan(plan, model, seed=1, rng="stream", progress=written.append)
    # The padding row is drawn with the others, and zeroed.
    padding = model.embed.weight[3].numel()
    assert sum(written) == sum(parameter.numel() for parameter in model.parameters()) + padding


@pytest.mark.parametrize("deferred", [False, True])
def test_an_address_that_went_out(deferred):
    """What writes through NumPy is not overwritten by what was planned before."""

    def code(model):
        nn.init.ones_(model.fc.bias)
        model.fc.bias.detach().numpy()[:] = [1, 2, 3, 4, 5, 6, 7, 8]
        model.fc.bias.data.mul_(2.0)

    model = built(code, deferred=deferred)
    initcfg.init_weights(model, seed=1)
    assert model.fc.bias.tolist() == [2, 4, 6, 8, 10, 12, 14, 16]


def test_copies_between_parameters():
    def code(model):
        nn.init.normal_(model.fc.weight)
        model.norm.weight.data.copy_(model.fc.weight[:, 0])

    model = built(code, deferred=True)
    initcfg.init_weights(model, seed=1)
    assert torch.equal(model.norm.weight, model.fc.weight[:, 0])


def test_a_parameter_that_code_replaces():
    def code(model):
        model.fc.weight = nn.Parameter(torch.empty(8, 12).fill_(2.0))

    model = built(code, deferred=True)
    initcfg.init_weights(model, seed=1)
    assert model.fc.weight.eq(2.0).all()


def test_code_in_code():
    """A child's own method, called by way of the parent's: one recording, two accounts."""

    class Child(initcfg.BaseModule):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def init_weights(self):
            nn.init.uniform_(self.fc.weight, 1.0, 2.0)
            nn.init.constant_(self.fc.bias, self.fc.weight.min().item())

    class Parent(initcfg.BaseModule):
        def __init__(self):
            super().__init__()
            self.child = Child()
            self.other = nn.Linear(3, 3)

        def init_weights(self):
            super().init_weights()
            nn.init.normal_(self.other.weight, std=2.0)

    with initcfg.deferred():
        model = Parent()
    ledger = initcfg.init_weights(model, seed=4)
    assert model.child.fc.bias.unique().item() == model.child.fc.weight.min().item()
    assert ledger["child.fc.weight"].code.startswith("Child.init_weights")
    assert ledger["other.weight"].code.startswith("Parent.init_weights")
    assert ledger["other.weight"].value == Normal(0.0, 2.0)
    assert torch.equal(model.other.weight, streamed(Normal(0.0, 2.0), model.other.weight, "other.weight", 4))


def test_order_of_modules_does_not_matter_for_code_either():
    class Two(initcfg.BaseModule):
        def __init__(self, names):
            super().__init__()
            for name in names:
                self.add_module(name, Coded(lambda model: nn.init.normal_(model.fc.weight)))

    states = []
    for names in ("ab", "ba"):
        with initcfg.deferred():
            model = Two(names)
        initcfg.init_weights(model, seed=9)
        states.append(model.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_torch_generator_is_still_obeyed():
    """rng='torch' runs the code as it is."""

    def code(model):
        nn.init.normal_(model.fc.weight)

    model = built(code, deferred=False)
    torch.manual_seed(5)
    expected = torch.empty(8, 12).normal_()
    torch.manual_seed(5)
    initcfg.init_weights(model, rng="torch")
    assert torch.equal(model.fc.weight, expected)


def test_an_error_in_code_leaves_nothing_patched():
    def code(model):
        nn.init.zeros_(model.fc.weight)
        raise ValueError("no")

    before = nn.init._no_grad_trunc_normal_, torch.Tensor.numpy
    model = built(code, deferred=False)
    with pytest.raises(ApplyError, match="ValueError: no"):
        initcfg.init_weights(model, seed=1)
    assert before == (nn.init._no_grad_trunc_normal_, torch.Tensor.numpy)
    tensor = torch.empty(3).fill_(math.pi)
    assert tensor.numpy()[0] == pytest.approx(math.pi)
