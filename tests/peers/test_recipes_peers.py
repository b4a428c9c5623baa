"""The scripts of examples/scale that need transformers or Lightning."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_ranks, values_of
from scripts import SCALE, free_port, run_script, said, torchrun

pytestmark = [pytest.mark.peers, pytest.mark.hf, pytest.mark.lightning]


def with_stand_ins(rank: int, world: int, script: str, port: int, arguments: Sequence[str]) -> str:
    """Run a script where torchvision has no compiled part."""
    import openmmlab_stand_ins

    openmmlab_stand_ins.install()
    return run_script(rank, world, script, port, arguments)


@pytest.fixture(scope="module")
def scripts_found() -> Iterator[None]:
    """The modules of examples/scale can be imported."""
    sys.path.insert(0, str(SCALE))
    yield
    sys.path.remove(str(SCALE))


def transformers_digest(world: int) -> str:
    first, *others = values_of(
        run_ranks(world, with_stand_ins, "transformers_meta.py", free_port(), (), timeout=240)
    )
    assert not any(others)
    assert "one backward done" in first
    return said(first)


def test_transformers_in_two_worlds(stand_ins: None, scripts_found: None) -> None:
    assert transformers_digest(2) == transformers_digest(1)


def test_transformers_takes_what_a_checkpoint_lacks_from_the_stream(
    stand_ins: None, scripts_found: None, tmp_path: Path
) -> None:
    from llama import tensors_of
    from safetensors.torch import load_file, save_file
    from transformers_meta import CONFIG, StreamLlama, build

    import initcfg

    missing = "model.layers.1.mlp.up_proj.weight"
    expected: Any = build()
    initcfg.trace(build).apply(expected, seed=0)
    whole = tensors_of(expected)

    model = StreamLlama(CONFIG)
    made = tensors_of(model)
    assert made.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(made[name], whole[name])] == []

    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    stored = {name: each + 1 for name, each in load_file(path).items() if name != missing}
    save_file(stored, path, metadata={"format": "pt"})
    for seed in (0, 1):
        torch.manual_seed(seed)
        loaded = tensors_of(StreamLlama.from_pretrained(tmp_path))
        assert torch.equal(loaded[missing], whole[missing])
        assert all(torch.equal(loaded[name], each) for name, each in stored.items())


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="lightning is not installed")
def test_lightning(scripts_found: None) -> None:
    from llama import Llama, digest, tensors_of

    import initcfg

    expected = Llama()
    initcfg.trace(Llama).apply(expected, seed=0)
    run = torchrun("lightning_meta.py", 2, launcher=Path(__file__).with_name("launch_with_stand_ins.py"))
    assert run.returncode == 0, run.stderr
    assert said(run.stdout) == digest(tensors_of(expected))
    losses = [float(each) for each in said(run.stdout, "loss").split()]
    assert losses[-1] < losses[0]
