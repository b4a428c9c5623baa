"""Reading config files: formats, bases, placeholders, imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from initcfg._config.files import Config
from initcfg.errors import ConfigError, ConfigExecutionError, PythonRefusedError

EXPECTED = {"model": {"type": "ResNet", "depth": 18, "init_cfg": [{"type": "Normal", "std": 0.001}]}}
TEXTS = {
    ".py": "model = dict(type='ResNet', depth=18, init_cfg=[dict(type='Normal', std=1e-3)])",
    ".yaml": "model:\n  type: ResNet\n  depth: 18\n  init_cfg:\n    - {type: Normal, std: 1e-3}\n",
    ".yml": "model: {type: ResNet, depth: 18, init_cfg: [{type: Normal, std: 1.0e-3}]}",
    ".json": json.dumps(EXPECTED),
    ".toml": "[model]\ntype = 'ResNet'\ndepth = 18\n[[model.init_cfg]]\ntype = 'Normal'\nstd = 1e-3\n",
}


def write(folder: Path, **files: str) -> Path:
    """Write files, `a_py` for `a.py`; give the path of the last."""
    path = folder
    for name, text in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", TEXTS)
def test_each_format_gives_the_same(tmp_path: Path, suffix: str):
    file = tmp_path / f"model{suffix}"
    file.write_text(TEXTS[suffix])
    for config in (
        Config.fromfile(file),
        Config.fromfile(str(file)),
        Config.fromstring(TEXTS[suffix], suffix),
    ):
        assert config.to_dict() == EXPECTED
        assert config.model.init_cfg[0].std == 0.001
    assert Config.fromfile(str(file)).filename == str(file)
    assert TEXTS[suffix] in Config.fromfile(file).text


def test_empty_files_are_empty_configs(tmp_path: Path):
    for name in ("a_py", "a_yaml", "a_toml"):
        assert len(Config.fromfile(write(tmp_path, **{name: ""}))) == 0


def test_bases_merge_deeply_and_across_formats(tmp_path: Path):
    file = write(
        tmp_path,
        model_py="model = dict(type='A', backbone=dict(depth=18, stem=dict(width=64)), neck=dict(n=1))",
        schedule_yaml="lr: 0.1\nsteps: [1, 2]\n",
        child_json='{"_base_": ["model.py", "schedule.yaml"], '
        '"model": {"backbone": {"depth": 50}}, "steps": [3]}',
    )
    assert Config.fromfile(file).to_dict() == {
        "model": {"type": "A", "backbone": {"depth": 50, "stem": {"width": 64}}, "neck": {"n": 1}},
        "lr": 0.1,
        "steps": [3],
    }
    grandchild = write(
        tmp_path, last_toml="_base_ = 'child.json'\nlr = 0.2\n[model.neck]\n_delete_ = true\nm = 2\n"
    )
    config = Config.fromfile(grandchild)
    assert config.model.neck == {"m": 2}
    assert config.lr == 0.2
    assert list(config) == ["model", "lr", "steps"], "the keys of the base come first"


def test_delete_stays_where_there_is_nothing_to_delete(tmp_path: Path):
    file = write(
        tmp_path, base_py="a = dict(b=1)", child_py="_base_ = 'base.py'\nc = dict(_delete_=True, d=1)"
    )
    assert Config.fromfile(file).c == {"_delete_": True, "d": 1}, "as in MMEngine"


def test_delete_false_merges(tmp_path: Path):
    file = write(
        tmp_path, base_py="a = dict(b=1)", child_py="_base_ = 'base.py'\na = dict(_delete_=False, c=2)"
    )
    assert Config.fromfile(file).a == {"b": 1, "c": 2}


def test_python_references_to_the_base(tmp_path: Path):
    file = write(
        tmp_path,
        base_py="model = dict(depth=18, norm=dict(type='BN'))\npipeline = [dict(a=1), dict(a=2)]\nextra = 1",
        child_py="""
