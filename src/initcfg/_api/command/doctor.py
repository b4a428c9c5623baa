"""The doctor: what draws the random numbers on this machine, whether it is right, and how fast."""

from __future__ import annotations

import os
import statistics
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from initcfg._stream import bits
from initcfg._stream.bits import drawn, kernel
from initcfg._stream.writing import fill_stream, fill_torch, recipe_of, thread_count
from initcfg._stream.writing.cuda import device
from initcfg._version import versions
from initcfg.values import Normal, TruncNormal, Uniform, Value, dtype_name

_CHECKED: dict[str, Value] = {
    "uniform": Uniform(-0.5, 0.25),
    "normal": Normal(0.1, 0.02),
    "truncated normal": TruncNormal(0.0, 1.0, -2.0, 2.0),
    "far tail": TruncNormal(0.0, 1.0, 6.0, 7.0),
}
_FIRST_WORDS = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
_COUNT = 4099
_TIMED = 1 << 20


@dataclass(frozen=True)
class Examination:
    """What the doctor found.

    Attributes:
        versions: Versions of initcfg, torch, NumPy and Python.
        implementation: ``"kernel"`` or ``"fallback"``.
        reason: Why it is the fallback; None for the kernel.
        instructions: Instruction set of the kernel.
        threads: How many threads fill.
        threads_from: Where that number comes from.
        on_cuda: What draws into tensors of CUDA devices: ``"triton"``, ``"copies"`` from memory here, or
            ``"none"`` without such a device.
        on_cuda_reason: Why it is not Triton; None if it is.
        differing: Distributions whose numbers differ from the reference.
        nanoseconds: Per element of a float32 normal: ours, and torch's.
    """

    versions: dict[str, str]
    implementation: str
    reason: str | None
    instructions: str
    threads: int
    threads_from: str
    on_cuda: str
    on_cuda_reason: str | None
    differing: tuple[str, ...]
    nanoseconds: tuple[float, float]

    @property
    def healthy(self) -> bool:
        """Whether every number is what it must be."""
        return not self.differing

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON data."""
        return {**vars(self), "stream_version": bits.STREAM_VERSION, "healthy": self.healthy}

    def __str__(self) -> str:
        names = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        if self.reason is None:
            drawing = f"the kernel, {self.instructions}"
        else:
            drawing = (
                f"the fallback: {self.reason}.\n              The numbers are the same; for speed, install "
                "a wheel of initcfg, or a Rust toolchain (rustup.rs) and initcfg again"
            )
        on_cuda = {
            "triton": f"the kernel in Triton {device.triton_version()}",
            "copies": f"numbers made here and copied: {self.on_cuda_reason}",
            "none": "no device",
        }[self.on_cuda]
        ours, theirs = self.nanoseconds
        checked = (
            f"equal to the reference, bit for bit ({', '.join(_CHECKED)})"
            if self.healthy
            else f"DIFFERENT from the reference: {', '.join(self.differing)}. Please report this"
        )
        return (
            f"versions      {names}\n"
            f"stream        version {bits.STREAM_VERSION}\n"
            f"drawn by      {drawing}\n"
            f"threads       {self.threads}, from {self.threads_from}\n"
            f"on CUDA       {on_cuda}\n"
            f"numbers       {checked}\n"
            f"speed         {ours:.2f} ns an element of a float32 normal; torch's normal_ {theirs:.2f}"
        )


def examined() -> Examination:
    """Examine this machine."""
    reason = kernel.why_not()
    on_cuda, on_cuda_reason = _on_cuda()
    return Examination(
        versions={**versions(), "numpy": np.__version__},
        implementation="kernel" if reason is None else "fallback",
        reason=reason,
        instructions=kernel.features() if reason is None else "none",
        threads=thread_count(),
        threads_from="INITCFG_THREADS" if os.environ.get("INITCFG_THREADS", "").strip() else "torch",
        on_cuda=on_cuda,
        on_cuda_reason=on_cuda_reason,
        differing=tuple(_differing()),
        nanoseconds=_nanoseconds(),
    )


def _differing() -> list[str]:
    found: list[str] = []
    if tuple(bits.bits(0, 0, 4).tolist()) != _FIRST_WORDS:
        found.append("Philox, against Random123")
    for name, value in _CHECKED.items():
        for dtype in (torch.float32, torch.float64):
            recipe = recipe_of(value, dtype == torch.float64)
            expected = drawn(recipe, bits.stream_key(1, name), 0, _COUNT)
            for where in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
                tensor = torch.empty(_COUNT, dtype=dtype, device=where)
                fill_stream(tensor, value, seed=1, name=name)
                if tensor.cpu().numpy().tobytes() != expected.tobytes():
                    on_device = "" if where == "cpu" else f" on {where}"
                    found.append(f"{name}, {dtype_name(dtype)}{on_device}")
    return found


def _on_cuda() -> tuple[str, str | None]:
    """What draws into tensors of CUDA devices, after it was tried, and why it is not Triton."""
    if not torch.cuda.is_available():
        return "none", "there is no CUDA device"
    reasons = (device.why_not(torch.device("cuda", torch.cuda.current_device())), *device.problems())
    found = [each for each in reasons if each is not None]
    return ("copies", "; ".join(found)) if found else ("triton", None)


def _nanoseconds() -> tuple[float, float]:
    tensor, value = torch.empty(_TIMED), Normal(0.0, 1.0)

    def median(run: Callable[[], object]) -> float:
        return statistics.median(timeit.repeat(run, number=1, repeat=5)) * 1e9 / _TIMED

    # torch's generator stays as it was.
    with torch.random.fork_rng(devices=[]):
        theirs = median(lambda: fill_torch(tensor, value))
    return median(lambda: fill_stream(tensor, value, seed=0, name="speed")), theirs
