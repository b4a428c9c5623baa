"""Public functions with arguments of wrong types: an error of ours that says what to do, never Python's."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
import initcfg.sources
import initcfg.stream
import initcfg.testing
from initcfg import Config, ConfigDict, Diagnosis, Ledger, Lock, Plan, Registry
from initcfg.errors import InitcfgError, PlanError, as_annotated
from initcfg.values import Constant, Eye

RULE = dict(type="Normal", layer="Linear", std=0.02)
CONFIG = dict(type="Linear", in_features=4, out_features=2)
BATCH = (torch.ones(8, 4), torch.ones(8, 2))
Call = tuple[Callable[..., Any], dict[str, Any]]


def _loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).square().mean()


class World:
    """Valid arguments, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = initcfg.plan(self.model, RULE)
        model = self.model
        self.ledger = self.plan.apply(model, seed=0)
        self.ledger.save("ledger.json")
        initcfg.testing.assert_plan_matches(self.plan, folder / "golden.json", update=True)
        torch.save(model.state_dict(), "weights.pth")
        Path("config.yaml").write_text(f"model: {CONFIG}\n", encoding="utf-8")
        self.lock = initcfg.lock("config.yaml", path="init.lock")
        self.diagnosis = initcfg.diagnose(model, BATCH, _loss, plan=self.plan, steps=1)
        self.comparison = initcfg.compare(self.plan, self.plan)
        self.weights = initcfg.diff("weights.pth", "weights.pth", values=True)

    @property
    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 2))

    @property
    def config(self) -> Config:
        return Config.fromfile("config.yaml")

    def wrong(self) -> dict[str, Any]:
        """What nobody means, by a name for it."""
        return {
            **{
                repr(each): each
                for each in (None, 3, -1, 2**70, 1.5, float("nan"), True, "text", b"path", {})
            },
            **{repr(each): each for each in ([], (1,), {1}, Path("path"))},
            "an object": object(),
            "a class": nn.Linear,
            "a model": self.model,
            "a plan": self.plan,
            "a ledger": self.ledger,
        }


