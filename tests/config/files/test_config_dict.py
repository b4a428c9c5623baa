"""Config and ConfigDict as mappings."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Mapping

import pytest

from initcfg._config.files import Config, ConfigDict
from initcfg._config.files.config_dict import DELETE_KEY
from initcfg.errors import ConfigError, ConfigKeyError, ConfigMergeError


def test_dicts_inside_are_converted_at_any_depth():
    own = defaultdict(int, x=1)
    cfg = ConfigDict({"a": [{"b": ({"c": 1},)}]}, d=OrderedDict(e={"f": 2}), own=own)
    assert cfg.a[0].b[0].c == 1
    assert type(cfg.a[0].b) is tuple
    assert cfg.d.e.f == 2
    assert cfg.own is own, "a dict of another class is kept"
    cfg.g = {"h": [{"i": 1}]}
    cfg["j"] = {"k": 1}
    assert cfg.g.h[0].i + cfg.j.k == 2
    assert isinstance(cfg, dict)
    assert ConfigDict([("a", 1)], b=2) == {"a": 1, "b": 2}
    assert ConfigDict() == {}


def test_a_missing_key_names_the_nearest():
    cfg = ConfigDict(backbone=1, neck=2)
    for look in (lambda: cfg.backbon, lambda: cfg["backbon"]):
        with pytest.raises(ConfigKeyError, match="'backbon'") as caught:
            look()
        assert caught.value.meant == ("backbone",)
        assert isinstance(caught.value, AttributeError)
        assert isinstance(caught.value, KeyError)
    with pytest.raises(AttributeError):
        del cfg.nekc
    assert not hasattr(cfg, "head")
    assert getattr(cfg, "head", None) is None
    assert cfg.get("head") is None
    assert cfg.get("head", 3) == 3
    assert copy.copy(cfg) == cfg, "no special method is looked for among the keys"


def test_attributes_that_are_methods():
    cfg = ConfigDict(items=1)
    assert cfg["items"] == 1
    assert list(cfg.items()) == [("items", 1)]
    with pytest.raises(ConfigKeyError, match="'items' of a config is a method"):
        cfg.items = 2
    del cfg["items"]
    cfg.a = 1
    del cfg.a
    assert cfg == {}


def test_update_merges_dicts_in_dicts():
    cfg = ConfigDict(a=dict(b=1), c=1)
    cfg.update({"a": {"d": 2}}, c={"e": 1})
    assert cfg == {"a": {"b": 1, "d": 2}, "c": {"e": 1}}
    assert cfg.c.e == 1
    assert (cfg | {"a": {"b": 5}}).a == {"b": 5, "d": 2}
    assert cfg.a.b == 1
    cfg |= {"f": {"g": 1}}
    assert cfg.f.g == 1
    assert cfg.setdefault("h", {"i": 1}).i == 1
    assert cfg.setdefault("h", 2) == {"i": 1}


def test_pop_and_copy_as_code_for_mmengine_wants_them():
    cfg = ConfigDict(type="Linear", a=dict(b=[1]))
    args = cfg.copy()
    assert args.pop("type") == "Linear"
    assert args.pop("missing") is None
    assert args.pop("missing", 3) == 3
    assert "type" in cfg
    assert args.a is cfg.a, "copy is shallow"
    deep = copy.deepcopy(cfg)
    deep.a.b.append(2)
    assert cfg.a.b == [1]
    assert type(deep.a) is ConfigDict
    assert dict(**cfg) == cfg


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol: int):
    cfg = ConfigDict(a=dict(b=[dict(c=(1,))]))
    again = pickle.loads(pickle.dumps(cfg, protocol))
    assert again == cfg
    assert type(again.a.b[0]) is ConfigDict
    config = Config.fromstring("a = 1\nb = dict(c=2)", ".py")
    same = pickle.loads(pickle.dumps(config, protocol))
    assert same == config
    assert same.where("b.c") == config.where("b.c") == "<text>.py:2"
    assert same.text == config.text


def test_merge_understands_delete():
    cfg = ConfigDict(a=dict(b=1), c=dict(d=1))
    other = {"a": {DELETE_KEY: True, "e": 2}, "c": {"f": 2}}
    cfg.merge(other)
    assert cfg == {"a": {"e": 2}, "c": {"d": 1, "f": 2}}
    assert other["a"] == {"_delete_": True, "e": 2}, "what is merged is left as it is"
    with pytest.raises(ConfigMergeError, match=r"'a\.e' is a dict here, but int 2"):
        cfg.merge({"a": {"e": {}}})


def test_to_dict_is_plain_and_a_copy():
    cfg = ConfigDict(a=[dict(b=(dict(c=1),))])
    values = cfg.to_dict()
    assert type(values) is type(values["a"][0]) is type(values["a"][0]["b"][0]) is dict
    values["a"][0]["b"] = 0
    assert cfg.a[0].b[0].c == 1


def test_config_is_a_mapping():
    cfg = Config({"model": {"depth": 18}, "lr": 0.1})
    assert isinstance(cfg, Mapping)
    assert len(cfg) == 2
    assert list(cfg) == list(cfg.keys()) == ["model", "lr"]
    assert cfg == {"model": {"depth": 18}, "lr": 0.1}
    assert "model" in cfg
    assert "x" not in cfg
    cfg.model.depth = 50
    cfg.model["width"] = 1
    cfg.head = {"a": {"b": 1}}
    cfg["neck"] = dict(c=1)
    assert (cfg["model"]["depth"], cfg.head.a.b, cfg.neck.c) == (50, 1, 1)
    assert cfg.pop("lr") == 0.1
    assert cfg.pop("lr") is None
    assert cfg.get("lr", 3) == 3
    del cfg.neck
    del cfg["head"]
    assert dict(**cfg) == {"model": {"depth": 50, "width": 1}}
    cfg.update(model=1, z=2)
    assert cfg.to_dict() == {"model": 1, "z": 2}
    assert repr(cfg) == "Config (path: None): {'model': 1, 'z': 2}"


def test_config_names_the_nearest_keys():
    cfg = Config({"model": 1})
    for look in (lambda: cfg.modle, lambda: cfg["modle"], lambda: cfg.__delitem__("modle")):
        with pytest.raises(ConfigKeyError) as caught:
            look()
        assert caught.value.meant == ("model",)
    with pytest.raises(ConfigKeyError, match="'where' of a config cannot be set"):
        cfg.where = 1
    assert cfg.filename is None
    assert cfg.text == ""


def test_config_copies():
    cfg = Config({"a": {"b": [1]}}, filename="x.py", cfg_text="text", env_variables={"A": "1"})
    shallow, deep = cfg.copy(), copy.deepcopy(cfg)
    shallow.c = 1
    assert "c" not in cfg
    assert shallow.a is cfg.a
    deep.a.b.append(2)
    assert cfg.a.b == [1]
    for other in (shallow, deep):
        assert (other.filename, other.text, other.env_variables) == ("x.py", "text", {"A": "1"})


def test_config_from_what_is_no_dict():
    for wrong in ([1], "a = 1", 3):
        with pytest.raises(ConfigError, match="Config takes a dict or None as cfg_dict"):
            Config(wrong)  # type: ignore[arg-type]
    assert Config(Config({"a": 1})) == {"a": 1}
    assert Config() == {}
