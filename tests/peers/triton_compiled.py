"""The kernel for GPUs as it is compiled, where no GPU is: by the launch itself, up to machine code.

test_triton_peers.py runs this in a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from device_cases import DTYPES, recipe_for

from initcfg._stream.bits.kernel import Dim
from initcfg._stream.bits.recipe import Kind
from initcfg._stream.writing.cuda import device, triton_kernel

assert "TRITON_INTERPRET" not in os.environ
AMPERE, HOPPER = 80, 90
DIMS = {
    "whole": (Dim(4096, 1, 1),),
    "rows": (Dim(64, 70, 100), Dim(64, 1, 1)),
    "any": (Dim(64, 1, 64), Dim(64, 64, 1)),
}
KINDS = ("constant", "uniform", "normal", "cut", "flat", "upper", "lower", "narrow")
VARIANTS = [(dtype, name) for dtype in ("float32", "float64") for name in KINDS]
VARIANTS += [("bfloat16", "normal"), ("float16", "normal"), ("float16", "upper"), ("uint32", "bits")]
# Arithmetic that IEEE 754 rounds to nearest even, and what rounds nothing.
EXACT = re.compile(
    r"(add|sub|mul|div|sqrt)\.rn\.f(32|64)|cvt\.rn\.f(32\.s32|64\.[su](32|64))|cvt\.rn\.f32\.f64"
    r"|(abs|neg|min|max|selp|mov)\.f(32|64)|setp\.(lt|gt|eq|neu?|geu?|leu?|gtu|ltu|equ)\.f(32|64)|ld\.param\.f(32|64)"
)
# In Triton 3.2 these two flush subnormal numbers, of which they meet none.
FLUSHING = re.compile(r"(div|sqrt)\.rn\.ftz\.f32")


class Driver:
    """As much of a driver as compiling asks for."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class Compiling:
    """Stands for the kernel: what would be launched is compiled."""

    def __init__(self) -> None:
        self.compiled: Any = None

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*arguments: Any, **options: Any) -> None:
            assert options["enable_fp_fusion"] is False
            self.compiled = triton_kernel.draw.warmup(*arguments, grid=grid, **options)

        return launch


@pytest.fixture(autouse=True, scope="module")
def own_cache() -> Any:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", folder)
        yield


def compiled(dtype: str, name: str, walk: str, capability: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    driver.set_active(Driver(capability))
    kernel = Compiling()
    monkeypatch.setattr(device, "_triton", lambda: (SimpleNamespace(draw=kernel), None))
    recipe = recipe_for(dtype, name)
    memory = torch.empty(64 * 70, dtype=DTYPES[dtype])
    device.launch(memory, recipe, 2**64 - 1, 0, DIMS[walk])
    return kernel.compiled


def instructions(ptx: str) -> Counter[str]:
    body = ptx[ptx.index(".entry") :]
    return Counter(re.findall(r"^\s*(?:@!?%p\d+\s+)?([a-z][\w.:]*)\s", body, re.MULTILINE))


@pytest.mark.parametrize(
    ("walk", "capability"), [("whole", AMPERE), ("whole", HOPPER), ("rows", HOPPER), ("any", AMPERE)]
)
@pytest.mark.parametrize(("dtype", "name"), VARIANTS)
def test_exact_arithmetic_alone(
    dtype: str, name: str, walk: str, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compiled(dtype, name, walk, capability, monkeypatch)
    assert len(made.asm["cubin"]) > 0
    counts = instructions(made.asm["ptx"])
    floating = [
        each for each in counts if re.search(r"\.(f16|bf16|f32|f64|f16x2|bf16x2)\b|ftz|approx|fma", each)
    ]
    allowed = floating
    if triton.__version__.startswith("3.2."):
        allowed = [each for each in floating if not FLUSHING.fullmatch(each)]
    assert [each for each in allowed if not EXACT.fullmatch(each)] == []
    # And it is all there.
    kind = recipe_for(dtype, name).kind
    if kind in (Kind.NORMAL, Kind.CUT):
        assert counts["add.rn.f32"] + counts["sub.rn.f32"] >= 18
        assert sum(counts[each] for each in counts if each.startswith("div.rn")) >= 1
        assert sum(counts[each] for each in counts if each.startswith("sqrt.rn")) >= 1
    if kind >= Kind.UPPER:
        assert counts["div.rn.f64"] >= 8
        assert counts["sqrt.rn.f64"] >= 1
    assert counts["call"] == counts["call.uni"] == 0


def test_constants_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that went through float32 on its way would have other bits."""
    from initcfg._stream.bits import gauss

    ptx = compiled("float64", "upper", "whole", HOPPER, monkeypatch).asm["ptx"]
    found = {int(each, 16) & (1 << 63) - 1 for each in re.findall(r"\b0d([0-9A-Fa-f]{16})", ptx)}
    for term in (*gauss.MILLS_TERMS, *gauss.LOG_TERMS[:-1], gauss.LN2_HIGH, gauss.LN2_LOW, 0.36):
        assert device._double_pattern(abs(term)) in found, term.hex()


@pytest.mark.parametrize(
    ("dtype", "store"), [("float32", "v4.b32"), ("bfloat16", "v2.b32"), ("float64", "v2.b64")]
)
def test_whole_tensors_are_stored_four_numbers_at_a_time(
    dtype: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = instructions(compiled(dtype, "uniform", "whole", HOPPER, monkeypatch).asm["ptx"])
    stores = {each for each in counts if each.startswith("st.global")}
    assert stores == {f"st.global.{store}"}


def test_one_variant_for_all_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is 1, or a multiple of 16, must not be compiled by itself."""
    driver.set_active(Driver(HOPPER))
    kernel = Compiling()
    monkeypatch.setattr(device, "_triton", lambda: (SimpleNamespace(draw=kernel), None))
    made = []
    for key, base, count in (
        (1, 0, 4096),
        (16, 4, 4),
        (2**63 + 1, 2**33, 1600),
        (2**64 - 1, 2**64 - 4096, 4096),
    ):
        recipe = recipe_for("float32", "cut" if count == 4 else "uncut")
        device.launch(torch.empty(count), recipe, key, base, (Dim(count, 1, 1),))
        made.append(kernel.compiled)
    assert len({id(each) for each in made}) == 1


def disassembled(cubin: bytes, folder: Path) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    if not tool.exists():
        pytest.skip("this Triton comes without nvdisasm")
    file = folder / "kernel.cubin"
    file.write_bytes(cubin)
    return subprocess.run([str(tool), "-c", str(file)], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("capability", [AMPERE, HOPPER])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_contracted_in_machine_code(
    dtype: str, capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without quotients and roots, which are made of them, there are no fused operations at all."""
    code = disassembled(compiled(dtype, "uniform", "whole", capability, monkeypatch).asm["cubin"], tmp_path)
    letter = "F" if dtype == "float32" else "D"
    assert re.search(rf"\b{letter}MUL\b", code)
    assert re.search(rf"\b{letter}ADD\b", code)
    assert not re.search(r"\b[FDH]FMA", code)
    assert ".FTZ" not in code
