"""Layers that are alike are planned once: nothing of that shows."""

import copy
import pickle

import pytest
import torch
from torch import nn

import initcfg
from initcfg._model import names as names_of
from initcfg._plan.frozen import LateDict, unnamed
from initcfg.errors import InitcfgError


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first.weight
        self.norm, self.same = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.same.running_mean = self.norm.running_mean
        self.again = self.second


class OneTensorTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LayerNorm(4)
        self.layer.bias = self.layer.weight
        self.other = nn.LayerNorm(4)


def convolutions() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(4, 4, 3, groups=each) for each in (1, 2, 4, 1)]
    layers += [nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4).half()]
    for parameter in layers[0].parameters():
        parameter.requires_grad_(False)
    return nn.Sequential(*layers)


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3, enable_nested_tensor=False)


def with_rules() -> nn.Module:
    class Block(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__(dict(type="Constant", val=1, layer="Linear", override=dict(name="norm")))
            self.linear, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)

    return initcfg.Sequential(*(Block() for _ in range(4)))


def meta(build):
    def built() -> nn.Module:
        with torch.device("meta"):
            return build()

    return built


def deferred(build):
    def built() -> nn.Module:
        with initcfg.deferred():
            return build()

    return built


BUILDS = {
    "tied": Tied,
    "twice": OneTensorTwice,
    "convolutions": convolutions,
    "rules": with_rules,
    "encoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16), 3, enable_nested_tensor=False
    ),
}
BUILDS |= {f"{name}, meta": meta(build) for name, build in BUILDS.items() if name != "tied"} | {
    f"{name}, deferred": deferred(build) for name, build in BUILDS.items()
}
RULES = {
    "none": None,
    "several": [
        dict(type="Kaiming", layer=["Conv2d", "Linear"]),
        dict(type="Constant", layer=["_NormBase", "LayerNorm"], val=1),
        dict(type="Normal", layer=["Linear", "Conv2d"], std=0.01),
    ],
    "torch": dict(type="TorchDefault", layer=["Linear", "_ConvNd", "LayerNorm", "_NormBase"]),
    "exclude": dict(type="Normal", layer=["Linear", "Conv2d", "LayerNorm"], exclude="*1*", std=1),
    "scale": dict(type="Normal", layer=["Linear", "Conv2d"], std=1, scale="1 / fan_in"),
    "param": [dict(type="Normal", param="*.bias", std=1), dict(type="Xavier", layer=["Linear", "Conv2d"])],
    "buffer": [dict(type="Constant", buffer="*running_mean", val=2), dict(type="Normal", layer="Linear")],
}


def told(build, rules, compat):
    try:
        plan = initcfg.plan(build(), copy.deepcopy(rules), compat=compat)
    except InitcfgError as error:
        return str(error)
    layouts = {name: item.layout for name, item in {**plan.parameters, **plan.buffers}.items()}
    tape = None if plan.tape is None else [plan.tape.unroll(draws=each) for each in (False, True)]
    if plan.tape is not None and not plan.tape.calls:
        names, writes = plan.tape.shown()
        shown = [write.named(name) for name, write in zip(names, writes, strict=True)]
        assert shown == plan.tape.unroll(draws=False)
    return plan.to_json(), list(plan.parameters), list(plan.buffers), plan.digest, str(plan), layouts, tape


@pytest.mark.parametrize("compat", [None, "mmengine"])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("build", BUILDS)
def test_the_plan_is_that_of_layers_looked_at_one_by_one(build, rules, compat, monkeypatch):
    together = told(BUILDS[build], RULES[rules], compat)
    monkeypatch.setattr(names_of, "likeness", lambda module, known: None)
    assert told(BUILDS[build], RULES[rules], compat) == together


@pytest.mark.parametrize("build", BUILDS)
def test_tensors_are_named_as_torch_names_them(build):
    model = BUILDS[build]()
    named = names_of.named_tensors(model)
    parameters = dict(model.named_parameters())
    assert {id(each) for each in parameters.values()} == {id(entry.tensor) for entry in named.parameters}
    assert [entry.names[0] for entry in named.parameters] == list(parameters)
    assert [entry.names[0] for entry in named.buffers] == [name for name, _ in model.named_buffers()]
    modules = dict(model.named_modules())
    assert {name: named.module_of[name] for name in modules} == modules


def test_a_layer_with_a_number_of_its_own_is_like_no_other():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].in_features = 1
    plan = initcfg.plan(model, dict(type="TorchDefault", layer="Linear"))
    assert plan["0.bias"].value.args["b"] == 0.5
    assert plan["1.bias"].value.args["b"] == 1


def test_a_declared_layout_is_asked_of_each_module():
    class Turned(nn.Linear):
        turned = False

    model = nn.Sequential(Turned(2, 8), Turned(2, 8))
    model[1].turned = True

    @initcfg.register_layout(Turned)
    def layout(module):
        axes = dict(in_axis=(0,), out_axis=(1,)) if module.turned else {}
        return {"weight": initcfg.values.Layout(tuple(module.weight.shape), **axes)}

    plan = initcfg.plan(model, dict(type="Kaiming", layer="Linear"))
    assert plan["0.weight"].value != plan["1.weight"].value


@pytest.fixture
def plan():
    return initcfg.plan(
        nn.Sequential(*(nn.Linear(2, 2) for _ in range(3))), dict(type="Normal", layer="Linear")
    )


READS = {
    "dict": dict,
    "unpacked": lambda found: {**found},
    "items": lambda found: dict(found.items()),
    "values": lambda found: dict(zip(found, found.values(), strict=True)),
    "get": lambda found: {name: found.get(name) for name in found},
    "keys": lambda found: {name: found[name] for name in list(found.keys())},
    "copy": lambda found: found.copy(),
    "copied": copy.copy,
    "deep": copy.deepcopy,
    "pickle": lambda found: pickle.loads(pickle.dumps(found)),
    "or": lambda found: found | {},
    "into": lambda found: {} | found,
    "updated": lambda found: (made := {}).update(found) or made,
    "reversed": lambda found: {name: found[name] for name in reversed(found)},
}


@pytest.mark.parametrize("read", READS)
def test_whoever_reads_finds_each_under_its_name(read, plan):
    assert isinstance(plan.parameters, LateDict)
    found = READS[read](plan.parameters)
    assert {name: item.name for name, item in found.items()} == {name: name for name in plan}
    assert found == plan.parameters
    assert plan.parameters == found


@pytest.mark.parametrize("read", [len, str, lambda found: found["2.weight"]])
def test_one_that_was_read_equals_another_that_was_not(read, plan):
    first, second = LateDict(unnamed(plan.parameters)), LateDict(unnamed(plan.parameters))
    read(first)
    assert first == second
    assert plan.parameters == first


def test_what_was_read_stays_the_same_object(plan):
    item = plan["2.weight"]
    assert plan.parameters["2.weight"] is item
    assert dict(plan.parameters)["2.weight"] is item
    assert [*plan.parameters.values()][4] is item
    assert "name='2.weight'" in repr(plan.parameters)
    assert plan.parameters.get("3.weight") is None


@pytest.mark.parametrize(
    "change", ["plan.parameters['0.weight'] = None", "plan.parameters |= {}", "plan.parameters.clear()"]
)
def test_it_cannot_be_changed(change, plan):
    with pytest.raises((TypeError, AttributeError)):
        exec(change, {"plan": plan})
    assert len(plan) == 6
