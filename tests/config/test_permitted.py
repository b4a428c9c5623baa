"""What a ``type`` that stands in a file of data may name: checked before anything is called."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import initcfg
from initcfg import MODELS, Config, Registry, build, build_from_cfg
from initcfg._config.permitted import makes_module
from initcfg.errors import BuildError, InitcfgError, UnknownInitializerError

CALLS: list[str] = []


def unsaid(width: int = 2):
    CALLS.append("unsaid")
    return nn.Linear(width, width)


def said(width: int = 2) -> nn.Module:
    return nn.Linear(width, width)


def number() -> int:
    CALLS.append("number")
    return 1


@dataclass
class Sizes:
    width: int = 2


class Other:
    def __init__(self, **_: Any) -> None:
        CALLS.append("other")


class Net(nn.Module):
    def __init__(
        self, sizes: Sizes | None = None, inner: Any = None, many: list[Sizes] | None = None
    ) -> None:
        super().__init__()
        sizes = build_from_cfg(sizes, MODELS) if isinstance(sizes, dict) else sizes or Sizes()
        self.fc = nn.Linear(sizes.width, sizes.width)
        self.inner = inner if inner is None else build_from_cfg(inner, MODELS)


class Taker(nn.Module):
    """Builds what it is given with a function of its own, as other libraries do."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        self.parts = parts


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    monkeypatch.setitem(sys.modules, "typed", sys.modules[__name__])
    for each in (Net, Taker, Sizes, Other):
        monkeypatch.setattr(each, "__module__", "typed")


def read(tmp_path: Path, model: Any, suffix: str = ".json") -> Config:
    cfg = Config(dict(model=model))
    file = tmp_path / f"config{suffix}"
    file.write_text(cfg.dump(file_format=suffix))
    return Config.fromfile(file)


CALLED_BY_NAME = [
    "os.system",
    "subprocess.Popen",
    "builtins.int",
    "builtins.exec",
    "torch.load",
    "shutil.rmtree",
    "typed.unsaid",
    "typed:unsaid",
    "typed.number",
    "typed.Other",
    "typed.Sizes",
    "os.path.os.system",
    "initcfg._config.files.reading.os.system",
]


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
@pytest.mark.parametrize("name", CALLED_BY_NAME)
def test_what_is_no_module_is_refused_in_every_place(tmp_path: Path, name: str, suffix: str):
    evil = dict(type=name, command="touch called")
    layer = dict(type="Linear", in_features=1, out_features=1)
    for model in (
        evil,
        dict(type="typed.Net", inner=evil),
        dict(type="typed.Taker", a=[1, dict(b=dict(c=[evil]))]),
        dict(type="typed.Taker", **{"backbone.type": name}),
        dict(**layer, init_cfg=evil),
        dict(**layer, init_cfg=[dict(param="weight", **evil)]),
        dict(
            type="Linear", in_features=1, out_features=1, init_cfg=dict(type="Constant", val=0, override=evil)
        ),
    ):
        cfg = read(tmp_path, model, suffix)
        for way in (
            lambda cfg=cfg: build(tmp_path / f"config{suffix}"),
            lambda cfg=cfg: build(cfg),
            lambda cfg=cfg: MODELS.build(cfg.model),
            lambda cfg=cfg: MODELS.build(copy.deepcopy(cfg).model.copy()),
            lambda cfg=cfg: MODELS.build(pickle.loads(pickle.dumps(cfg.model))),
        ):
            with pytest.raises(InitcfgError, match=r"stands in a config file|is no initializer"):
                way()
    assert CALLS == []


@pytest.mark.parametrize("name", ["typed.said", "typed:said", "typed.Net", "torch.nn.Identity", "Identity"])
def test_what_makes_modules_is_built(tmp_path: Path, name: str):
    assert isinstance(build(read(tmp_path, dict(type=name))), nn.Module)


def test_a_dataclass_that_the_annotation_asks_for(tmp_path: Path):
    sizes = dict(type="typed.Sizes", width=3)
    assert build(read(tmp_path, dict(type="typed.Net", sizes=sizes))).fc.in_features == 3
    assert build(read(tmp_path, dict(type="typed.Net", many=[sizes])))
    with pytest.raises(BuildError, match=r"typed\.Sizes' .* a class, but no torch\.nn\.Module"):
        build(read(tmp_path, dict(type="typed.Net", inner=sizes)))
    with pytest.raises(BuildError, match=r"typed\.Other"):
        build(read(tmp_path, dict(type="typed.Net", sizes=dict(type="typed.Other"))))


