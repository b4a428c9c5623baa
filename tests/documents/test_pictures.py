"""The pictures of schemes are what ``tools/scheme_pictures.py`` draws."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest
from reader import ROOT


def _tool() -> Any:
    path = ROOT / "tools" / "scheme_pictures.py"
    spec = importlib.util.spec_from_file_location("scheme_pictures_tool", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TOOL = _tool()


@pytest.mark.parametrize("name", TOOL.PICTURES)
def test_a_picture_shows_what_is_measured_now(name: str) -> None:
    held, now = TOOL.held(name), TOOL.numbers(name)
    assert list(held) == list(now), "run python tools/scheme_pictures.py"
    for label, line in now.items():
        assert held[label] == pytest.approx(line, rel=0.02, abs=1e-6), label


def test_pictures_are_small_and_their_texts_are_texts() -> None:
    paths = sorted(TOOL.FOLDER.glob("*.svg"))
    assert [path.stem for path in paths] == sorted(TOOL.PICTURES)
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert len(text) < 15_000, path.name
        assert "standard deviation</text>" in text and ">torch</text>" in text


def test_a_picture_is_drawn_the_same_again() -> None:
    lines = TOOL.held("fields")
    assert TOOL.drawn("fields", lines) == TOOL.drawn("fields", lines)


def test_signals_are_what_the_pages_say() -> None:
    """The relations that the pictures are for."""
    assert min(TOOL.held("data")["SignalPreserving"]) > 0.8
    assert TOOL.held("data")["torch"][-1] < 0.1
    residual = TOOL.held("residual")
    assert residual["Kaiming"][-1] > 10 * residual["Kaiming"][0]
    zero = residual["Kaiming, ZeroResidual"]
    assert max(zero) == min(zero)
    language = TOOL.held("language")
    assert language["GPT2"][-1] < 2 * language["GPT2"][0]
