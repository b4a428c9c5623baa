"""What the tests of agreements by threads stand on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from initcfg._apply.ranks import agreement as agreement_module
from initcfg._apply.ranks import heartbeat


@pytest.fixture
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.05)
    monkeypatch.setattr(heartbeat, "SILENCE", 20.0)
    monkeypatch.setattr(agreement_module, "_LINGER", 0.5)


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    yield
    for _ in range(100):
        left = [thread for thread in threading.enumerate() if thread.name == "initcfg-heartbeat"]
        if not left:
            return
        time.sleep(0.02)
    raise AssertionError(f"{len(left)} threads still run")