CALLS: dict[str, Callable[[World], Call]] = {
    "plan": lambda w: (initcfg.plan, dict(model=w.model, init_cfg=RULE)),
    "init_weights": lambda w: (initcfg.init_weights, dict(model=w.model, init_cfg=RULE)),
    "initialize": lambda w: (initcfg.initialize, dict(module=w.model, init_cfg=RULE)),
    "build": lambda w: (initcfg.build, dict(config=CONFIG)),
    "build_from_cfg": lambda w: (initcfg.build_from_cfg, dict(cfg=CONFIG, registry=initcfg.MODELS)),
    "build_model_from_cfg": lambda w: (
        initcfg.build_model_from_cfg,
        dict(cfg=CONFIG, registry=initcfg.MODELS),
    ),
    "check": lambda w: (initcfg.check, dict(path="init.lock")),
    "lock": lambda w: (initcfg.lock, dict(configs="config.yaml", path="other.lock")),
    "compare": lambda w: (initcfg.compare, dict(a=w.plan, b=w.plan)),
    "diff": lambda w: (initcfg.diff, dict(a=w.plan, b=w.plan)),
    "differences": lambda w: (initcfg.differences, dict(plan=w.plan, original=w.plan)),
    "diagnose": lambda w: (initcfg.diagnose, dict(model=w.model, batch=BATCH, loss=_loss, steps=1)),
    "inspect": lambda w: (initcfg.inspect, dict(checkpoint="weights.pth")),
    "materialize": lambda w: (initcfg.materialize, dict(model=w.model.to("meta"), init_cfg=RULE)),
    "param_groups": lambda w: (initcfg.param_groups, dict(model=w.model, plan=w.plan, lr=0.1)),
    "register_layout": lambda w: (initcfg.register_layout, dict(layer="NoSuchLayer")),
    "register_library": lambda w: (initcfg.register_library, dict(package="no_such_library")),
    "trace": lambda w: (initcfg.trace, dict(build_or_init=lambda: w.model)),
    "verify": lambda w: (initcfg.verify, dict(checkpoint="weights.pth", plan=w.plan, seed=0)),
    "bias_init_with_prob": lambda w: (initcfg.bias_init_with_prob, dict(prior_prob=0.1)),
    "trunc_normal_": lambda w: (initcfg.trunc_normal_, dict(tensor=torch.zeros(3))),
    "constant_init": lambda w: (initcfg.constant_init, dict(module=nn.Linear(2, 2), val=1)),
    "xavier_init": lambda w: (initcfg.xavier_init, dict(module=nn.Linear(2, 2))),
    "normal_init": lambda w: (initcfg.normal_init, dict(module=nn.Linear(2, 2))),
    "trunc_normal_init": lambda w: (initcfg.trunc_normal_init, dict(module=nn.Linear(2, 2))),
    "uniform_init": lambda w: (initcfg.uniform_init, dict(module=nn.Linear(2, 2))),
    "kaiming_init": lambda w: (initcfg.kaiming_init, dict(module=nn.Linear(2, 2))),
    "caffe2_xavier_init": lambda w: (initcfg.caffe2_xavier_init, dict(module=nn.Linear(2, 2))),
    "Plan.apply": lambda w: (w.plan.apply, dict(model=w.model)),
    "Plan.diff": lambda w: (w.plan.diff, dict(other=w.plan)),
    "Plan.explain": lambda w: (w.plan.explain, dict(name="0.weight")),
    "Plan.from_json": lambda w: (Plan.from_json, dict(data=w.plan.to_json())),
    "Plan.part": lambda w: (w.plan.part, dict(module=w.model[0], name_prefix="0.")),
    "Plan.recognize": lambda w: (w.plan.recognize, dict(model=w.model)),
    "Plan.save_weights": lambda w: (
        w.plan.save_weights,
        dict(directory=w.folder / "made", model=w.model, seed=0, overwrite=True),
    ),
    "Plan.tensor": lambda w: (w.plan.tensor, dict(name="0.weight", seed=0)),
    "Plan.to_html": lambda w: (w.plan.to_html, {}),
    "Plan.to_init_cfg": lambda w: (w.plan.to_init_cfg, dict(model=w.model)),
    "Ledger.from_json": lambda w: (Ledger.from_json, dict(data=w.ledger.to_json())),
    "Ledger.load": lambda w: (Ledger.load, dict(path="ledger.json")),
    "Ledger.save": lambda w: (w.ledger.save, dict(path="other.json")),
    "Ledger.tensor": lambda w: (w.ledger.tensor, dict(name="0.weight")),
    "Ledger.to_html": lambda w: (w.ledger.to_html, {}),
    "Lock.load": lambda w: (Lock.load, dict(path="init.lock")),
    "Lock.save": lambda w: (w.lock.save, dict(path="other.lock")),
    "Comparison.to_html": lambda w: (w.comparison.to_html, {}),
    "WeightsComparison.to_html": lambda w: (w.weights.to_html, {}),
    "Diagnosis.from_json": lambda w: (Diagnosis.from_json, dict(data=w.diagnosis.to_json())),
    "Diagnosis.to_html": lambda w: (w.diagnosis.to_html, {}),
    "Config.__init__": lambda w: (Config, {}),
    "Config.fromfile": lambda w: (Config.fromfile, dict(filename="config.yaml")),
    "Config.fromstring": lambda w: (Config.fromstring, dict(text="a: 1", file_format=".yaml")),
    "Config.diff": lambda w: (Config.diff, dict(cfg1="config.yaml", cfg2="config.yaml")),
    "Config.dump": lambda w: (w.config.dump, dict(path="dumped.yaml")),
    "Config.merge": lambda w: (w.config.merge, dict(other={})),
    "Config.merge_from_dict": lambda w: (w.config.merge_from_dict, dict(options={})),
    "Config.where": lambda w: (w.config.where, dict(path="model")),
    "ConfigDict.merge": lambda w: (ConfigDict(a=1).merge, dict(other={})),
    "ConfigDict.freeze": lambda w: (ConfigDict(a=1).freeze, {}),
    "Registry.__init__": lambda w: (Registry, dict(name="made")),
    "Registry.build": lambda w: (initcfg.MODELS.build, dict(cfg=CONFIG)),
    "Registry.get": lambda w: (initcfg.MODELS.get, dict(key="Linear")),
    "Registry.register_module": lambda w: (Registry("made").register_module, dict(module=nn.Linear)),
    "Registry.split_scope_key": lambda w: (Registry.split_scope_key, dict(key="a.b")),
    "Registry.also_register": lambda w: (Registry("made").also_register, dict(register=print)),
    "Registry.switch_scope_and_registry": lambda w: (
        lambda scope: Registry("made").switch_scope_and_registry(scope).__enter__(),
        dict(scope=None),
    ),
    "deferred.__init__": lambda w: (initcfg.deferred, {}),
    "assert_initialized": lambda w: (initcfg.testing.assert_initialized, dict(model=w.model)),
    "assert_plan_matches": lambda w: (
        initcfg.testing.assert_plan_matches,
        dict(model_or_plan=w.plan, path=w.folder / "golden.json"),
    ),
    "sources.locate": lambda w: (initcfg.sources.locate, dict(source="weights.pth")),
    "sources.register": lambda w: (initcfg.sources.register, dict(scheme="none", function=print)),
    "stream.bits": lambda w: (initcfg.stream.bits, dict(key=1, start=0, count=4)),
    "stream.normal": lambda w: (initcfg.stream.normal, dict(key=1, start=0, count=4, mean=0.0, std=1.0)),
    "stream.uniform": lambda w: (initcfg.stream.uniform, dict(key=1, start=0, count=4, a=0.0, b=1.0)),
    "stream.trunc_normal": lambda w: (
        initcfg.stream.trunc_normal,
        dict(key=1, start=0, count=4, mean=0.0, std=1.0, a=-1.0, b=1.0),
    ),
    "stream.stream_key": lambda w: (initcfg.stream.stream_key, dict(seed=0, name="w")),
    "stream.truncation_integers": lambda w: (
        initcfg.stream.truncation_integers,
        dict(mean=0.0, std=1.0, a=-1.0, b=1.0),
    ),
    "stream.whole": lambda w: (initcfg.stream.whole, dict(value=Eye(), shape=(2, 2), key_of=hash)),
    "stream.block": lambda w: (
        initcfg.stream.block,
        dict(value=Eye(), shape=(2, 2), offsets=(0, 0), sizes=(1, 2), key_of=hash),
    ),
    **{
        f"{name}.__init__": lambda w, name=name: (getattr(initcfg, name), dict(INITIALIZERS.get(name, {})))
        for name in initcfg.EXPORTS["_rules.initializers"]
        if name.endswith("Init")
    },
}
"""Every public function and method that takes arguments, with such as are right."""

