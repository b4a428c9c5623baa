"""The mirror of MMEngine: its modules under another name, and clear errors for what is not there."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import pytest

import initcfg
from initcfg.compat import elsewhere, mmengine
from initcfg.errors import BuildImportError


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMEngine is not installed."""
    monkeypatch.setattr(elsewhere, "_loaded", lambda module: None)
    for name in [name for name in sys.modules if name.startswith("initcfg.compat.mmengine.dist")]:
        monkeypatch.delitem(sys.modules, name)


def test_modules_have_the_names_of_the_package() -> None:
    from initcfg.compat.mmengine import config, model, registry

    for module in (model, registry, config):
        for name in set(module.__all__) - {"MODELS", "Config"}:
            assert getattr(module, name) is getattr(mmengine, name), name
    assert set(mmengine.__all__) == {*model.__all__, *registry.__all__, *config.__all__}
    assert issubclass(registry.Registry, initcfg.Registry)


@pytest.mark.parametrize(
    ("path", "name", "home"),
    [
        ("model.weight_init", "trunc_normal_", "model"),
        ("model.base_module", "BaseModule", "model"),
        ("registry.registry", "Registry", "registry"),
        ("registry.build_functions", "build_from_cfg", "registry"),
        ("config.config", "ConfigDict", "config"),
    ],
)
def test_modules_further_down(path: str, name: str, home: str) -> None:
    there = importlib.import_module(f"initcfg.compat.mmengine.{path}")
    assert there is importlib.import_module(f"initcfg.compat.mmengine.{home}")
    assert getattr(there, name) is getattr(mmengine, name)


@pytest.mark.parametrize(
    ("module", "name"),
    [("runner", "Runner"), ("registry", "HOOKS"), ("model", "ImgDataPreprocessor"), ("", "is_list_of")],
)
def test_what_is_mmengines_own_needs_it(alone: None, module: str, name: str) -> None:
    home = f"initcfg.compat.mmengine.{module}".rstrip(".")
    with pytest.raises(BuildImportError, match=f"{home} has no '{name}': all but initialization") as caught:
        exec(f"from {home} import {name}")
    assert caught.value.fix is not None and "pip install mmengine" in caught.value.fix
    assert not hasattr(importlib.import_module(home), name)


def test_modules_that_are_mmengines_own_need_it(alone: None) -> None:
    with pytest.raises(ImportError, match=r"compat\.mmengine has no 'dist'"):
        importlib.import_module("initcfg.compat.mmengine.dist")
    with pytest.raises(BuildImportError) as caught:
        exec("from initcfg.compat.mmengine.model import BaseModul")
    assert caught.value.meant[0] == "BaseModule"


def test_a_registry_without_mmengine(monkeypatch: pytest.MonkeyPatch) -> None:
    from initcfg.compat.mmengine import registry

    monkeypatch.setattr(registry, "their_registry", lambda: None)
    made: Any = registry.Registry("thing")
    # The package of the code that made it, as always.
    assert made.scope == "test_mirror" and isinstance(made, initcfg.Registry)
    child = registry.Registry("thing", parent=made, scope="below", locations=["json"])
    assert made.children == {"below": child}
