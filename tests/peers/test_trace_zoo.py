"""A cross-section of the zoo: what the benchmark of architectures shows of all, asserted of some.

One of each way to initialize that the zoo has. The functions are those of ``benchmarks/``; what they
find wrong in a plan that is made wrong is tested here, too.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import initcfg
from initcfg.values import Constant, Normal, Orthogonal, PaddingRow, Parts, Sparse, Uniform

pytestmark = [pytest.mark.peers, pytest.mark.mm]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CROSS_SECTION = (
    "timm/vit_tiny_patch16_224",
    "timm/beit_base_patch16_224",
    "timm/xcit_nano_12_p16_224",
    "timm/convit_tiny",
    "timm/levit_128s",
    "timm/swinv2_cr_tiny_224",
    "timm/sequencer2d_s",
    "timm/nf_resnet26",
    "timm/efficientnet_cc_b0_4e",
    "timm/lambda_resnet26t",
    "torchvision/googlenet",
    "torchvision/squeezenet1_1",
    "torchvision/swin_t",
    "torchvision/retinanet_resnet50_fpn",
    "transformers/GPT2LMHeadModel",
    "transformers/LlamaForCausalLM",
    "transformers/MixtralForCausalLM",
    "transformers/Mamba2ForCausalLM",
    "transformers/T5ForConditionalGeneration",
    "transformers/BertForPreTraining",
    "transformers/WhisperForConditionalGeneration",
    "transformers/DeformableDetrForObjectDetection",
    "mmdet/retinanet_r18_fpn_1x_coco",
    "mmpretrain/deit-tiny_4xb256_in1k",
)
LEAST_SYMBOLIC = 0.99
MOST_BYTES = 1024

needs_trace = pytest.mark.skipif(not hasattr(initcfg, "trace"), reason="initcfg.trace does not exist yet")


@pytest.fixture(scope="module", autouse=True)
def benchmarks() -> Iterator[None]:
    """The modules of ``benchmarks/`` can be imported."""
    sys.path.insert(0, str(BENCHMARKS))
    importlib.import_module("zoo").prepare()
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    """The rows so far, by architecture: each is computed once."""
    return {}


def row_of(rows: dict[str, Any], key: str) -> Any:
    if key not in rows:
        zoo, examine = importlib.import_module("zoo"), importlib.import_module("examine")
        rows[key] = examine.examine(key, zoo.ARCHITECTURES[key].build)
    return rows[key]


@needs_trace
@pytest.mark.parametrize("key", CROSS_SECTION)
def test_the_plan_is_the_librarys(rows: dict[str, Any], key: str) -> None:
    row = row_of(rows, key)
    assert row.error is None
    assert (row.parameters_differ, row.buffers_differ, row.wrong) == ([], [], [])
    assert row.largest[0] <= MOST_BYTES, row.largest


@needs_trace
def test_the_stream_draws_from_the_same_distributions(rows: dict[str, Any]) -> None:
    comparison = importlib.import_module("comparison")
    tests = [(key, *test) for key in CROSS_SECTION for test in row_of(rows, key).tests]
    small = comparison.rejected([test[3] for test in tests])
    assert len(tests) > len(CROSS_SECTION)
    assert [test for test, hit in zip(tests, small, strict=True) if hit] == []


@needs_trace
def test_nearly_every_parameter_is_symbolic(rows: dict[str, Any]) -> None:
    found = [row_of(rows, key) for key in CROSS_SECTION]
    symbolic, tensors = (sum(getattr(row, key) for row in found) for key in ("symbolic_tensors", "tensors"))
    assert symbolic >= LEAST_SYMBOLIC * tensors, [item for row in found for item in row.opaque]


def test_every_name_of_the_cross_section_is_in_the_zoo() -> None:
    zoo = importlib.import_module("zoo")
    assert set(CROSS_SECTION) <= set(zoo.ARCHITECTURES)
    assert len(zoo.ARCHITECTURES) >= 150


# -- the harness itself ----------------------------------------------------------------------------


def findings(value: Any, ours: torch.Tensor, theirs: torch.Tensor) -> tuple[list[Any], list[str]]:
    """What is rejected, and what is wrong, if two fillings have this value."""
    comparison = importlib.import_module("comparison")
    found = comparison.Findings()
    comparison.compare(found, "weight", value, ours, theirs)
    assert found.tests or found.exact
    small = comparison.rejected([test.p for test in found.tests])
    return [test for test, hit in zip(found.tests, small, strict=True) if hit], found.wrong


def normal(*shape: int, std: float = 1.0) -> torch.Tensor:
    return torch.randn(shape) * std


def orthogonal(size: int, gain: float) -> torch.Tensor:
    return torch.nn.init.orthogonal_(torch.empty(size, size), gain)


def sparse(zeros: float) -> torch.Tensor:
    return torch.nn.init.sparse_(torch.empty(100, 40), zeros, std=1.0)


def padded(row: float) -> torch.Tensor:
    weight = normal(50, 40)
    weight[3] = row
    return weight


RIGHT = {
    "Normal": (Normal(0.0, 1.0), lambda: normal(200, 200)),
    "Uniform": (Uniform(0.0, 1.0), lambda: torch.rand(200, 200)),
    "Constant": (Constant(2.0), lambda: torch.full((4,), 2.0)),
    "Orthogonal": (Orthogonal(2.0), lambda: orthogonal(30, 2.0)),
    "Sparse": (Sparse(0.25, 1.0), lambda: sparse(0.25)),
    "PaddingRow": (PaddingRow(3, Normal(0.0, 1.0)), lambda: padded(0.0)),
    "Parts": (
        Parts(0, (100, 50), (Normal(0.0, 1.0), Constant(0.0))),
        lambda: torch.cat([normal(100, 40), torch.zeros(50, 40)]),
    ),
}
WRONG = {
    "Normal, 5 % wider": (Normal(0.0, 1.0), lambda: normal(200, 200, std=1.05)),
    "Normal, moved": (Normal(0.0, 1.0), lambda: normal(200, 200) + 0.05),
    "Normal, of another shape": (Normal(0.0, 1.0), lambda: (torch.rand(200, 200) - 0.5) * 12**0.5),
    "Constant": (Constant(2.0), lambda: torch.full((4,), 2.5)),
    "Orthogonal, other gain": (Orthogonal(2.0), lambda: orthogonal(30, 1.9)),
    "Orthogonal, not at all": (Orthogonal(2.0), lambda: normal(30, 30, std=2 / 30**0.5)),
    "Sparse": (Sparse(0.25, 1.0), lambda: sparse(0.24)),
    "PaddingRow": (PaddingRow(3, Normal(0.0, 1.0)), lambda: padded(0.1)),
    "Parts": (
        Parts(0, (100, 50), (Normal(0.0, 1.0), Constant(0.0))),
        lambda: torch.cat([normal(101, 40), torch.zeros(49, 40)]),
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name: str) -> None:
    value, fill = RIGHT[name]
    assert findings(value, fill(), fill()) == ([], [])


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name: str) -> None:
    value, fill = WRONG[name]
    right = RIGHT[name.partition(",")[0]][1]
    assert findings(value, fill(), right()) != ([], [])


def test_the_p_values_are_scipys_and_uniform() -> None:
    comparison = importlib.import_module("comparison")
    numbers = np.random.default_rng(0)
    for size in (8, 100, 1001):
        one, other = numbers.random(size), numbers.random(size)
        exact = scipy.stats.ks_2samp(one, other, method="exact").pvalue
        assert comparison.kolmogorov_smirnov(one, other)[0] == pytest.approx(exact, rel=1e-9)
    found = comparison.Findings()
    for number in range(500):
        comparison.compare(found, str(number), Normal(0.0, 1.0), normal(2000), normal(2000))
    for of in ("KS", "mean", "spread"):
        assert comparison.uniformity([test.uniform for test in found.tests if test.of == of]) > 1e-3


@pytest.mark.parametrize("size", [9, 10, 11, 19, 25, 1000])
def test_a_sample_takes_nothing_twice(size: int) -> None:
    taken = importlib.import_module("comparison").sample(torch.arange(size), 10)
    assert len(set(taken)) == len(taken) == min(size, 10)
    assert list(taken) == sorted(taken)


def test_holm_rejects_step_by_step() -> None:
    comparison = importlib.import_module("comparison")
    assert comparison.rejected([0.004, 0.9, 0.0001, 0.0049], alpha=0.01) == [False, False, True, False]
    assert comparison.rejected([0.0001, 0.0033, 0.005, 0.01], alpha=0.01) == [True, True, True, True]
