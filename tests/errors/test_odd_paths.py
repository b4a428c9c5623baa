"""Paths that no file system takes: questions about them are answered, and errors are ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import initcfg
from initcfg._api.command import main

SOURCE = Path(initcfg.__file__).parent
LONG = "x" * 300


def test_no_question_about_a_path_can_raise() -> None:
    # Those of pathlib raise for a name that is too long; for which others depends on the version of Python.
    asked = re.compile(r"\.(is_file|is_dir|exists)\(\)")
    assert [path.name for path in SOURCE.rglob("*.py") if asked.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", LONG],
        ["inspect", f"{LONG}.safetensors"],
        ["inspect", f"folder/{LONG}/model.pth"],
        ["verify", f"{LONG}.safetensors"],
        ["diff", f"{LONG}.json", "other.json"],
        ["diff", f"{LONG}.safetensors", "other.json"],
        ["plan", f"{LONG}.yaml"],
        ["init", f"{LONG}.yaml", "-o", "a.pth"],
        ["explain", f"{LONG}.toml", "weight"],
        ["trace", f"{LONG}.py"],
    ],
)
def test_a_name_that_is_too_long(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert "OSError" not in done.stderr and "unexpected" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [LONG, f"{LONG}.pth", f"{LONG}.safetensors.index.json"])
def test_an_output_with_a_name_that_is_too_long(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("model: {type: Linear, in_features: 3, out_features: 3}\n")
    done = CliRunner().invoke(main, ["init", "a.yaml", "-o", name])
    assert done.exit_code == 2
    assert "OSError" not in done.stderr and "unexpected" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
