"""Writing configs: each text reads back as what it was written from."""

from __future__ import annotations

import collections
import datetime
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initcfg._config.files import Config
from initcfg.errors import ConfigError

FORMATS = (".py", ".yaml", ".json", ".toml")
EVERYTHING = {
    "text": "é'\"\n\\ {{ fileDirname }} {{$HOME:x}} {{_base_.a}} 1e-3",
    "numbers": [0, -1, 10**20, 1.0, 1e-05, 1e22, float("inf"), -float("inf"), True, False],
    "model": {"type": "A", "empty": {}, "list": [], "nested": [{"a": [{"b": "null"}]}], "not a name": 1},
    "words": [
        "yes",
        "null",
        "~",
        "1e-3",
        "=",
        "2020-01-01",
        "",
        " x ",
        "# y",
        "0x1",
        "1_0",
        "a: b",
        "- a",
        "{",
    ],
    "order": {"z": {"y": 1}, "a": 2, "m": {"k": {"j": 1}}},
    "long": {"init_cfg": [{"type": "Normal", "layer": ["Conv2d", "Linear"], "std": 0.01} for _ in range(4)]},
    "class": 1,
}


def read(text: str, suffix: str) -> dict[str, Any]:
    return Config.fromstring(text, suffix, import_modules=False).to_dict()


def rename(values: dict[str, Any], suffix: str) -> dict[str, Any]:
    """`class` is no name of a Python variable, and `text` is reserved."""
    return {
        {"class": "klass" if suffix == ".py" else "class", "text": "words_"}.get(k, k): v
        for k, v in values.items()
    }


@pytest.mark.parametrize("suffix", FORMATS)
def test_everything_survives(suffix: str):
    values = rename(EVERYTHING, suffix)
    again = read(Config(values).dump(file_format=suffix), suffix)
    assert again == values
    assert list(again) == list(values)
    assert list(again["order"]) == ["z", "a", "m"]
    assert [type(number) for number in again["numbers"]] == [type(number) for number in values["numbers"]]


def test_python_keeps_all_types():
    values = {
        "a": (1,),
        "b": ((), [()], {"c": ({"d": (1, 2)},)}),
        "none": None,
        "s": {1, 2},
        "t": set(),
        "f": frozenset({"x"}),
        "bytes": b"\x00",
        "complex": 1 + 2j,
        "keys": {1: "a", None: "b"},
    }
    again = read(Config(values).pretty_text, ".py")
    assert again == values
    assert repr(again["b"]) == repr(values["b"])
    assert math.isnan(read(Config({"x": float("nan")}).pretty_text, ".py")["x"])


def test_the_text_is_good_to_read():
    config = Config(
        {
            "model": {
                "type": "RetinaNet",
                "backbone": {"type": "ResNet", "depth": 50, "out_indices": (0, 1, 2, 3)},
                "init_cfg": [{"type": "Normal", "layer": "Conv2d", "std": 0.01}],
            },
            "lr": 0.1,
            "keys": {"a-b": 1},
        }
    )
    assert config.pretty_text == (
        "model = dict(\n"
        "    type='RetinaNet',\n"
        "    backbone=dict(type='ResNet', depth=50, out_indices=(0, 1, 2, 3)),\n"
        "    init_cfg=[dict(type='Normal', layer='Conv2d', std=0.01)],\n"
        ")\n"
        "lr = 0.1\n"
        "keys = {'a-b': 1}\n"
    )
    assert Config({"a": 1, "b": {"c": 2, "d": {"e": [{"f": 3}]}}, "g": {"h": 4}}).dump(
        file_format=".toml"
    ) == ("a = 1\n\n[b]\nc = 2\n\n[b.d]\ne = [{f = 3}]\n\n[g]\nh = 4\n")
    assert Config({"a": {"b": [1, {"c": "x"}]}}).dump(file_format=".yaml") == "a:\n  b:\n  - 1\n  - {c: x}\n"


def test_a_key_named_dict_hides_nothing():
    values = {"dict": 1, "model": {"a": {"b": 1}}}
    assert read(Config(values).pretty_text, ".py") == values


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
def test_tuples_become_lists_outside_python(suffix: str):
    assert read(Config({"a": (1, (2,))}).dump(file_format=suffix), suffix) == {"a": [1, [2]]}


