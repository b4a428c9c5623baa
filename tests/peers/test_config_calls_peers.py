"""The same statements on our Config and ConfigDict and on MMEngine's: what they give, what they raise."""

from __future__ import annotations

import argparse
import copy
import pickle
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

import initcfg as ours
from initcfg.compat import mmengine as compat
from initcfg.errors import ConfigError

pytestmark = [pytest.mark.peers, pytest.mark.mm]


@pytest.fixture(scope="module")
def theirs(stand_ins: None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmengine.config

        return mmengine.config


# On `a`, a ConfigDict; each gives a value, or raises.
ON_A_DICT = (
    "a.deepcopy()",
    "type(a.deepcopy().x) is type(a)",
    "a.deepcopy().x is a.x",
    "a.copy().x is a.x",
    "a.freeze()",
    "a.freeze() or a.update(x=dict(y=5)) or a",
    "a.freeze() or setattr(a.x, 'y', 7) or a",
    "a.freeze() or a.__setitem__('new', 1)",
    "a.freeze() or setattr(a.x, 'new', 1)",
    "a.freeze() or a.update(new=1)",
    "a.freeze() or a.setdefault('new', 1)",
    "a.freeze() or a.setdefault('n', 1)",
    "a.freeze() or a.unfreeze() or setattr(a.x, 'new', 1) or a",
    "a.freeze() or a.pop('n')",
    "a.freeze() or a.deepcopy().setdefault('new', 1)",
    "a.build_lazy(3)",
    "a.lazy",
    "type(a).lazy",
    "a.missing",
    "a['missing']",
    "a.x.missing",
    "hasattr(a, 'missing')",
    "getattr(a, 'missing', 3)",
    "a.get('missing')",
    "a.get('missing', 3)",
    "a.pop('missing')",
    "a.pop('x').y",
    "a.pop('missing', 3)",
    "'x' in a",
    "list(a)",
    "list(a.keys())",
    "list(a.values())",
    "list(a.items())",
    "dict(**a)",
    "dict(a)",
    "{**a, 'z': 1}",
    "a | dict(x=dict(z=3))",
    "dict(x=dict(z=3), q=1) | a",
    "a.__ior__(dict(x=dict(z=3)))",
    "a.update(dict(x=dict(z=3)), n=9) or a",
    "a.update(x=1) or a",
    "a.merge(dict(x=dict(z=3))) or a",
    "a.merge(dict(x=dict(_delete_=True, z=3))) or a",
    "a.setdefault('x', 5)",
    "a.setdefault('new', 5)",
    "a.setdefault('new', dict(k=1)) and a.new.k",
    "a.to_dict()",
    "type(a.to_dict()['x'])",
    "copy.copy(a)",
    "copy.deepcopy(a)",
    "pickle.loads(pickle.dumps(a))",
    "setattr(a, 'w', dict(z=1)) or type(a.w) is type(a)",
    "setattr(a, 'w', [dict(z=1)]) or type(a.w[0]) is type(a)",
    "setattr(a, 'items', 1)",
    "delattr(a, 'x') or a",
    "delattr(a, 'missing')",
    "a.__delitem__('missing')",
    "a == dict(x=dict(y=1), n=2)",
    "a == a.deepcopy()",
    "a != 3",
    "isinstance(a, dict)",
    "len(a)",
    "bool(a)",
    "a.clear() or a",
    "a.popitem()",
    "repr(a)",
    "str(a)",
    "type(a)(OrderedDict(p=OrderedDict(q=1))).p.q",
    "type(a)(k=(dict(l=1),)).k[0].l",
    "type(a)([('p', 1), ('q', dict(r=2))])",
    "type(a)(None or {})",
)
# On `c`, a Config.
ON_A_CONFIG = (
    "c.model",
    "c.model.deepcopy()",
    "c._cfg_dict",
    "type(c._cfg_dict) is type(c.model)",
    "c.filename",
    "c.env_variables",
    "c.text",
    "c.get('missing')",
    "c.get('model').type",
    "c.missing",
    "c['missing']",
    "hasattr(c, 'missing')",
    "list(c)",
    "list(c.keys())",
    "list(c.values())",
    "list(c.items())",
    "len(c)",
    "'model' in c",
    "c.pop('lr')",
    "c.pop('missing')",
    "c.pop('missing', 3)",
    "setattr(c, 'w', dict(z=1)) or c.w.z",
    "c.__setitem__('w', dict(z=1)) or c.w.z",
    "c.update(dict(model=dict(depth=50))) or c.to_dict()",
    "c.update(model=dict(depth=50)) or c.to_dict()",
    "c.merge(dict(model=dict(_delete_=True, depth=50))) or c.to_dict()",
    "c.setdefault('new', dict(k=1)) and c.new.k",
    "c.setdefault('lr', 5)",
    "c.to_dict()",
    "type(c.to_dict()['model'])",
    "c.deepcopy()",
    "c.freeze() or c.__setitem__('new', 1)",
    "c.freeze() or setattr(c, 'new', 1)",
    "c.freeze() or c.unfreeze() or setattr(c, 'new', 1) or c.to_dict()",
    "c.build_lazy(3)",
    "c.lazy",
    "c.copy().to_dict()",
    "c.copy().model is c.model",
    "copy.deepcopy(c).to_dict()",
    "pickle.loads(pickle.dumps(c)).to_dict()",
    "repr(c)",
    "c.merge_from_dict({'model.depth': 50, 'p.0.type': 'D', 'x.y': 1}) or c.to_dict()",
    "c.merge_from_dict({'p': {'0': dict(a=1)}}) or c.to_dict()",
    "c.merge_from_dict({'p.0.a': 1}, allow_list_keys=False)",
    "c.merge_from_dict({'p.9.a': 1})",
    "c.merge_from_dict({'lr.a': 1})",
    "type(c)(dict(filename=1))",
    "type(c)([1])",
    "type(c)()",
    "type(c)(dict(a=1), cfg_text='x', filename='f.py', env_variables=dict(V=1)).text",
    "type(c)(dict(a=1), format_python_code=False).a",
    "type(c).fromstring('a = 1', '.py').a",
    "type(c).fromstring('a: 1', '.yaml').a",
    "type(c).fromstring('a = 1', '.txt')",
    "type(c).fromstring('a = ', '.py')",
    "type(c).fromfile('no_such_file.py')",
)


def outcome(module: Any, statement: str) -> Any:
    """What a statement gives, as plain data; or the built-in exception that it raises."""
    a = module.ConfigDict(x=dict(y=1), n=2)
    c = module.Config(dict(model=dict(type="ResNet", depth=18), p=[dict(type="A"), dict(type="B")], lr=0.1))
    names = {"a": a, "c": c, "copy": copy, "pickle": pickle, "OrderedDict": OrderedDict}
    try:
        return eval(statement, names)
    except Exception as error:
        return error


@pytest.mark.parametrize("statement", [*ON_A_DICT, *ON_A_CONFIG])
def test_a_statement_does_the_same(theirs: Any, statement: str):
    mine, original = outcome(ours, statement), outcome(theirs, statement)
    if isinstance(original, Exception):
        builtin = next(kind for kind in type(original).__mro__ if kind.__module__ == "builtins")
        assert isinstance(mine, builtin), (mine, original)
        if isinstance(original, AttributeError) and "no attribute" in str(original):
            assert str(mine).startswith(str(original))
        return
    assert not isinstance(mine, Exception), (mine, original)
    if isinstance(original, (theirs.Config, theirs.ConfigDict)):
        assert mine.to_dict() == original.to_dict()
        assert list(mine) == list(original)
    else:
        assert mine == original


def test_every_public_name_is_there(theirs: Any):
    assert [
        n for n in dir(theirs.ConfigDict) if not n.startswith("_") and not hasattr(ours.ConfigDict, n)
    ] == []
    assert [n for n in dir(theirs.Config) if not n.startswith("_") and not hasattr(ours.Config, n)] == []


@pytest.mark.parametrize(
    "values",
    [
        ["a=1", "b.c=2.5", "d=True", "e=None", "f=x y"],
        ["a=1,2", "b=[1,2]", "c=(1,2)", "d=[(1,2),[a,b],c]", "e=()", "f=1,", "g='a','b'"],
        ["a=b=c", "a.0.type=X", 'q="[1, 2]"', "n=nan,inf", "none=none", "x="],
    ],
)
def test_dict_action(theirs: Any, values: list[str]):
    results = []
    for module in (ours, theirs):
        parser = argparse.ArgumentParser()
        parser.add_argument("--cfg-options", nargs="+", action=module.DictAction)
        parsed = parser.parse_args(["--cfg-options", *values, "--cfg-options", "again=1"])
        results.append(repr(parsed.cfg_options))
    assert results[0] == results[1]


def test_auto_argparser(theirs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "config.py"
    file.write_text(
        "lr = 0.1\nname = 'x'\non = True\nmodel = dict(depth=18, widths=[1, 2], inner=dict(a='b'))\n"
    )
    monkeypatch.setattr("sys.argv", ["train.py", str(file)])
    parsed = []
    for module in (ours, theirs):
        parser, cfg = module.Config.auto_argparser("A script.")
        assert cfg.model.depth == 18
        assert parser.description == "A script."
        arguments = [str(file), "--model.depth", "50", "--model.widths", "3", "4", "--lr", "1e-3", "--on"]
        parsed.append(vars(parser.parse_args(arguments)))
    assert parsed[0] == parsed[1]


def test_lazy_objects_are_what_they_stand_for(theirs: Any):
    from mmengine.config.lazy import LazyAttr, LazyObject

    for module in (ours, theirs):
        lazy = LazyAttr("OrderedDict", LazyObject("collections"))
        cfg = module.ConfigDict(type=lazy, parts=[dict(type=lazy)])
        assert cfg.type is OrderedDict
        assert cfg["type"] is OrderedDict
        assert cfg.get("type") is OrderedDict
        assert dict(**cfg)["type"] is OrderedDict
        assert cfg.parts[0].type is OrderedDict
        assert cfg.build_lazy(lazy) is OrderedDict
        assert cfg.pop("type") is OrderedDict


def test_arguments_of_fromfile(theirs: Any, tmp_path: Path):
    (tmp_path / "config.py").write_text(
        "custom_imports = dict(imports=['no_such_module_there'])\n"
        "a = '{{fileBasename}}'\nb = '{{$NO_SUCH_VAR:3}}'\n"
    )
    file = str(tmp_path / "config.py")
    for module in (ours, theirs):
        read = module.Config.fromfile
        with pytest.raises(ImportError):
            read(file)
        assert read(file, import_custom_modules=False).a == "config.py"
        assert read(file, False, False).a == "{{fileBasename}}"
        assert read(file, import_custom_modules=False, lazy_import=False, format_python_code=False).b == "3"
    (tmp_path / "base.py").write_text("from collections import OrderedDict\nmodel = dict(type=OrderedDict)\n")
    (tmp_path / "child.py").write_text(
        "from mmengine.config import read_base\nwith read_base():\n    from .base import *\nx = 1\n"
    )
    child = str(tmp_path / "child.py")
    assert ours.Config.fromfile(child, lazy_import=True).to_dict()["x"] == 1
    with pytest.raises(ConfigError, match="lazy_import=False refuses"):
        ours.Config.fromfile(child, lazy_import=False)


def test_compat_has_the_same_names(theirs: Any):
    assert compat.DictAction is ours.DictAction
    assert compat.ConfigDict is ours.ConfigDict
    assert issubclass(compat.Config, ours.Config)
    assert compat.Config(dict(a=1)).deepcopy() == {"a": 1}


def test_diff(theirs: Any):
    lines = []
    for module in (ours, theirs):
        text = module.Config.diff(module.Config(dict(depth=18)), module.Config(dict(depth=50)))
        lines.append(re.findall(r"^[+-](?![+-]).*$", text, re.MULTILINE))
        assert module.Config.diff(module.Config(dict(depth=18)), module.Config(dict(depth=18))).strip() == ""
    assert lines[0] == lines[1] == ["-depth = 18", "+depth = 50"]
