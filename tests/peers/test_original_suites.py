"""What MMEngine's and MMCV's own tests of BaseModule and the initializers state, tried on both.

Each scenario is a function of a package. It runs on the original and on compat from the same state of torch's
generator, and what it returns (tensors, kinds of errors) must be the same, to the bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from initcfg.compat import mmengine
from initcfg.compat.mmcv import cnn, runner

pytestmark = [pytest.mark.peers, pytest.mark.mm]
Scenario = Callable[[Any], Any]
SCENARIOS: dict[str, Scenario] = {}
FUNCTIONS = ("constant", "xavier", "normal", "trunc_normal", "uniform", "kaiming", "caffe2_xavier")
CLASSES = ("ConstantInit", "XavierInit", "NormalInit", "TruncNormalInit", "UniformInit", "KaimingInit")


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def raised(call: Callable[[], Any], kind: type[Exception]) -> str:
    with pytest.raises(kind):
        call()
    return kind.__name__


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU(), nn.Linear(1, 2), nn.Conv1d(1, 2, 1))


@scenario
def functions_write_a_module(m: Any) -> Any:
    results = []
    for name in FUNCTIONS:
        function = getattr(m, f"{name}_init")
        needed = {"val": 0.1} if name == "constant" else {}
        for module in (nn.Conv2d(3, 16, 3), nn.Conv2d(3, 16, 3, bias=False), nn.Linear(4, 4), nn.ReLU()):
            function(module, **needed)
            results.append(state(module))
            function(module, **needed, bias=0.25)
            results.append(state(module))
    return results


@scenario
def functions_know_two_distributions(m: Any) -> Any:
    results: list[Any] = []
    for function in (m.xavier_init, m.kaiming_init):
        module = nn.Conv2d(3, 16, 3)
        for distribution in ("normal", "uniform"):
            function(module, distribution=distribution)
            results.append(state(module))
        results.append(raised(lambda f=function, of=module: f(of, distribution="student-t"), AssertionError))
    return results


@scenario
def truncated_normals_stay_within_bounds(m: Any) -> Any:
    module = nn.Conv2d(3, 64, 3)
    m.trunc_normal_init(module, 1.5, 0.5, 1.0, 2.25, bias=0.1)
    assert module.weight.ge(1.0).all()
    assert module.weight.le(2.25).all()
    return state(module)


@scenario
def a_prior_probability_becomes_a_bias(m: Any) -> Any:
    module = nn.Conv2d(3, 16, 3)
    m.normal_init(module, bias=m.bias_init_with_prob(0.1))
    assert torch.allclose(module.bias, torch.tensor(0.1).logit())
    return state(module)


@scenario
def initializers_reach_their_layers(m: Any) -> Any:
    results = []
    for name in CLASSES:
        needed = {"val": 3} if name == "ConstantInit" else {}
        for layer in ("Conv2d", "_ConvNd", ["Conv2d", "Linear"]):
            for bias in ({"bias": 7}, {"bias_prob": 0.01}, {"bias": 7, "bias_prob": 0.01}):
                model = layers()
                getattr(m, name)(**needed, **bias, layer=layer)(model)
                results.append(state(model))
    model = layers()
    m.Caffe2XavierInit(bias=0.1, layer="Conv2d")(model)
    return [*results, state(model)]


@scenario
def initializers_are_applied_too(m: Any) -> Any:
    model = layers()
    model.apply(m.ConstantInit(val=0, bias=0, layer=["Conv2d", "Linear"]))
    first = state(model)
    model.apply(m.XavierInit(gain=100, bias_prob=0.01, layer=["Conv2d", "Linear"]))
    return first, state(model)


@scenario
def initializers_check_their_arguments(m: Any) -> Any:
    results = []
    for name in CLASSES:
        initializer, needed = getattr(m, name), {"val": 3} if name == "ConstantInit" else {}
        for wrong in ({"bias": "1"}, {"bias_prob": "1"}, {"layer": 1}):
            results.append(raised(lambda i=initializer, n=needed, w=wrong: i(**n, **w), TypeError))
    return results


@scenario
def initialize_takes_a_dict_a_list_and_overrides(m: Any) -> Any:
    def model() -> nn.Module:
        made = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Linear(2, 2))
        made.conv, made.reg, made.block = nn.Conv2d(1, 1, 1), nn.Linear(1, 2), layers()
        return made

    linear = dict(type="Constant", layer="Linear", val=3, bias=4)
    results = []
    for cfg in (
        dict(type="Constant", layer=["Conv2d", "Linear"], val=1, bias=2),
        [dict(type="Constant", layer="Conv2d", val=1, bias=2), linear],
        dict(
            type="Constant", val=1, bias=2, layer="Linear", override=dict(type="Constant", name="conv", val=5)
        ),
        dict(type="Constant", val=1, bias=2, layer="Linear", override=dict(name="conv")),
        dict(type="Constant", val=5, bias=6, override=dict(name="block")),
        [
            dict(type="Normal", layer="Conv2d", std=0.1, override=[dict(type="Xavier", name="reg", bias=1)]),
            linear,
        ],
    ):
        each = model()
        m.initialize(each, cfg)
        results.append(state(each))
    return results


@scenario
def initialize_refuses(m: Any) -> Any:
    constant = dict(type="Constant", layer=["Conv2d", "Linear"], val=1, bias=2)
    kinds = []
    for cfg, kind in (
        ("constant", TypeError),
        (dict(constant, override=1), TypeError),
        (dict(constant, override=dict(name="nothing_of_it")), RuntimeError),
        (dict(constant, override=[dict(name="reg"), dict(name="nothing_of_it")]), RuntimeError),
        (dict(constant, override=dict(type="Constant", val=3)), ValueError),
        (dict(constant, override=dict(name="reg", val=3)), ValueError),
        (dict(constant, type="Nonesuch"), KeyError),
        (dict(type="Constant", layer="Conv2d"), TypeError),
        (dict(type="Constant", layer="Conv2d", val=1, nonesuch=2), TypeError),
    ):
        model = layers()
        model.reg = nn.Linear(1, 2)
        kinds.append(raised(lambda c=cfg, of=model: m.initialize(of, c), kind))
    return kinds


def family(m: Any) -> SimpleNamespace:
    """The small classes of their tests: a convolution, a linear layer, both, and a model of parts."""

    class Conv1d(m.BaseModule):
        def __init__(self, init_cfg: Any = None) -> None:
            super().__init__(init_cfg)
            self.conv1d = nn.Conv1d(4, 1, 4)

    class Conv2d(m.BaseModule):
        def __init__(self, init_cfg: Any = None) -> None:
            super().__init__(init_cfg)
            self.conv2d = nn.Conv2d(3, 1, 3)

    class Linear(m.BaseModule):
        def __init__(self, init_cfg: Any = None) -> None:
            super().__init__(init_cfg)
            self.linear = nn.Linear(3, 4)

    class Both(m.BaseModule):
        def __init__(self, init_cfg: Any = None) -> None:
            super().__init__(init_cfg)
            self.linear, self.conv1d = Linear(), Conv1d()

    class Model(m.BaseModule):
        def __init__(self, *parts: nn.Module, init_cfg: Any = None) -> None:
            super().__init__(init_cfg)
            for at, part in enumerate(parts, 1):
                self.add_module(f"component{at}", part)
            self.reg = nn.Linear(3, 4)

    return SimpleNamespace(Conv1d=Conv1d, Conv2d=Conv2d, Linear=Linear, Both=Both, Model=Model)


RULES = [
    dict(type="Constant", val=1, bias=2, layer="Linear"),
    dict(type="Constant", val=3, bias=4, layer="Conv1d"),
    dict(type="Constant", val=5, bias=6, layer="Conv2d"),
]


@scenario
def a_model_gives_its_rules_to_its_parts(m: Any) -> Any:
    f = family(m)
    model = f.Model(f.Conv1d(), f.Conv2d(), f.Linear(), f.Both(), init_cfg=RULES)
    assert not model.is_init
    model.init_weights()
    assert model.is_init
    assert model.component4.conv1d.conv1d.weight.eq(3).all()
    assert model.reg.bias.eq(2).all()
    return state(model)


@scenario
def a_part_beats_its_model(m: Any) -> Any:
    f = family(m)
    rules = [dict(RULES[0], override=dict(type="Constant", name="reg", val=13, bias=14)), *RULES[1:]]
    model = f.Model(
        f.Conv1d(dict(type="Constant", layer="Conv1d", val=7, bias=8)),
        f.Conv2d(dict(type="Constant", layer="Conv2d", val=9, bias=10)),
        f.Linear(),
        f.Both(),
        init_cfg=rules,
    )
    model.init_weights()
    assert model.component1.conv1d.weight.eq(7).all()
    assert model.component3.linear.weight.eq(1).all()
    assert model.reg.weight.eq(13).all()
    return state(model)


@scenario
def without_layer_nothing_is_written(m: Any) -> Any:
    f = family(m)
    model = f.Model(f.Conv1d(dict(type="Constant", val=7, bias=8)), f.Conv2d(), f.Linear(), init_cfg=RULES)
    model.init_weights()
    assert model.component1.conv1d.weight.eq(3).all()
    return state(model)


@scenario
def an_override_alone_writes_what_it_names(m: Any) -> Any:
    f = family(m)
    rules = [dict(type="Constant", val=10, bias=20, override=dict(name="reg"))]
    model = f.Model(f.Conv1d(), f.Linear(), init_cfg=rules)
    before = state(model)
    model.init_weights()
    assert model.reg.weight.eq(10).all()
    assert torch.equal(model.component1.conv1d.weight, before["component1.conv1d.weight"])
    return state(model)


@scenario
def containers_carry_rules(m: Any) -> Any:
    f, results = family(m), []
    outer = dict(type="Constant", layer=["Conv1d", "Conv2d"], val=4.0, bias=5.0)
    for init_cfg in (None, outer):
        for inner in (True, False):
            first = f.Conv1d(dict(type="Constant", layer="Conv1d", val=0.0, bias=1.0) if inner else None)
            second = f.Conv2d(dict(type="Constant", layer="Conv2d", val=2.0, bias=3.0) if inner else None)
            for model in (
                m.Sequential(first, second, init_cfg=init_cfg),
                m.ModuleList([first, second], init_cfg=init_cfg),
                m.ModuleDict(dict(first=first, second=second), init_cfg=init_cfg),
            ):
                model.init_weights()
                results.append(state(model))
    return results


@scenario
def a_method_of_its_own_beats_the_rules(m: Any) -> Any:
    class Own(nn.Conv2d, m.BaseModule):
        def init_weights(self) -> None:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.fill_(1)

    class Model(m.BaseModule):
        def __init__(self, init_cfg: Any = None) -> None:
            super().__init__(init_cfg)
            self.conv1, self.conv2 = nn.Conv2d(1, 1, 1, 1), Own(1, 1, 1, 1)
            self.conv3, self.fc1 = nn.Conv2d(1, 1, 1, 1), nn.Linear(1, 1)

    override = dict(type="Normal", name="conv3", std=0.01, bias_prob=0.01)
    model = Model(
        [
            dict(type="Normal", layer="Conv2d", std=0.01, override=override),
            dict(type="Constant", layer="Linear", val=0.0, bias=1.0),
        ]
    )
    model.init_weights()
    assert model.conv2.weight.eq(1).all()
    assert model.conv2.bias.eq(1).all()
    return state(model)


@scenario
def a_second_call_changes_nothing(m: Any) -> Any:
    f = family(m)
    model = f.Model(
        f.Linear(dict(type="Normal", layer="Linear")), init_cfg=dict(type="Uniform", layer="Linear")
    )
    model.component1.init_weights()
    inner = state(model.component1)
    model.init_weights()
    first = state(model)
    model.init_weights()
    assert all(torch.equal(first[name], tensor) for name, tensor in state(model).items())
    return inner, first


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("package", ["mmengine", "mmcv"])
def test_scenario(real: Any, package: str, name: str) -> None:
    ours: Any = mmengine
    if package == "mmcv":
        ours = SimpleNamespace(**{each: getattr(mod, each) for mod in (cnn, runner) for each in dir(mod)})
    results = []
    for each in (real, ours):
        torch.manual_seed(7)
        results.append(SCENARIOS[name](each))
    assert same(*results)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def pretrained(m: Any, file: str, whole: dict[str, torch.Tensor]) -> Any:
    class Net(m.BaseModule):
        def __init__(self, init_cfg: Any) -> None:
            super().__init__(init_cfg)
            self.linear, self.conv = nn.Linear(1, 2), nn.Conv2d(1, 1, 1)

    torch.save(whole, file)
    results = []
    for further in ({}, {"prefix": "part."}):
        torch.manual_seed(3)
        model = Net(dict(type="Pretrained", checkpoint=file, **further))
        model.init_weights()
        results.append(state(model))
    torch.manual_seed(3)
    plain = nn.Linear(1, 2)
    m.PretrainedInit(file, prefix="linear")(plain)
    return [*results, state(plain)]


def test_pretrained(real: Any, tmp_path: Path) -> None:
    made = nn.ModuleDict(dict(linear=nn.Linear(1, 2), conv=nn.Conv2d(1, 1, 1)))
    whole = state(made)
    whole |= {f"part.{name}": tensor + 1 for name, tensor in whole.items()}
    theirs, ours = (pretrained(each, str(tmp_path / "a.pth"), whole) for each in (real, mmengine))
    assert same(theirs, ours)


def test_a_wrapper_of_the_registry_is_entered(real: Any) -> None:
    from mmengine.registry import MODEL_WRAPPERS

    if "SuiteWrapper" not in MODEL_WRAPPERS.module_dict:

        @MODEL_WRAPPERS.register_module()
        class SuiteWrapper(nn.Module):
            def __init__(self, module: nn.Module) -> None:
                super().__init__()
                self.module = module

    wrapper: Any = MODEL_WRAPPERS.get("SuiteWrapper")

    def wrapped(m: Any) -> Any:
        class Own(m.BaseModule):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(1, 1)

            def init_weights(self) -> None:
                nn.init.constant_(self.linear.weight, 1)
                nn.init.constant_(self.linear.bias, 2)

        f = family(m)
        model = f.Model(wrapper(Own()), wrapper(f.Linear(dict(type="Constant", layer="Linear", val=3))))
        model.init_weights()
        assert model.component1.module.linear.bias.eq(2).all()
        assert model.component2.module.linear.weight.eq(3).all()
        return state(model)

    results = []
    for each in (real, mmengine):
        torch.manual_seed(7)
        results.append(wrapped(each))
    assert same(*results)


@pytest.fixture
def loggers(real: Any) -> Iterator[Any]:
    from mmengine.logging import MMLogger

    before = dict(MMLogger._instance_dict)
    yield MMLogger
    for name, logger in MMLogger._instance_dict.items():
        # Others' handlers stay open: MMEngine writes to the stream of each.
        for handler in [] if name in before else logger.handlers:
            handler.close()
    MMLogger._instance_dict.clear()
    MMLogger._instance_dict.update(before)


def test_the_log_file_says_the_same(real: Any, loggers: Any, tmp_path: Path) -> None:
    written = []
    for at, each in enumerate((real, mmengine)):
        file = tmp_path / f"{at}.log"
        loggers.get_instance(f"suite{at}", log_file=str(file))
        f = family(each)
        torch.manual_seed(1)
        model = f.Model(f.Conv1d(), f.Both(dict(type="Normal", layer="Linear", std=0.1)), init_cfg=RULES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.init_weights()
        # The first part of a line is the time and the logger's name.
        written.append([line.rpartition(" - INFO - ")[2] for line in file.read_text().splitlines()])
    assert len(written[0]) > 20
    assert written[0] == written[1]
