"""The scripts of examples/scale: each asserts what it claims; here, that all layouts give one model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from scripts import SCALE, printed, said, torchrun

import initcfg


@pytest.fixture(scope="module")
def expected() -> str:
    """The digest of the model on one process, without torch.distributed."""
    sys.path.insert(0, str(SCALE))
    try:
        from llama import Llama, digest, tensors_of
    finally:
        sys.path.remove(str(SCALE))
    model = Llama()
    initcfg.trace(Llama).apply(model, seed=0)
    return digest(tensors_of(model))


def test_fsdp2_by_torchrun(expected: str) -> None:
    run = torchrun("fsdp2.py", 2)
    assert run.returncode == 0, run.stderr
    assert said(run.stdout) == expected


@pytest.mark.parametrize(
    ("script", "world", "arguments"),
    [
        ("fsdp2.py", 1, ()),
        ("fsdp2.py", 4, ()),
        ("tensor_parallel.py", 2, ()),
        ("tensor_parallel.py", 4, ()),
        ("pipeline.py", 2, ()),
        ("pipeline.py", 4, ("renumber",)),
    ],
)
def test_one_model_in_every_layout(
    script: str, world: int, arguments: tuple[str, ...], expected: str
) -> None:
    assert said(printed(script, world, *arguments)) == expected


@pytest.mark.parametrize("script", ["experts.py", "own_init_weights.py"])
def test_two_worlds_agree(script: str) -> None:
    assert said(printed(script, 2)) == said(printed(script, 4))


def test_positions_are_computed(expected: str) -> None:
    output = printed("own_init_weights.py", 1)
    first = torch.outer(torch.arange(16), 10000.0 ** (-torch.arange(0, 32, 2) / 32)).sin()[1, :3]
    assert said(output, "positions") == str(first)


def test_resume_in_other_layouts(tmp_path: Path, expected: str) -> None:
    folder = tmp_path / "checkpoint"
    first = printed("resume.py", 2, str(folder))
    assert said(first, "initialized") == expected
    assert "saved after 3 steps on a mesh of (2, 1)" in first
    later = {world: printed("resume.py", world, str(folder)) for world in (4, 1)}
    assert "resumed on a mesh of (2, 2)" in later[4]
    assert {said(output) for output in later.values()} == {said(first)}
    assert said(first) != expected


def test_without_a_folder_it_says_how_to_call_it() -> None:
    run = torchrun("resume.py", 1)
    assert run.returncode != 0
    assert "usage: torchrun --nproc-per-node N examples/scale/resume.py FOLDER" in run.stderr
    assert "IndexError" not in run.stderr
