"""The doctor: what draws the random numbers on this machine, whether it is right, and how fast."""

from __future__ import annotations

import os
import statistics
import timeit
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from initcfg._stream import bits
from initcfg._stream.bits import drawn, kernel
from initcfg._stream.writing import as_array, fill_stream, fill_torch, recipe_of, thread_count
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


def examined() -> dict[str, Any]:
    """What draws here, how fast, and which distributions differ from the reference: JSON data."""
    reason = kernel.why_not()
    on_cuda, on_cuda_reason = _on_cuda()
    differing = _differing()
    return {
        "versions": {**versions(), "numpy": np.__version__},
        "implementation": "kernel" if reason is None else "fallback",
        "reason": reason,
        "instructions": kernel.features() if reason is None else "none",
        "threads": thread_count(),
        "threads_from": "INITCFG_THREADS" if os.environ.get("INITCFG_THREADS", "").strip() else "torch",
        "on_cuda": on_cuda,
        "on_cuda_reason": on_cuda_reason,
        "differing": differing,
        # Per element of a float32 normal: ours, and torch's.
        "nanoseconds": _nanoseconds(),
        "stream_version": bits.STREAM_VERSION,
        "healthy": not differing,
    }


def examination_text(found: Mapping[str, Any]) -> str:
    """The same for a person."""
    names = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    drawing = f"the kernel, {found['instructions']}"
    if found["reason"] is not None:
        drawing = (
            f"the fallback: {found['reason']}.\n              The numbers are the same; for speed, install "
            "a wheel of initcfg, or a Rust toolchain (rustup.rs) and initcfg again"
        )
    on_cuda = {
        "triton": f"the kernel in Triton {device.triton_version()}",
        "copies": f"numbers made here and copied: {found['on_cuda_reason']}",
        "none": "no device",
    }[found["on_cuda"]]
    checked = f"equal to the reference, bit for bit ({', '.join(_CHECKED)})"
    if found["differing"]:
        checked = f"DIFFERENT from the reference: {', '.join(found['differing'])}. Please report this"
    ours, theirs = found["nanoseconds"]
    return (
        f"versions      {names}\n"
        f"stream        version {found['stream_version']}\n"
        f"drawn by      {drawing}\n"
        f"threads       {found['threads']}, from {found['threads_from']}\n"
        f"on CUDA       {on_cuda}\n"
        f"numbers       {checked}\n"
        f"speed         {ours:.2f} ns an element of a float32 normal; torch's normal_ {theirs:.2f}"
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
                if as_array(tensor.cpu()).tobytes() != expected.tobytes():
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
    tensor, value = torch.empty(_TIMED, device="cpu"), Normal(0.0, 1.0)

    def median(run: Callable[[], object]) -> float:
        return statistics.median(timeit.repeat(run, number=1, repeat=5)) * 1e9 / _TIMED

    # torch's generator stays as it was.
    with torch.random.fork_rng(devices=[]):
        theirs = median(lambda: fill_torch(tensor, value))
    return median(lambda: fill_stream(tensor, value, seed=0, name="speed")), theirs
