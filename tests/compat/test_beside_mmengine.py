"""Without MMEngine, compat's Config and MODELS are the library's own, and BaseModel says what it needs."""

from __future__ import annotations

import pytest

import initcfg
from initcfg.compat import beside_mmengine


@pytest.fixture(autouse=True)
def no_mmengine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_mmengine, "_mmengine", lambda module: None)


def test_the_names_are_the_librarys_own() -> None:
    assert beside_mmengine.config_class.__wrapped__() is initcfg.Config
    assert beside_mmengine.shared_models.__wrapped__() is initcfg.MODELS


def test_a_base_model_needs_mmengine() -> None:
    with pytest.raises(ImportError, match="pip install mmengine"):
        beside_mmengine.base_model.__wrapped__(initcfg.BaseModule)


def test_a_registry_tells_another_what_it_has_and_gets() -> None:
    registry = initcfg.Registry("thing", scope="example")
    registry.register_module(name=["a", "b"], module=dict)
    told: list[tuple[object, list[str], bool]] = []
    registry.also_register(lambda module, names, force: told.append((module, list(names), force)))
    registry.register_module(name="c", module=list, force=True)
    assert told == [(dict, ["a", "b"], False), (list, ["c"], True)]
