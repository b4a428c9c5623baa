"""The recipe for Keras runs, beside the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from reader import Reader
from recipes import pages


@pytest.mark.parametrize("page", pages("keras"), ids=lambda path: path.stem)
def test_recipe_runs(page: Path, reader_folder: Path) -> None:
    assert Reader(page, reader_folder).read(has="keras") > 0
