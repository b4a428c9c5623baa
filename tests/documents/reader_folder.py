"""A folder for whoever reads a document or a docstring: a fixture, which a conftest imports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import initcfg
from initcfg.compat import beside_mmengine
from initcfg.testing import golden_plans


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, and registries with nobody's classes; what a document adds is forgotten afterwards."""
    registries = [initcfg.MODELS, initcfg.INITIALIZERS]
    kept = [(dict(registry.module_dict), dict(registry.children)) for registry in registries]
    for registry, (names, _) in zip(registries, kept, strict=True):
        for name, item in names.items():
            if item.__module__.partition(".")[0] != "initcfg":
                del registry.module_dict[name]
        registry.children.clear()
    # Nor does MMEngine's registry keep any of it, which shares what is registered once a test asked for that.
    monkeypatch.setattr(initcfg.MODELS, "_also_register", [])
    beside_mmengine.shared_models.cache_clear()
    theirs = getattr(sys.modules.get("mmengine.registry"), "MODELS", None)
    names_there = {} if theirs is None else dict(theirs.module_dict)
    modules = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    # A page is read as a script: golden plans lie in the folder, not beside the test that reads it.
    monkeypatch.setattr(golden_plans.asked, "folder", None)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for registry, (names, children) in zip(registries, kept, strict=True):
        registry.module_dict.clear()
        registry.module_dict.update(names)
        registry.children.clear()
        registry.children.update(children)
    beside_mmengine.shared_models.cache_clear()
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]
    if theirs is not None:
        # What a package registered that a document was the first to import stays: it is not imported again.
        for name, item in list(theirs.module_dict.items()):
            if name not in names_there and item.__module__ not in sys.modules:
                del theirs.module_dict[name]
