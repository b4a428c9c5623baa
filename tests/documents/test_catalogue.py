"""The catalogue of schemes is what ``tools/schemes.py`` makes of docstrings, which say where each is from."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

import pytest
from reader import ROOT


def tool(name: str = "schemes") -> Any:
    """A tool, as a module."""
    spec = importlib.util.spec_from_file_location(f"{name}_tool", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_current() -> None:
    stale = [path.name for path, text in tool().pages().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run python tools/schemes.py"


@pytest.mark.parametrize(("name", "cls"), [*tool().shown().items()])
def test_each_says_where_it_is_from(name: str, cls: type[Any]) -> None:
    doc = inspect.getdoc(cls) or ""
    assert len(doc.partition("\n\n")[0].splitlines()) == 1
    assert "Example:" in doc
    of_papers = name not in ("GateBias", "BlockOrthogonal", "StepSize", "UnitNormal", "FlatXavier")
    assert not of_papers or any(word in doc for word in ("From ", "from ", "al. 20", "Held to", "& ", " 201"))