_base_ = ['base.py']
head = dict(norm=_base_.model.norm, first=_base_['pipeline'][0])
head['norm']['eps'] = 1
depths = [_base_.model.depth * i for i in range(3)]
_base_.pipeline[1]['a'] = 3
_base_.model.depth = 34
_base_.model.update(norm=dict(momentum=0.1))
del _base_.extra
""",
    )
    config = Config.fromfile(file)
    assert config.head == {"norm": {"type": "BN", "eps": 1, "momentum": 0.1}, "first": {"a": 1}}
    assert config.depths == [0, 18, 36]
    assert config.pipeline == [{"a": 1}, {"a": 3}]
    assert config.model == {"depth": 34, "norm": {"type": "BN", "eps": 1, "momentum": 0.1}}
    assert "extra" not in config
    assert config.head.norm is not config.model.norm, "values are never shared"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("child_py", "_base_ = 'base.py'\nb = dict(c={{_base_.model.depth}}, d=[{{ _base_.model }}])"),
        ("child_py", "_base_ = 'base.py'\nb = dict(c='{{_base_.model.depth}}', d=({{_base_.model}}, )[:1])\n"
                     "b['d'] = list(b['d'])"),
        ("child_yaml", "_base_: base.py\nb: {c: '{{_base_.model.depth}}', d: ['{{_base_.model}}']}"),
        ("child_json", '{"_base_": "base.py",'
                       '"b": {"c": "{{_base_.model.depth}}", "d": ["{{_base_.model}}"]}}'),
        ("child_toml", "_base_ = 'base.py'\n[b]\nc = '{{_base_.model.depth}}'\nd = ['{{_base_.model}}']"),
    ],
)  # fmt: skip
def test_placeholders_of_the_base(tmp_path: Path, name: str, text: str):
    config = Config.fromfile(write(tmp_path, base_py="model = dict(depth=18)", **{name: text}))
    assert config.b == {"c": 18, "d": [{"depth": 18}]}
    assert config.b.d[0] is not config.model


def test_a_placeholder_can_index_a_list(tmp_path: Path):
    file = write(tmp_path, base_py="a = [dict(b=7)]", child_py="_base_ = 'base.py'\nc = {{_base_.a.0.b}}")
    assert Config.fromfile(file).c == 7


def test_predefined_variables(tmp_path: Path):
    text = "a = '{{ fileDirname }}|{{fileBasename}}|{{ fileBasenameNoExtension}}|{{fileExtname }}'"
    file = write(tmp_path, some_py=text)
    assert Config.fromfile(file).a == f"{tmp_path}|some.py|some|.py"
    assert Config.fromfile(file, use_predefined_variables=False).a.startswith("{{ fileDirname }}")


def test_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = write(tmp_path, env_py="root = '{{$INITCFG_ROOT:/data}}/x'\nn = {{'$INITCFG_N:80'}}\n")
    assert Config.fromfile(file).to_dict() == {"root": "/data/x", "n": 80}
    monkeypatch.setenv("INITCFG_N", "3")
    config = Config.fromfile(file)
    assert config.n == 3
    assert config.env_variables == {"INITCFG_N": "3"}
    assert "{{$INITCFG_ROOT" in Config.fromstring("a: '{{$INITCFG_ROOT:x}}'", ".yaml").text


def test_an_environment_variable_without_value_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigError, match="'INITCFG_MISSING' is not set") as caught:
        Config.fromfile(write(tmp_path, env_py="\nroot = '{{$INITCFG_MISSING:}}'"))
    assert caught.value.where == f"{tmp_path}/env.py:2"


def test_deprecation_is_a_warning_and_no_key(tmp_path: Path):
    file = write(tmp_path, old_py="_deprecation_ = dict(expected='new.py', reference='link')\na = 1")
    with pytest.warns(DeprecationWarning, match=r"old\.py is deprecated\. Use new\.py in its place"):
        assert Config.fromfile(file).to_dict() == {"a": 1}


def test_what_a_python_config_leaves_behind(tmp_path: Path):
    file = write(
        tmp_path,
        code_py="""
import copy
import os.path
from math import sqrt as root
from collections import OrderedDict
def double(x):
    return [root(y) * 2 for y in x]
