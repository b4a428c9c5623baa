"""The recipes for what configures models and trains them run, beside the real libraries."""

from __future__ import annotations

from pathlib import Path

import pytest
from reader import Reader
from recipes import pages


@pytest.mark.parametrize("page", pages("loops"), ids=lambda path: path.stem)
def test_recipe_runs(page: Path, reader_folder: Path) -> None:
    assert Reader(page, reader_folder).read(has="loops") > 0
