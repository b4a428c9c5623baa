"""Every input that a fuzzer was given or kept: an error of ours, or a right reading, in little time."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from fuzz_targets import TARGETS, attempt
from json_mutations import mutated

CORPUS = Path(__file__).parent.parent / "fuzz_corpus"
# Far above what any takes; below what a person would call hanging.
SECONDS = 20
JSON = ("plan", "ledger", "config_json", "index", "cache_record")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_corpus(name: str, tmp_path: Path) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        start = time.monotonic()
        attempt(TARGETS[name], path.read_bytes(), tmp_path)
        assert time.monotonic() - start < SECONDS, path.name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", JSON)
def test_json_with_changes(name: str, tmp_path: Path) -> None:
    inputs = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    chance = random.Random(name)
    for seed in range(150):
        data = mutated(chance.choice(inputs), seed)
        if data is not None:
            attempt(TARGETS[name], data, tmp_path)


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000
