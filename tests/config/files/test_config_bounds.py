"""Configs that would take forever, all memory, or Python's stack: refused, at once, in words."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from initcfg import Config, ConfigDict, build
from initcfg.errors import ConfigError, ConfigFileNotFoundError, ConfigSyntaxError

DEEP = "nested too deeply: more than 100 levels"


def read(folder: Path, text: str, suffix: str = ".yaml") -> Config:
    file = folder / f"config{suffix}"
    file.write_text(text)
    return Config.fromfile(file)


@pytest.fixture(autouse=True)
def _in_ten_seconds(request: pytest.FixtureRequest) -> Any:
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("as_base", [False, True])
@pytest.mark.parametrize(
    ("kind", "said"), [("pipe", "a named pipe"), ("zero", "a device"), ("folder", "Is a directory")]
)
def test_only_regular_files_are_opened(tmp_path: Path, kind: str, said: str, as_base: bool):
    file = tmp_path / "other.yaml"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    with pytest.raises(ConfigError, match=f"cannot be read: .*{said}"):
        if as_base:
            read(tmp_path, "_base_: other.yaml")
        else:
            build(file)


def test_a_file_of_any_size_is_not_read(tmp_path: Path):
    file = tmp_path / "large.yaml"
    with open(file, "w") as opened:
        opened.truncate(2**40)
    with pytest.raises(ConfigError, match="it has more than 16 MiB, too many for a config"):
        Config.fromfile(file)


@pytest.mark.parametrize("name", ["a\0b.yaml", "\ud800.yaml", "~\0/x.yaml"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str):
    with pytest.raises(ConfigFileNotFoundError, match="No file can have the name"):
        Config.fromfile(name)
    with pytest.raises(ConfigFileNotFoundError, match="No file can have the name"):
        read(tmp_path, f"_base_ = {name!r}", ".py")


def test_a_name_that_is_too_long(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        Config.fromfile("x" * 300 + ".yaml")
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        read(tmp_path, f"_base_: {'x' * 300}.yaml")


@pytest.mark.parametrize("depth", [101, 330, 700, 20_000])
@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
def test_one_limit_of_depth_in_each_format(tmp_path: Path, depth: int, suffix: str):
    text = {".json": '{"a": %s}', ".toml": "a = %s", ".yaml": "a: %s"}[suffix]
    with pytest.raises(ConfigSyntaxError, match=f"{DEEP}|maximum nesting depth"):
        read(tmp_path, text % ("[" * depth + "]" * depth), suffix)


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml", ".py"])
def test_ninety_levels_can_be_read_changed_and_written(tmp_path: Path, suffix: str):
    cfg = Config(dict(a=eval("[" * 90 + "7" + "]" * 90)))
    read_back = read(tmp_path, cfg.dump(file_format=suffix), suffix)
    assert read_back.to_dict() == cfg.to_dict() == read_back.copy().to_dict()
    read_back.merge_from_dict({"a" + ".0" * 90: 8})
    # Not of the config itself: its path may have any number.
    assert "8" in str(read_back.to_dict()) and "7" not in str(read_back.to_dict())


def test_depth_that_aliases_dotted_keys_and_overrides_make(tmp_path: Path):
    chain = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200))
    with pytest.raises(ConfigSyntaxError, match=DEEP):
        read(tmp_path, chain)
    with pytest.raises(ConfigSyntaxError, match=DEEP):
        read(tmp_path, "a" + ".a" * 100_000 + " = 1", ".toml")
    with pytest.raises(ConfigSyntaxError, match=DEEP):
        read(tmp_path, "a: {}").merge_from_dict({".".join("a" * 3000): 1})


def test_what_contains_itself(tmp_path: Path):
    own: dict[str, Any] = {}
    own.update(a=own, b=[own, own])
    items: list[Any] = []
    items.append(items)
    for make in (lambda: Config(own), lambda: ConfigDict(own), lambda: ConfigDict(a=items)):
        with pytest.raises(ConfigError, match="contains itself"):
            make()
    with pytest.raises(ConfigError, match="contains itself"):
        read(tmp_path, "a = []\na.append(a)", ".py")
    with pytest.raises(ConfigError, match="contains itself"):
        read(tmp_path, "a: &a [*a]")
    with pytest.raises(ConfigSyntaxError, match="a mapping merges itself"):
        read(tmp_path, "a: &a {<<: *a}")
    cfg = Config(dict(a={}))
    cfg.a.b = cfg.a
    with pytest.raises(ConfigError, match="contains itself"):
        cfg.to_dict()


def test_merge_keys_do_not_multiply(tmp_path: Path):
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 12)]
    assert read(tmp_path, "\n".join(lines)).a11 == {"k": 1}
    chain = ["a0: &a0 {k0: 1}", *(f"a{i}: &a{i} {{<<: *a{i - 1}, k{i}: 1}}" for i in range(1, 1500))]
    with pytest.raises(ConfigError, match="merge keys of this YAML stand for more than 1,000,000 values"):
        read(tmp_path, "\n".join(chain))


def test_of_merged_mappings_the_first_wins_and_own_keys_before_it(tmp_path: Path):
    cfg = read(tmp_path, "x: &x {k: 1}\ny: &y {k: 2, j: 3, i: 5}\nz: {<<: [*x, *y], j: 9}")
    assert cfg.z == {"k": 1, "j": 9, "i": 5}


def test_many_keys_with_one_of_them_twice(tmp_path: Path):
    pairs = ", ".join(f'"k{i}": 1' for i in range(100_000))
    with pytest.raises(ConfigSyntaxError, match="'k99999' occurs twice"):
        read(tmp_path, f'{{{pairs}, "k99999": 2}}', ".json")


def test_keys_of_one_hash(tmp_path: Path):
    keys = ", ".join(f"{i * (2**61 - 1)}: 1" for i in range(1, 5000))
    with pytest.raises(ConfigSyntaxError, match="too large for a key"):
        read(tmp_path, f"a: {{{keys}}}")
    assert read(tmp_path, "a: {-7: x, 10000000000: y}").a == {-7: "x", 10000000000: "y"}


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".yaml", "a: " + "1" * 5000),
        (".yaml", "a: 1" + ":1" * 100_000),
        (".yaml", "a: 1" + ":1" * 2000 + ".5"),
        (".yaml", "a: 0x" + "f" * 4250),
        (".json", '{"a": ' + "1" * 5000 + "}"),
        (".toml", "a = " + "1" * 5000),
        (".toml", "a = 0x" + "f" * 5000),
        (".py", "a = " + "1" * 5000),
        (".py", "a = 0x" + "f" * 5000),
    ],
)
def test_numbers_of_thousands_of_digits(tmp_path: Path, suffix: str, text: str):
    with pytest.raises(ConfigError, match=r"digits|too large"):
        read(tmp_path, text, suffix)


def test_code_that_python_cannot_compile(tmp_path: Path):
    for text in ("a = " + "+".join(["1"] * 50_000), "_base_ = " + "+".join(["'b'"] * 5_000)):
        # From Python 3.13 on the second is a name, which no system takes.
        with pytest.raises(ConfigError, match=r"cannot be parsed|cannot be compiled|raised|name too long"):
            read(tmp_path, text, ".py")


def test_bases_that_multiply(tmp_path: Path):
    for level in range(30):
        (tmp_path / f"b{level}.yaml").write_text(f"_base_: [b{level + 1}.yaml, b{level + 1}.yaml]")
    (tmp_path / "b30.yaml").write_text("")
    with pytest.raises(ConfigError, match="more than 1,000 bases, or a chain of more than 50"):
        Config.fromfile(tmp_path / "b0.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "{{$a:" + " " * 200_000,
        "{{$a:" * 40_000,
        ("{{$a:" + " " * 20) * 10_000,
        "{{$a:" + "x" * 200_000,
        "{{" * 100_000,
    ],
)
def test_placeholders_take_a_time_that_grows_with_the_text(tmp_path: Path, text: str):
    start = time.perf_counter()
    assert read(tmp_path, f"# {text}\nx: 1").to_dict() == {"x": 1}
    assert time.perf_counter() - start < 2
