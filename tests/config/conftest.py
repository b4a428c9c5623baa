"""Registries for a test of its own."""

from __future__ import annotations

import pytest
from registered import Net, make

from initcfg import MODELS, Registry


@pytest.fixture
def nets() -> Registry:
    registry = Registry("net", scope="here")
    registry.register_module(module=Net)
    registry.register_module(module=make)
    return registry


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """MODELS, empty, and restored afterwards."""
    monkeypatch.setattr(MODELS, "_module_dict", {})
    monkeypatch.setattr(MODELS, "children", {})
    return MODELS
