"""A folder of tests for each group of peers; ``make test-peers GROUP=NAME`` runs it in its environment.

Elsewhere its tests are not even imported, since they import what only that environment has.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The recipes are read as all pages are.
sys.path.append(str(Path(__file__).parents[1] / "documents"))

from reader_folder import reader_folder

__all__ = ["reader_folder"]


def pytest_configure(config: pytest.Config) -> None:
    # What the packages say of torch, of Python and of each other is none of ours.
    config.addinivalue_line("filterwarnings", "ignore")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if config.option.markexpr == "group" else True


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.group)