a = double([4])
b = copy.copy(a)
c = OrderedDict(x=(1, dict(y=2)))
__hidden__ = 1
d = os.path.basename(__file__)
""",
    )
    config = Config.fromfile(file)
    assert config.to_dict() == {"a": [4.0], "b": [4.0], "c": {"x": (1, {"y": 2})}, "d": "code.py"}
    assert config.c.x[1].y == 2


def test_an_import_that_only_main_uses_does_not_run(tmp_path: Path):
    file = write(
        tmp_path,
        main_py="from no_such_package import build\na = 1\nif __name__ == '__main__':\n    build(a)\n",
    )
    assert Config.fromfile(file).to_dict() == {"a": 1}


def test_an_import_of_an_unused_name_runs_for_its_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, registers_itself_py="")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = write(tmp_path, effect_py="import registers_itself\na = 1\n")
    assert Config.fromfile(file, import_modules=False).to_dict() == {"a": 1}
    assert "registers_itself" not in sys.modules
    assert Config.fromfile(file).to_dict() == {"a": 1}
    assert sys.modules.pop("registers_itself")


@pytest.mark.parametrize("line", ["imports = ['{}']", "custom_imports = dict(imports=['{}'])"])
def test_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, my_models_py="")
    file = write(tmp_path, conf_py=line.format("my_models"))
    Config.fromfile(file, import_modules=False)
    assert "my_models" not in sys.modules
    Config.fromfile(file)
    assert sys.modules.pop("my_models")

    with pytest.raises(ConfigError, match="'no_such_models', which the config imports") as caught:
        Config.fromfile(write(tmp_path, conf_py=line.format("no_such_models")))
    assert caught.value.where == "conf.py:1"

    write(tmp_path, broken_models_py="1 / 0")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        Config.fromfile(write(tmp_path, conf_py=line.format("broken_models")))


def test_failed_imports_may_be_allowed(tmp_path: Path):
    file = write(tmp_path, conf_py="custom_imports = dict(imports='no_such', allow_failed_imports=True)")
    with pytest.warns(UserWarning, match="'no_such'"):
        Config.fromfile(file)
    with pytest.raises(ConfigError, match="custom_imports is a dict") as caught:
        Config.fromstring("custom_imports = dict(import_='x')", ".py")
    assert caught.value.meant == ("imports",)
    with pytest.raises(ConfigError, match="imports is a list of module names, but is a int"):
        Config.fromstring("imports = 3", ".py")


def test_overrides_come_before_imports(tmp_path: Path):
    file = write(tmp_path, conf_py="a = dict(b=[1, 2])\nimports = ['no_such']")
    config = Config.fromfile(file, overrides=["a.b.1=5", "imports=[]", "a.c=x"])
    assert config.to_dict() == {"a": {"b": [1, 5], "c": "x"}, "imports": []}
    assert Config.fromfile(file, overrides={"imports": [], "a": 1}).a == 1


def test_python_can_be_refused(tmp_path: Path):
    file = write(tmp_path, base_py="raise SystemExit", child_yaml="_base_: base.py")
    with pytest.raises(PythonRefusedError, match="A Python config is code") as caught:
        Config.fromfile(file, use_python=False)
    assert f"{file}:1" in str(caught.value)
    with pytest.raises(PythonRefusedError):
        Config.fromstring("a = 1", ".py", use_python=False)
    assert Config.fromfile(write(tmp_path, a_yaml="a: 1"), use_python=False).a == 1


def test_external_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    models = tmp_path / "fake_mm" / ".mim" / "configs" / "models"
    models.mkdir(parents=True)
    write(tmp_path / "fake_mm", __init___py="raise RuntimeError('never imported')")
    write(
        models, net_py="model = dict(type='A', part=dict(type='B'))\nother = [dict(x=dict(type='C'))]\nz = 1"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("fake_mm::models/net.py", "fake_mm::models/net"):
        config = Config.fromfile(write(tmp_path, child_py=f"_base_ = '{name}'\nmodel = dict(n=1)"))
        assert config.to_dict() == {
            "model": {"type": "A", "part": {"type": "B"}, "_scope_": "fake_mm", "n": 1},
            "other": [{"x": {"type": "C", "_scope_": "fake_mm"}}],
            "z": 1,
        }
    with pytest.raises(ConfigError, match="'no_such_mm', which is not installed") as caught:
        Config.fromfile(write(tmp_path, child_py="_base_ = ['no_such_mm::a/b.py']"))
    assert caught.value.where == f"{tmp_path}/child.py:1"
    with pytest.raises(ConfigError, match="is not a config of a package"):
        Config.fromfile(write(tmp_path, child_py="_base_ = ['a::b::c.py']"))
    with pytest.raises(ConfigError, match="does not exist") as caught:
        Config.fromfile(write(tmp_path, child_py="_base_ = ['fake_mm::models/nett.py']"))
    assert caught.value.meant == ("net.py",)


def test_read_base_without_mmengine_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mmengine", None)
    monkeypatch.setitem(sys.modules, "mmengine.config", None)
    text = "from mmengine.config import read_base\nwith read_base():\n    from .a import *\n"
    with pytest.raises(ConfigError, match="read by MMEngine") as caught:
        Config.fromfile(write(tmp_path, lazy_py=text))
    assert "pip install mmengine" in str(caught.value.fix)


def test_reading_needs_neither_torch_nor_numpy(tmp_path: Path):
    file = write(tmp_path, a_py="a = 1", b_yaml="_base_: a.py")
    code = (
        "import sys\nfrom initcfg._config.files import Config\n"
        f"assert Config.fromfile({str(file)!r}).a == 1\n"
        "assert not {'torch', 'numpy', 'mmengine'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_file_that_changed_is_read_anew(tmp_path: Path):
    file = write(tmp_path, a_py="a = dict(b=[1])")
    first = Config.fromfile(file)
    first.a.b.append(2)
    assert Config.fromfile(file).a.b == [1]
    write(tmp_path, a_py="a = dict(b=[3])")
    assert Config.fromfile(file).a.b == [3]


def test_yaml_is_plain_yaml():
    assert Config.fromstring("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\ne: [*x, *x]", ".yaml").to_dict() == {
        "a": {"b": 1},
        "c": {"b": 1, "d": 2},
        "e": [{"b": 1}, {"b": 1}],
    }
    for text, value in [
        ("1e-3", 1e-3),
        ("-1E5", -1e5),
        (".5", 0.5),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("7", 7),
    ]:
        found = Config.fromstring(f"a: {text}", ".yaml").a
        assert (found, type(found)) == (value, type(value)), text


def test_a_config_that_asks_for_a_name_too_early(tmp_path: Path):
    with pytest.raises(ConfigExecutionError, match="NameError: name 'b' is not defined"):
        Config.fromfile(write(tmp_path, a_py="a = b"))
