"""The examples of every docstring run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import initcfg

# The kernel is a library, and no module of Python's; others can be imported only where their library is.
APART = ("initcfg._kernel", "initcfg.integrations.lightning", "initcfg.integrations.transformers")
MODULES = [
    # What is exported says that it is of the package itself, so its examples are found there.
    "initcfg",
    *sorted(
        module.name
        for module in pkgutil.walk_packages(initcfg.__path__, "initcfg.")
        if module.name not in APART and ".cuda.triton_" not in module.name
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name: str, reader_folder: Path) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    assert (
        sum(len(each.examples) for name in MODULES for each in finder.find(importlib.import_module(name)))
        > 200
    )
