"""Threads and memory that the system does not give: one message, no traceback, and nothing half-written."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import initcfg
from initcfg._api.command import main
from initcfg._apply.streaming import writer
from initcfg.errors import OutputError

CONFIG = "model: {type: Linear, in_features: 300, out_features: 300}\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(CONFIG, encoding="utf-8")
    return "net.yaml"


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words], catch_exceptions=False)


def _left(folder: str) -> list[str]:
    return sorted(each.name for each in Path(folder).iterdir()) if Path(folder).is_dir() else []


def test_without_any_thread_all_is_done(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run("init", config, "-o", "many", "--seed", "0", "--shard-size", "100kB").exit_code == 0
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    done = _run("init", config, "-o", "none", "--seed", "0", "--shard-size", "100kB")
    assert done.exit_code == 0, done.output
    assert _left("none") == _left("many")
    for name in _left("many"):
        if name.endswith(".safetensors"):
            assert Path("none", name).read_bytes() == Path("many", name).read_bytes()


def _memory(monkeypatch: pytest.MonkeyPatch, given: Any) -> list[int]:
    """Buffers are what ``given(bytes, how many there were)`` says; the sizes that were asked for."""
    asked: list[int] = []
    original = writer.aligned_memory

    def limited(size: int) -> torch.Tensor:
        asked.append(size)
        if not given(size, len(asked) - 1):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return original(size)

    monkeypatch.setattr(writer, "aligned_memory", limited)
    return asked


@pytest.mark.parametrize("given", [lambda size, before: before < 2, lambda size, before: size < 1 << 18])
def test_with_fewer_or_smaller_buffers_the_files_are_the_same(
    given: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = initcfg.plan(initcfg.build(config, init=False))
    plan.save_weights("whole", initcfg.build(config, init=False), seed=0, shard_size="100kB")
    asked = _memory(monkeypatch, given)
    plan.save_weights("little", initcfg.build(config, init=False), seed=0, shard_size="100kB")
    assert len(asked) > 2 and _left("whole") == _left("little")
    for name in _left("whole"):
        if name.endswith(".safetensors"):
            assert Path("whole", name).read_bytes() == Path("little", name).read_bytes()


def test_without_memory_for_two_buffers(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _memory(monkeypatch, lambda size, before: False)
    done = _run("init", config, "-o", "made", "--seed", "0", "--shard-size", "100kB")
    assert done.exit_code == 2 and not any(
        each.endswith((".safetensors", ".partial")) for each in _left("made")
    )
    said, fix = [each for each in done.output.splitlines() if each.startswith(("error: ", "  fix:"))]
    assert said == (
        "error: There is no memory for two buffers of 65.5 kB, through which the weights are written."
    )
    assert fix == "  fix:          Free memory, or raise the limit of this process (ulimit -v)."
    assert "Traceback" not in done.output


def test_memory_that_ends_while_files_are_written(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(writer.OutputFile, "write", fails)
    plan = initcfg.plan(initcfg.build(config, init=False))
    with pytest.raises(OutputError, match="there is no memory left") as told:
        plan.save_weights("made", initcfg.build(config, init=False), seed=0)
    assert told.value.fix is not None and not any(
        each.endswith((".safetensors", ".partial")) for each in _left("made")
    )


@pytest.mark.parametrize(
    ("error", "said", "fix"),
    [
        (MemoryError(), "memory for this", "ulimit -v"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory for this", "ulimit -v"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you"
            ),
            "memory for this",
            "ulimit -v",
        ),
        (RuntimeError("can't start new thread"), "thread for this", "ulimit -u"),
    ],
)
def test_the_command_says_what_it_was_not_given(
    error: Exception, said: str, fix: str, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("initcfg._api.functions.construct", fails)
    done = _run("init", config, "-o", "weights.pth", "--seed", "0")
    assert done.exit_code == 2 and f"error: The system gives no {said}." in done.output
    assert fix in done.output and "Traceback" not in done.output and not _left("weights.pth")
