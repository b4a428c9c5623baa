"""What is wrong with a config file, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from initcfg._config.files import Config
from initcfg.errors import (
    ConfigError,
    ConfigExecutionError,
    ConfigFileNotFoundError,
    ConfigMergeError,
    ConfigSyntaxError,
)


def write(folder: Path, **files: str) -> Path:
    path = folder
    for name, text in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        path.write_text(text, encoding="utf-8")
    return path


def test_a_missing_file_names_its_neighbours(tmp_path: Path):
    write(tmp_path, resnet50_py="", readme_txt="")
    with pytest.raises(ConfigFileNotFoundError, match=r"resnet5\.py' does not exist") as caught:
        Config.fromfile(tmp_path / "resnet5.py")
    assert caught.value.meant == ("resnet50.py",)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        Config.fromfile(tmp_path / "no" / "a.py")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("child_py", "a = 1\n_base_ = [\n    'resnet50.py',\n    'resnet5.py']", 4),
        ("child_yaml", "a: 1\n_base_: resnet5.py", 2),
        ("child_json", '{\n"a": 1,\n"_base_": ["resnet5.py"]}', 3),
        ("child_toml", "_base_ = 'resnet5.py'", 1),
    ],
)
def test_a_missing_base_names_who_asked(tmp_path: Path, name: str, text: str, line: int):
    file = write(tmp_path, resnet50_py="", **{name: text})
    with pytest.raises(ConfigFileNotFoundError, match=r"The base .*resnet5\.py' does not exist") as caught:
        Config.fromfile(file)
    assert caught.value.where == f"{file}:{line}"
    assert caught.value.meant == ("resnet50.py",)


def test_a_circle_of_bases(tmp_path: Path):
    file = write(
        tmp_path, a_py="_base_ = 'b.yaml'", b_yaml="x: 1\n_base_: ./c.json", c_json='{"_base_": "a.py"}'
    )
    with pytest.raises(ConfigError, match=r"circle: c\.json -> a\.py -> b\.yaml -> c\.json") as caught:
        Config.fromfile(file)
    assert caught.value.where == f"{tmp_path}/b.yaml:2"
    with pytest.raises(ConfigError, match=r"circle: me\.py -> me\.py"):
        Config.fromfile(write(tmp_path, me_py="_base_ = 'me.py'"))


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("a_py", "a = 1\nb = dict(c=\n", 2, "cannot be parsed: .*was never closed"),
        ("a_py", "a = 1\nb = \x00", None, "cannot be parsed"),
        ("a_yaml", "a: 1\nb: [1,\nc: 2]\nd", 4, "YAML cannot be read: while scanning a simple key of line 4"),
        ("a_yaml", "a: 1\nb: [1,\nc: 2\n", 3, "flow sequence of line 2: did not find expected"),
        ("a_yaml", "a: 1\nb: {c: 1, c: 2}", 2, "key 'c' occurs twice"),
        ("a_yaml", "a: !!python/tuple [1, 2]", 1, "could not determine a constructor"),
        ("a_yaml", "a: !!python/object/apply:os.system ['true']", 1, "could not determine a constructor"),
        ("a_yaml", "a: \x07", None, "YAML cannot be read"),
        ("a_json", '{\n"a": 1,\n"b" 2}', 3, "JSON cannot be parsed"),
        ("a_json", '{"a": 1,\n"b": 2,\n"a": 3}', 3, "key 'a' occurs twice"),
        ("a_toml", "a = 1\nb = [1,", 2, "TOML cannot be parsed"),
        ("a_toml", "a = 1\na = 2\n", 2, "TOML cannot be parsed"),
    ],
)
def test_syntax_errors_have_a_line(tmp_path: Path, name: str, text: str, line: int | None, message: str):
    file = write(tmp_path, **{name: text})
    with pytest.raises(ConfigSyntaxError, match=message) as caught:
        Config.fromfile(file)
    where = str(caught.value.where)
    assert where.startswith(f"{file}" if line is None else f"{file}:{line}"), where
    assert isinstance(caught.value, SyntaxError)


def test_syntax_errors_of_a_base_name_the_base(tmp_path: Path):
    file = write(tmp_path, base_py="\n\nx = = 1", child_yaml="_base_: base.py")
    with pytest.raises(ConfigSyntaxError, match="The line is: x = = 1") as caught:
        Config.fromfile(file)
    assert str(caught.value.where).startswith(f"{tmp_path}/base.py:3:")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a = 1\nb = a / 0\n", 2, "ZeroDivisionError: division by zero. The line is: b = a / 0"),
        ("def f():\n    return {}['x']\n\na = f()\n", 2, "KeyError: 'x'"),
        ("import json\na = 1\nb = json.loads('{')\n", 3, "JSONDecodeError"),
        ("from no_such_package import x\n\na = x\n", 1, "No module named 'no_such_package'"),
        ("raise SystemExit(3)", 1, "SystemExit: 3"),
        ("_base_ = 'base.py'\na = _base_.modle", 2, "'ConfigDict' object has no attribute 'modle'"),
        ("_base_ = ['base' + x]", 1, "NameError"),
    ],
)
def test_code_that_raises_has_a_line(tmp_path: Path, text: str, line: int, message: str):
    file = write(tmp_path, base_py="model = 1", a_py=text)
    with pytest.raises(ConfigExecutionError) as caught:
        Config.fromfile(file)
    assert message in str(caught.value)
    assert caught.value.where == f"{file}:{line}"
    if "modle" in text:
        assert caught.value.meant == ("model",)


def test_a_computed_base_is_evaluated(tmp_path: Path):
    file = write(tmp_path, base_py="model = 1", a_py="_base_ = ['ba' + 'se.py']")
    assert Config.fromfile(file).model == 1


def test_what_cannot_be_merged_names_both_places(tmp_path: Path):
    file = write(
        tmp_path, base_py="m = dict(\n    a=dict(b=3))", child_yaml="_base_: base.py\nm:\n  a:\n    b: {c: 1}"
    )
    with pytest.raises(ConfigMergeError, match=r"'m\.a\.b' is a dict here, but int 3 in the base") as caught:
        Config.fromfile(file)
    assert caught.value.where == f"dict: {file}:4; base: {tmp_path}/base.py:2"
    assert "_delete_=True" in str(caught.value.fix)
    assert isinstance(caught.value, TypeError)


def test_bases_share_no_key(tmp_path: Path):
    file = write(
        tmp_path,
        a_py="x = 1\nmodel = 1",
        b_py="model = 2\ny = 1",
        c_py="_base_ = [\n    'a.py',\n    'b.py']",
    )
    with pytest.raises(ConfigMergeError, match=r"share the key 'model': 'a\.py' and 'b\.py'") as caught:
        Config.fromfile(file)
    assert caught.value.where == f"{file}:3"


@pytest.mark.parametrize("text", ["_base_ = 3", "_base_ = ['a.py', None]", "_base_ = ''"])
def test_a_base_is_a_file_name(tmp_path: Path, text: str):
    with pytest.raises(ConfigError, match="_base_ is a file name or a list"):
        Config.fromfile(write(tmp_path, a_py="", b_py=text))


@pytest.mark.parametrize("text", ["- 1", "3", "a"])
def test_a_config_is_a_mapping(text: str):
    with pytest.raises(ConfigError, match="A config is a mapping"):
        Config.fromstring(text, ".yaml")
    with pytest.raises(ConfigError, match="top-level key 1 of this config is not a string"):
        Config.fromstring("1: 2", ".yaml")


def test_files_that_are_no_config(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"its name ends with '\.txt'"):
        Config.fromfile(write(tmp_path, a_txt="a = 1"))
    with pytest.raises(ConfigError, match="its name has no ending"):
        (tmp_path / "plain").write_text("")
        Config.fromfile(tmp_path / "plain")
    with pytest.raises(ConfigError, match="cannot be read"):
        (tmp_path / "folder.py").mkdir()
        Config.fromfile(tmp_path / "folder.py")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        (tmp_path / "latin.py").write_bytes("a = 'é'".encode("latin-1"))
        Config.fromfile(tmp_path / "latin.py")
    with pytest.raises(ConfigError, match=r"'\.pyy' is not a format") as caught:
        Config.fromstring("", ".pyy")
    assert caught.value.meant[0] == ".py"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        Config.fromfile(tmp_path / "a.py")


def test_reserved_keys(tmp_path: Path):
    with pytest.raises(ConfigError, match="'text' is an attribute of every config") as caught:
        Config.fromfile(write(tmp_path, a_py="a = 1\ntext = 2"))
    assert caught.value.where == "a.py:2"


def test_placeholders_without_a_value(tmp_path: Path):
    write(tmp_path, base_py="model = dict(depth=1)")
    with pytest.raises(ConfigError, match=r"no value 'model\.deph'") as caught:
        Config.fromfile(write(tmp_path, a_py="_base_ = 'base.py'\nb = {{_base_.model.deph}}"))
    assert caught.value.meant == ("depth",)
    with pytest.raises(ConfigError, match="stands inside a longer string"):
        Config.fromfile(
            write(tmp_path, a_yaml="_base_: base.py\nb: x-{{_base_.model.depth}}-y".replace("x-", "x"))
        )


def test_yaml_bombs_are_refused():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="stand for more than 1,000,000 values"):
        Config.fromstring("\n".join(lines), ".yaml")
    with pytest.raises(ConfigError, match="contains itself"):
        Config.fromstring("a: &x [*x]", ".yaml")


def test_deep_nesting_is_an_error_not_a_crash():
    with pytest.raises(ConfigError):
        Config.fromstring('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", ".json")
    with pytest.raises(ConfigError):
        Config.fromstring("a = " + "[" * 1000 + "]" * 1000, ".py")