def test_python_and_the_command_line_are_the_users_own_word(tmp_path: Path):
    assert isinstance(build(dict(type="typed.unsaid")), nn.Linear)
    file = tmp_path / "config.py"
    file.write_text("model = dict(type='typed.unsaid', width=3)")
    assert build(file).in_features == 3
    child = tmp_path / "child.yaml"
    child.write_text("_base_: config.py\nmodel: {width: 5}")
    assert build(child).in_features == 5
    data = read(tmp_path, dict(type="Linear", width=4))
    data.merge_from_dict({"model.type": "typed.unsaid"})
    assert build(data).in_features == 4
    data = read(tmp_path, dict(type="Linear", width=4))
    data.model.type = "typed.unsaid"
    assert build(data).in_features == 4
    overridden = Config.fromfile(tmp_path / "config.json", overrides=["model.type=typed.unsaid"])
    assert build(overridden).in_features == 4


def test_an_override_beside_the_type_leaves_it_the_files(tmp_path: Path):
    read(tmp_path, dict(type="typed.unsaid", width=4))
    cfg = Config.fromfile(tmp_path / "config.json", overrides=["model.width=6", "other=1"])
    with pytest.raises(BuildError, match="stands in a config file"):
        build(cfg)


@pytest.mark.parametrize(
    "child",
    [
        "_base_: base.py\nmodel: {type: typed.unsaid}",
        "_base_: base.py\nmodel: {_delete_: true, type: typed.unsaid}",
        "_base_: base.yaml\nmodel: {type: '{{_base_.name}}'}",
        "_base_: base.yaml\nmodel: '{{_base_.whole}}'",
    ],
)
def test_whoever_wrote_the_type_counts(tmp_path: Path, child: str):
    (tmp_path / "base.py").write_text("model = dict(type='Linear', in_features=1, out_features=1)")
    (tmp_path / "base.yaml").write_text("name: typed.unsaid\nwhole: {type: typed.unsaid}")
    (tmp_path / "child.yaml").write_text(child)
    with pytest.raises(BuildError, match="stands in a config file"):
        build(tmp_path / "child.yaml")
    assert CALLS == []


def test_registered_functions_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(MODELS, "_module_dict", dict(MODELS._module_dict))
    MODELS.register_module(name="Unsaid", module=unsaid)
    assert isinstance(build(read(tmp_path, dict(type="Unsaid"))), nn.Linear)
    things = Registry("thing", scope="typed")
    things.register_module(name="Sizes", module=Sizes)
    assert things.build(read(tmp_path, dict(type="Sizes", width=7)).model) == Sizes(7)
    assert things.build(dict(type="typed.Sizes", width=7)) == Sizes(7)
    with pytest.raises(BuildError, match="stands in a config file"):
        things.build(read(tmp_path, dict(type="os.system", command="x")).model)


def test_a_rule_names_initializers_alone():
    for type_ in ("os.system", "typed.unsaid", "torch.nn.Linear", "builtins.int"):
        with pytest.raises(UnknownInitializerError):
            initcfg.plan(nn.Linear(1, 1), dict(type=type_, param="weight"))

    class Filled:
        def __init__(self, layer: str) -> None:
            self.layer = layer

        def __call__(self, module: nn.Module) -> None:
            nn.init.ones_(module.weight)  # type: ignore[arg-type]

    plan = initcfg.plan(nn.Linear(1, 1), dict(type=Filled, layer="Linear"))
    assert plan["weight"].rule == "init_cfg"


def test_functions_and_what_they_are_said_to_return():
    class Made(nn.Module):
        @classmethod
        def make(cls) -> Made:
            return cls()

    assert makes_module(functools.partial(said, width=3))
    assert not makes_module(functools.partial(unsaid, width=3))
    assert not makes_module(print) and not makes_module(number) and not makes_module(3)
    assert makes_module(Made)


def test_the_file_stays_plain_data(tmp_path: Path):
    cfg = read(tmp_path, dict(type="typed.said", width=3))
    assert cfg.to_dict() == {"model": {"type": "typed.said", "width": 3}}
    assert json.loads(cfg.dump(file_format=".json")) == cfg.to_dict()
    assert cfg == Config(cfg.to_dict())
