"""The examples of every docstring run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import initcfg

# These can be imported only where their library is, and one of them takes over MMEngine's Runner then.
PLACES = ("lightning", "mmengine", "modalities", "torchtitan", "transformers")
APART = tuple(f"initcfg.integrations.{name}" for name in PLACES)


def _module_names() -> list[str]:
    # By their files: to walk over packages imports them.
    root = Path(initcfg.__path__[0])
    paths = [path.relative_to(root.parent).with_suffix("") for path in root.rglob("*.py")]
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


MODULES = [name for name in _module_names() if not name.startswith(APART) and ".cuda.triton_" not in name]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name: str, reader_folder: Path) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    assert (
        sum(len(each.examples) for name in MODULES for each in finder.find(importlib.import_module(name)))
        > 200
    )
