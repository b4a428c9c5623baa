"""Every text-style config of the three OpenMMLab packages, read by MMEngine and by us."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from initcfg._config.files import Config, ConfigDict
from initcfg.errors import ConfigError

pytestmark = [pytest.mark.peers, pytest.mark.mm]

PACKAGES = ("mmdet", "mmseg", "mmpretrain")
# Scripts that lie among the configs, and define functions only.
SCRIPTS = {"override_category.py"}
# MMEngine refuses a base that imports a package, even where (as in `_base_/models/replknet-31B_in1k.py`)
# only its `__main__` block uses it. We read these four.
WE_READ_MORE = {
    "replknet-31B-deploy_32xb64_in1k-384px.py",
    "replknet-31B-deploy_32xb64_in1k.py",
    "replknet-31B_32xb64_in1k-384px.py",
    "replknet-31B_32xb64_in1k.py",
}
# What MMEngine asks of a module that newer versions of setuptools no longer have.
PKG_RESOURCES = """
import importlib.metadata
import types

DistributionNotFound = importlib.metadata.PackageNotFoundError

def get_distribution(name):
    found = importlib.metadata.distribution(name)
    return types.SimpleNamespace(location=str(found.locate_file("")))

def fixup_namespace_packages(path, parent=None):
    # What pytest calls wherever a pkg_resources is loaded.
    pass
"""


def folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None, f"{package} is not installed"
    return Path(spec.origin).parent


def config_files() -> list[Path]:
    files = [f for package in PACKAGES for f in sorted(folder_of(package).glob(".mim/configs/**/*.py"))]
    return [file for file in files if file.name not in SCRIPTS]


@pytest.fixture
def mmengine_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """MMEngine's Config; newer setuptools has no pkg_resources, which it needs for `pkg::path` bases."""
    if importlib.util.find_spec("pkg_resources") is None:
        (tmp_path / "stand_in").mkdir()
        (tmp_path / "stand_in" / "pkg_resources.py").write_text(PKG_RESOURCES)
        monkeypatch.syspath_prepend(str(tmp_path / "stand_in"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = pytest.importorskip("mmengine.config").Config
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    return config


def difference(ours: Any, theirs: Any, path: str = "") -> str | None:
    """The first place where two configs differ, in value, type or the order of keys."""
    if type(ours) is not type(theirs):
        return f"{path}: {type(ours).__name__} and {type(theirs).__name__}"
    if isinstance(ours, dict):
        if list(ours) != list(theirs):
            return f"{path}: keys {list(ours)} and {list(theirs)}"
        pairs = [(f"{path}.{key}", ours[key], theirs[key]) for key in ours]
    elif isinstance(ours, (list, tuple)):
        if len(ours) != len(theirs):
            return f"{path}: {len(ours)} and {len(theirs)} items"
        pairs = [(f"{path}.{i}", *pair) for i, pair in enumerate(zip(ours, theirs, strict=True))]
    else:
        same = ours == theirs or (ours != ours and theirs != theirs)
        return None if same else f"{path}: {ours!r} and {theirs!r}"
    return next((found for pair in pairs if (found := difference(pair[1], pair[2], pair[0]))), None)


@pytest.mark.filterwarnings("ignore")
def test_every_config_reads_as_in_mmengine(mmengine_config: Any, capsys: pytest.CaptureFixture[str]):
    files = config_files()
    assert len(files) > 2400
    equal, refused, more, wrong = 0, [], [], []
    for file in files:
        theirs, ours = None, None
        try:
            theirs = mmengine_config.fromfile(str(file), import_custom_modules=False).to_dict()
        except Exception as error:
            refusal = f"{type(error).__name__}: {error}"
        try:
            ours = Config.fromfile(file, import_modules=False).to_dict()
        except ConfigError as error:
            assert str(file.parent.parent.name) in str(error), "the error names the file"
        if theirs is None and ours is None:
            refused.append(file.name)
        elif theirs is None:
            more.append((file.name, refusal))
        elif ours is None:
            wrong.append(f"{file}: we cannot read it")
        elif found := difference(ours, theirs):
            wrong.append(f"{file}: {found}")
        else:
            equal += 1
    with capsys.disabled():
        print(
            f"\nconfigs of {', '.join(PACKAGES)}: {len(files):,}; equal {equal:,}; refused by both "
            f"{len(refused)}; read by us alone {len(more)}; different {len(wrong)}"
        )
    assert wrong == []
    assert {name for name, _ in more} == WE_READ_MORE, more
    assert len(refused) <= 10, refused
    assert equal + len(refused) + len(more) == len(files)


@pytest.mark.filterwarnings("ignore")
def test_every_config_survives_being_written(tmp_path: Path):
    written = 0
    for file in config_files()[::10]:
        try:
            config = Config.fromfile(file, import_modules=False)
        except ConfigError:
            continue
        again = Config.fromstring(config.pretty_text, ".py", import_modules=False)
        assert difference(again.to_dict(), config.to_dict()) is None, file
        written += 1
    assert written > 200


@pytest.mark.filterwarnings("ignore")
def test_each_init_cfg_has_a_place_that_holds_it():
    found = 0
    for file in config_files()[::5]:
        try:
            config = Config.fromfile(file, import_modules=False)
        except ConfigError:
            continue
        for path in paths_of("init_cfg", config.to_dict()):
            place = config.where(path)
            assert place is not None, (file, path)
            name, _, line = place.rpartition(":")
            text = (file.parent / name).read_text(encoding="utf-8").splitlines()[int(line) - 1]
            assert "init_cfg" in text, (file, path, place)
            found += 1
    assert found > 200


def paths_of(key: str, value: Any, path: str = "") -> list[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for name, item in items:
        inner = f"{path}.{name}".lstrip(".")
        found += [inner] if name == key else paths_of(key, item, inner)
    return found


@pytest.mark.filterwarnings("ignore")
def test_a_read_base_config_is_read_by_mmengine(mmengine_config: Any, tmp_path: Path):
    (tmp_path / "schedule.py").write_text("from torch.optim import SGD\noptimizer = dict(type=SGD, lr=0.1)\n")
    file = tmp_path / "child.py"
    file.write_text(
        "from mmengine.config import read_base\n\nwith read_base():\n    from .schedule import *\n\n"
        "from torch.nn import Linear\nmodel = dict(type=Linear, init_cfg=[dict(type='Normal')])\n"
        "optimizer.update(lr=0.2)\n"
    )
    ours = Config.fromfile(file)
    assert difference(ours.to_dict(), mmengine_config.fromfile(str(file)).to_dict()) is None
    assert ours.model.type == "torch.nn.Linear"
    assert ours.optimizer == {"type": "torch.optim.SGD", "lr": 0.2}
    assert ours.where("model") is None


@pytest.mark.filterwarnings("ignore")
def test_mmengine_builds_from_our_dicts(mmengine_config: Any):
    import mmengine.registry

    registry = mmengine.registry.Registry("things", scope="initcfg_tests")
    cfg = ConfigDict(type="Thing", part=dict(type="Thing", part=None))

    @registry.register_module()
    class Thing:
        def __init__(self, part: Any) -> None:
            self.part = registry.build(part) if part else None

    assert isinstance(registry.build(cfg).part, Thing)
    assert cfg == {"type": "Thing", "part": {"type": "Thing", "part": None}}, "the config is left as it is"
