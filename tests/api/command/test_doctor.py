"""What the doctor says of the kernel for GPUs."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from initcfg._api.command import doctor
from initcfg._api.command.cli import main
from initcfg._stream.writing.cuda import device


def line(text: str) -> str:
    (found,) = [each for each in text.splitlines() if each.startswith("on CUDA")]
    return found


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device() -> None:
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 0
    assert line(done.output) == "on CUDA       no device"
    found = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)
    assert (found["on_cuda"], found["on_cuda_reason"]) == ("none", "there is no CUDA device")
    assert found["healthy"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_with_a_device() -> None:
    found = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)
    assert found["healthy"]
    reason = device.why_not(torch.device("cuda", 0))
    assert (found["on_cuda"], found["on_cuda_reason"]) == ("triton" if reason is None else "copies", reason)


@pytest.mark.parametrize(
    ("reason", "proofs", "expected"),
    [
        (None, [None, None], ("triton", None)),
        ("triton is not installed", [], ("copies", "triton is not installed")),
        (
            None,
            [None, "it fails with RuntimeError: no compiler", "it fails with RuntimeError: no compiler"],
            ("copies", "it fails with RuntimeError: no compiler"),
        ),
    ],
)
def test_on_a_device(
    reason: str | None,
    proofs: list[str | None],
    expected: tuple[str, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examination = doctor.examined()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(device, "why_not", lambda device: reason)
    monkeypatch.setattr(device, "_proofs", dict(enumerate(proofs)))
    monkeypatch.setattr(device, "triton_version", lambda: "3.9.0")
    assert doctor._on_cuda() == expected
    found = {**examination, "on_cuda": expected[0], "on_cuda_reason": expected[1]}
    said = "the kernel in Triton 3.9.0"
    if expected[0] == "copies":
        said = f"numbers made here and copied: {expected[1]}"
    assert line(doctor.examination_text(found)) == f"on CUDA       {said}"
