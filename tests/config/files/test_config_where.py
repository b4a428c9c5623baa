"""The place where a value was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from initcfg._config.files import Config

BASE = """\
norm = dict(type='BN',
            eps=1)
model = dict(
    type='A',
    backbone=dict(depth=18, norm=norm,
                  init_cfg=[
                      dict(type='Kaiming'),
                      dict(type='Constant',
                           val=1)]),
    neck={'n': 1,
          'm': 2})
"""
CHILD = """\
_base_ = ['bases/base.py']
common = dict(x=1,
              y=2)
model = dict(
    backbone=dict(
        depth=50),
    neck=dict(_delete_=True,
              k=3),
    head=dict(**common,
              norm=_base_.norm,
              z=dict(dict(q=1), r=2)))
head2 = model['head']
made = [dict(a=i)
        for i in range(2)]
_base_.model.backbone.init_cfg[1]['val'] = 0
model['extra'] = dict(e=1)
model.update(late=1)
p = {{_base_.model.backbone}}
u, v = 1, dict(w=2)
"""
PLACES = {
    "model": "child.py:4",
    "model.type": "bases/base.py:4",
    "model.backbone": "child.py:5",
    "model.backbone.depth": "child.py:6",
    "model.backbone.norm": "bases/base.py:5",
    "model.backbone.norm.eps": "bases/base.py:2",
    "model.backbone.init_cfg": "bases/base.py:6",
    "model.backbone.init_cfg.0": "bases/base.py:7",
    "model.backbone.init_cfg[0].type": "bases/base.py:7",
    "model.backbone.init_cfg.1": "bases/base.py:8",
    "model.backbone.init_cfg.1.val": "child.py:15",
    "model.neck.k": "child.py:8",
    "model.neck.n": None,
    "model.head.x": "child.py:2",
    "model.head.y": "child.py:3",
    "model.head.norm": "child.py:10",
    "model.head.norm.eps": "bases/base.py:2",
    "model.head.z.q": "child.py:11",
    "model.head.z.r": "child.py:11",
    "head2.z.r": "child.py:11",
    "made": "child.py:13",
    "made.1.a": "child.py:13",
    "model.extra.e": "child.py:16",
    "model.late": "child.py:17",
    "p": "child.py:18",
    "p.depth": "bases/base.py:5",
    "p.init_cfg.1.type": "bases/base.py:8",
    "v.w": "child.py:19",
    "model.no_such": None,
    "model.backbone.init_cfg.7": None,
    "": None,
    "a..b": None,
}


@pytest.fixture
def child(tmp_path: Path) -> Path:
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "base.py").write_text(BASE)
    (tmp_path / "child.py").write_text(CHILD)
    return tmp_path / "child.py"


@pytest.mark.parametrize("path", PLACES)
def test_python(child: Path, path: str):
    assert Config.fromfile(child).where(path) == PLACES[path]


def test_yaml_and_json(child: Path):
    file = child.with_name("child.yaml")
    file.write_text(
        "_base_: child.py\nshared: &s\n  a: 1\nmodel:\n  <<: *s\n  backbone:\n    init_cfg:\n"
        "      - type: Normal\n        std: 1\n      - {type: Uniform}\n  neck: {_delete_: true, j: 1}\n"
    )
    config = Config.fromfile(file)
    assert config.where("model.a") == "child.yaml:3"
    assert config.where("model.backbone.init_cfg.0.std") == "child.yaml:9"
    assert config.where("model.backbone.init_cfg.1.type") == "child.yaml:10"
    assert config.where("model.backbone.depth") == "child.py:6"
    assert config.where("model.neck.j") == "child.yaml:11"
    file = child.with_name("child.json")
    file.write_text('{"_base_": "child.py",\n "model": {"backbone":\n  {"depth": 1}}}')
    assert Config.fromfile(file).where("model.backbone.depth") == "child.json:3"
    assert Config.fromfile(file).where("model.type") == "bases/base.py:4"


def test_toml_has_no_places_but_its_bases_do(child: Path):
    file = child.with_name("child.toml")
    file.write_text("_base_ = 'child.py'\nnew = 1")
    assert Config.fromfile(file).where("new") is None
    assert Config.fromfile(file).where("model.backbone.depth") == "child.py:6"


def test_a_value_set_later_has_no_place(child: Path):
    config = Config.fromfile(child, overrides=["model.backbone.depth=101", "model.neck=dict(k=1)"])
    assert config.where("model.backbone.depth") is None
    assert config.where("model.neck.k") is None
    assert config.where("model.head.x") == "child.py:2"
    config.head2 = {"z": 1}
    assert config.where("head2.z") is None
    config.merge_from_dict({"model.head": {"_delete_": True, "x": 1}})
    assert config.where("model.head.x") is None


def test_no_place_is_ever_an_error(child: Path):
    assert Config({"a": 1}).where("a") is None
    config = Config.fromfile(child)
    config.model.backbone = [1, 2]  # no longer what the file says
    for path in ("model.backbone.0", "model.backbone.x", "[[", "....", "model.backbone.-1", None, 3):
        config.where(path)  # type: ignore[arg-type]


def test_the_place_survives_placeholders_and_external_folders(tmp_path: Path):
    file = tmp_path / "a.py"
    file.write_text("root = '{{ fileDirname }}'\nmodel = dict(\n    path='{{ fileBasename }}',\n    n=1)\n")
    assert Config.fromfile(file).where("model.n") == "a.py:4"
