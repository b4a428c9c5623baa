"""torch's global hooks are gone through in every thread: recording in one must not disturb another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn
from torch.nn.modules import module as torchs

import initcfg
from initcfg._api.untrusted import within_limits
from initcfg._record.registrations import listen
from initcfg.errors import UntrustedError

KINDS: dict[str, Callable[[], nn.Module]] = {
    "parameter": lambda: nn.Linear(2, 2),
    "module": lambda: nn.ModuleList([nn.Identity()]),
}
WITHIN = {"deferred": initcfg.deferred, "untrusted": within_limits}


@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("kind", KINDS)
def test_a_thread_that_makes_a_module_meanwhile(kind: str, within: str) -> None:
    here, go_on = threading.Event(), threading.Event()
    failed: list[BaseException] = []
    worker = threading.Thread(target=lambda: _try(KINDS[kind], failed))

    def somebodys(*_: Any) -> None:
        if threading.current_thread() is worker:
            here.set()
            assert go_on.wait(60)

    registers = getattr(torchs, f"register_module_{kind}_registration_hook")
    handle = registers(somebodys)
    try:
        with WITHIN[within]():
            worker.start()
            assert here.wait(60)
        go_on.set()
        worker.join()
    finally:
        go_on.set()
        handle.remove()
    assert not failed


def _try(make: Callable[[], nn.Module], failed: list[BaseException]) -> None:
    try:
        make()
    except BaseException as error:
        failed.append(error)


def test_who_listens_is_told_until_the_end() -> None:
    told: list[tuple[str, str]] = []
    end = listen(
        parameters=lambda module, name, _: told.append((type(module).__name__, name)),
        modules=lambda module, name, _: told.append((type(module).__name__, name)),
    )
    nn.Sequential(nn.Linear(2, 2, bias=False))
    end()
    end()
    nn.Sequential(nn.Linear(2, 2))
    assert told == [("Linear", "weight"), ("Sequential", "0")]


def test_the_same_function_may_listen_twice() -> None:
    count: list[str] = []

    def listener(_: nn.Module, name: str, __: Any) -> None:
        count.append(name)

    ends = [listen(modules=listener) for _ in range(2)]
    for left in (2, 1, 0):
        count.clear()
        nn.Sequential(nn.Identity())
        assert count == ["0"] * left
        if ends:
            ends.pop(0)()


def test_a_config_that_makes_too_many_modules_is_stopped() -> None:
    with pytest.raises(UntrustedError, match="makes more than"), within_limits():
        nn.Sequential(*(nn.Identity() for _ in range(200_001)))
    nn.Sequential(nn.Identity())
