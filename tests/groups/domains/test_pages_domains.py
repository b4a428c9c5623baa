"""The recipes for graphs, medical images, equivariant layers and diffusion run, beside the real libraries."""

from __future__ import annotations

from pathlib import Path

import pytest
from reader import Reader
from recipes import pages


@pytest.mark.parametrize("page", pages("domains"), ids=lambda path: path.stem)
def test_recipe_runs(page: Path, reader_folder: Path) -> None:
    assert Reader(page, reader_folder).read(has="domains") > 0