INITIALIZERS: dict[str, dict[str, Any]] = {
    "ActNormDataInit": dict(batch=BATCH),
    "ConstantInit": dict(val=1),
    "LSUVInit": dict(batch=BATCH),
    "PretrainedInit": dict(checkpoint="weights.pth"),
    "SparseInit": dict(sparsity=0.5),
    "ValueInit": dict(value=Constant(1.0)),
    "WeightNormDataInit": dict(batch=BATCH),
}

ELSEWHERE = {
    # Bases for classes of one's own, and what these override: planning calls them.
    *("BaseInit", "BaseModule", "ModuleDict", "ModuleList", "Sequential", "Scheme", "DictAction"),
    # What loggers are and do, only they know; a script's arguments end the process.
    *("Diagnosis.log", "Config.auto_argparser"),
    # What models and registries tell each other.
    *(
        "Registry.further_names",
        "Registry.resolve",
        "Registry.unknown",
        "ConfigDict.build_lazy",
        "PretrainedInit.derivation",
    ),
    # Made by a comparison of two models; as a diagnosis has it.
    "DiagnosisComparison.to_html",
}
OWN_ERRORS = {
    # A function of the caller's that fails: its error is the caller's.
    ("Plan.part", "name_map"),
    # NumPy's, which names it.
    *((f"stream.{name}", "dtype") for name in ("normal", "uniform", "trunc_normal", "whole", "block")),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("wrong")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield World(folder)


def _parameters(call: Call, name: str) -> list[str]:
    wanted = call[0]
    if name == "Registry.switch_scope_and_registry":
        return ["scope"]
    kinds = inspect.signature(wanted).parameters.values()
    return [each.name for each in kinds if each.kind is not each.VAR_KEYWORD and each.name != "args"]


def _call(function: Callable[..., Any], given: dict[str, Any]) -> None:
    given = dict(given)
    # The one function that takes any number of them by their place.
    rest = [given.pop("configs")] if "configs" in given else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(*rest, **given)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_right_is_taken(name: str, world: World) -> None:
    function, given = CALLS[name](world)
    _call(function, given)
    assert given.keys() <= {*_parameters((function, given), name)}


@pytest.mark.parametrize("name", CALLS)
def test_an_argument_of_a_wrong_type_is_an_error_of_ours(name: str, world: World) -> None:
    wrong: list[str] = []
    for parameter in _parameters(CALLS[name](world), name):
        if (name, parameter) in OWN_ERRORS:
            continue
        for called, each in world.wrong().items():
            function, given = CALLS[name](world)
            try:
                _call(function, {**given, parameter: each})
            except InitcfgError as error:
                # Of numbers, and of lists that are too short, the message says all that there is to say.
                if not (error.fix or error.meant or isinstance(each, (int, float, list, tuple, set))):
                    wrong.append(f"{parameter}={called}: no fix: {error.problem}")
            except AssertionError:
                assert name.startswith("assert_")
            except Exception as error:
                wrong.append(f"{parameter}={called}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def _public() -> Iterator[tuple[str, Any]]:
    """Functions, methods and constructors that take arguments, by their names."""
    for prefix, module in (("", initcfg), ("stream.", initcfg.stream), ("sources.", initcfg.sources)):
        for name in module.__all__:
            found = getattr(module, name)
            if isinstance(found, FunctionType):
                yield prefix + name, found
            elif isinstance(found, type) and not issubclass(found, (Exception, tuple)):
                yield from _methods(name, found)
    for name in initcfg.testing.__all__:
        yield name, getattr(initcfg.testing, name)


def _methods(name: str, cls: type) -> Iterator[tuple[str, Any]]:
    if name in ELSEWHERE or getattr(cls, "_is_protocol", False):
        return
    is_initializer = issubclass(cls, initcfg.BaseInit)
    for method, member in vars(cls).items():
        function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        if not isinstance(function, FunctionType) or function.__code__.co_filename == "<string>":
            continue
        usual = method != "__init__" and (method.startswith("_") or hasattr(dict, method))
        takes = len(inspect.signature(function).parameters) > (not isinstance(member, staticmethod))
        if (usual and method != "get") or not takes or (is_initializer and method != "__init__"):
            continue
        if (method == "get" and issubclass(cls, Mapping)) or method == "named":
            continue
        if method == "__init__" and issubclass(cls, dict):
            continue
        yield f"{name}.{method}", function


def test_the_table_has_all_that_is_public() -> None:
    """A new function fails here until the table has a call of it, which the tests above then try."""
    public = dict(_public())
    # Initializers check their arguments themselves, as rules of a config reach them.
    checks = {name for name in public.keys() - ELSEWHERE if not name.endswith("Init.__init__")}
    assert public.keys() - ELSEWHERE <= CALLS.keys()
    # This one finds out who calls it.
    unchecked = [name for name in checks - {"Registry.__init__"} if not hasattr(public[name], "__checked__")]
    assert not unchecked, f"Decorate with errors.as_annotated: {unchecked}"


@as_annotated(PlanError)
def _taker(
    model: nn.Module,
    seed: int = 0,
    *names: str,
    lr: float = 1.0,
    path: str | Path = "",
    plan: Plan | None = None,
) -> int:
    return seed + len(names)


def test_what_is_taken_in_the_usual_sense() -> None:
    model = nn.Linear(1, 1)
    assert _taker(model) == 0
    assert _taker(model, torch.tensor(3), "a", "b", lr=2, path=Path("x")) == 5
    assert _taker(model, seed=1, lr=torch.tensor(0.5), path="x", plan=None) == 1


@pytest.mark.parametrize(
    ("arguments", "named", "problem", "fix"),
    [
        (
            (nn.Linear,),
            {},
            "takes a torch.nn.Module as model, not the class Linear.",
            "Make one first: Linear(...).",
        ),
        ((nn.Linear(1, 1), True), {}, "takes a whole number as seed, not True.", "Give a whole number."),
        (
            (nn.Linear(1, 1), "1"),
            {},
            "takes a whole number as seed, not the text '1'.",
            "Give a whole number, without quotation marks.",
        ),
        ((nn.Linear(1, 1), 1, "a", 2), {}, "takes a text as names, not 2.", "Give a text."),
        (
            (nn.Linear(1, 1),),
            {"path": b"x"},
            "takes a path as path, not the bytes b'x'.",
            "Decode it: os.fsdecode(...).",
        ),
        (
            (nn.Linear(1, 1),),
            {"plan": nn.Linear(1, 1)},
            "takes a Plan or None as plan, not a Linear.",
            "Plan the model first: initcfg.plan(model).",
        ),
    ],
)
def test_what_is_said_of_it(
    arguments: tuple[Any, ...], named: dict[str, Any], problem: str, fix: str
) -> None:
    with pytest.raises(PlanError) as told:
        _taker(*arguments, **named)
    assert told.value.problem == f"_taker {problem}" and told.value.fix == fix
    assert isinstance(told.value, TypeError)
