"""A cache and a server of a test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import server as http

from initcfg._checkpoints.sources import download


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own, and no patience."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("INITCFG_", "HF_", "MMENGINE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("INITCFG_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("INITCFG_RETRIES", "2")
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    return tmp_path / "cache"


@pytest.fixture
def server():
    with http.serving() as running:
        yield running