@pytest.mark.parametrize("suffix", FORMATS)
def test_classes_and_functions_become_dotted_paths(suffix: str):
    values = {"a": {"type": collections.OrderedDict}, "b": [math.sqrt]}
    again = read(Config(values).dump(file_format=suffix), suffix)
    assert again == {"a": {"type": "collections.OrderedDict"}, "b": ["math.sqrt"]}


@pytest.mark.parametrize(
    ("values", "suffix", "message"),
    [
        ({"a": [{"b": lambda: 1}]}, ".py", r"'a\.0\.b' is a value of the type function"),
        ({"a": object()}, ".py", "'a' is a value of the type object"),
        ({"a": {"b": Path("x")}}, ".yaml", r"'a\.b' is a value of the type"),
        ({"a": {"b": None}}, ".toml", r"'a\.b' is None, which a \.toml file cannot say"),
        ({"a": {1: 2}}, ".json", r"key 1 of 'a' cannot be written to a \.json"),
        ({"a": {(1,): 2}}, ".py", r"key \(1,\) of 'a'"),
        ({"a": {1}}, ".json", "'a' is a value of the type set"),
        ({"not a name": 1}, ".py", "'not a name' cannot be written to a .py file: it is not a Python name"),
        ({"class": 1}, ".py", "it is not a Python name"),
        ({"float": 1}, ".py", "it would hide Python's own"),
        ({"_base_": 1}, ".json", "would not give it back"),
        ({"__x": 1}, ".py", "would not give it back"),
        ({"a": datetime.date(2020, 1, 1)}, ".json", "'a' is a value of the type date"),
        ({"a": "\ud800"}, ".json", "cannot be written as UTF-8"),
        ({}, ".xml", "'.xml' is not a format"),
    ],
)
def test_what_cannot_be_written_names_its_key(values: dict[Any, Any], suffix: str, message: str):
    with pytest.raises(ConfigError, match=message):
        Config(values).dump(file_format=suffix)


@pytest.mark.parametrize("suffix", [".yaml", ".toml"])
def test_dates(suffix: str):
    values = {"a": datetime.date(2020, 1, 2), "b": datetime.datetime(2020, 1, 2, 3, 4, 5)}
    assert read(Config(values).dump(file_format=suffix), suffix) == values


def test_dump_writes_a_file(tmp_path: Path):
    config = Config({"a": {"b": 1}})
    for suffix in (*FORMATS, ".yml"):
        file = tmp_path / f"x{suffix}"
        assert config.dump(file) == file.read_text()
        assert Config.fromfile(file) == config
    read_back = Config.fromfile(tmp_path / "x.json")
    assert read_back.dump().startswith("{"), "without a path, the format it was read in"
    assert sorted(os.listdir(tmp_path)) == ["x.json", "x.py", "x.toml", "x.yaml", "x.yml"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "x.py"
    file.write_text("old = 1\n")
    with pytest.raises(ConfigError):
        Config({"a": object()}).dump(file)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        Config({"a": 1}).dump(file)
    assert file.read_text() == "old = 1\n"
    assert os.listdir(tmp_path) == ["x.py"]


def test_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "real.py").write_text("")
    (tmp_path / "link.py").symlink_to(tmp_path / "real.py")
    Config({"a": 1}).dump(tmp_path / "link.py")
    assert (tmp_path / "link.py").is_symlink()
    assert (tmp_path / "real.py").read_text() == "a = 1\n"


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,3}_", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["{{ fileBasename }}", "{{$A:b}}", "{{_base_.x}}", "1e5", "\x85", "\u2028", "\ufeff", "'''", "\x7f", "\t"]
)
ATOMS = st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT


def trees(tuples: bool, none: bool) -> st.SearchStrategy[dict[str, Any]]:
    leaves = ATOMS | st.none() if none else ATOMS

    def more(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        lists = st.lists(inner, max_size=3)
        dicts = st.dictionaries(TEXT, inner, max_size=3)
        return lists | dicts | (lists.map(tuple) if tuples else lists)

    return st.dictionaries(NAMES, st.recursive(leaves, more, max_leaves=12), max_size=4)


def same(ours: Any, theirs: Any) -> bool:
    """Equal in value, type and order."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return repr(ours) == repr(theirs)


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_config_survives(suffix: str, data: st.DataObject):
    values = data.draw(trees(suffix == ".py", suffix != ".toml"))
    assert same(read(Config(values).dump(file_format=suffix), suffix), values)


def test_names_that_python_would_read_in_another_form() -> None:
    values = {"a": {"\u00b5": 1}}
    assert read(Config(values).dump(file_format=".py"), ".py") == values
