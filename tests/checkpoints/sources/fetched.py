"""What the tests of sources share: a file, and what must hold of it and of the cache."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from initcfg._checkpoints.sources import Located, locate
from initcfg.errors import CheckpointError, InitcfgError

DATA = random.Random(5).randbytes(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
HALF = len(DATA) // 2


def contents(located: Located) -> bytes:
    assert located.path is not None and located.memory is None
    return located.path.read_bytes()


def assert_sound(home: Path) -> None:
    """Every file in the cache is what its folder says, and every record leads to one of them."""
    for file in (home / "checkpoints").glob("*/*"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.parent.name
    for note in (home / "addresses").glob("*.json"):
        record = json.loads(note.read_text())
        if not note.name.endswith(".partial.json"):
            assert (home / "checkpoints" / record["sha256"] / record["name"]).is_file()


def assert_clean(home: Path) -> None:
    """Sound, and nothing is half there."""
    assert_sound(home)
    assert not list((home / "addresses").glob("*partial*"))
    assert not list(home.rglob("*.new"))


def refused(*args: Any, **options: Any) -> InitcfgError:
    with pytest.raises(CheckpointError) as caught:
        locate(*args, **options)
    return caught.value


def index_of(*names: str) -> bytes:
    return json.dumps({"weight_map": {f"w{i}": name for i, name in enumerate(names)}}).encode()
